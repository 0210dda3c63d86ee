"""Accounts: what applications with one API key share."""

from sandbox.simulator.vonage.applications import AccountView
from sandbox.simulator.vonage.limits import PerSecond

_RECORDS_A_EURO = 2500
_STOP = frozenset(("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"))
_START = frozenset(("START", "UNSTOP", "YES"))


class Account:
    """The meter of the Reports API, the rates, and the list of phones that opted out of a number of ours."""

    def __init__(self, api_key: str) -> None:
        self.api_key = api_key
        self.sends = PerSecond()
        self.reports = PerSecond()
        self._opted_out: dict[tuple[str, str], None] = {}
        self._requests = 0
        self._records = 0

    def charge(self, records: int) -> None:
        """Count one request of the Reports API and its records: each costs 0.0004 EUR."""
        self._requests += 1
        self._records += records

    def hear(self, *, phone: str, number: str, keyword: str) -> None:
        """A phone wrote a word to one of our numbers."""
        if keyword in _STOP:
            self._opted_out[number, phone] = None
        elif keyword in _START:
            self._opted_out.pop((number, phone), None)

    def opted_out(self, *, phone: str, number: str) -> bool:
        return (number, phone) in self._opted_out

    def view(self) -> AccountView:
        return AccountView(
            api_key=self.api_key,
            report_requests=self._requests,
            report_records=self._records,
            price=f"{self._records / _RECORDS_A_EURO:.4f}",
            opted_out=list(self._opted_out),
        )
