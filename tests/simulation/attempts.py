"""Attempts of messages, as the database commits them: at most one is open, and each ends with a proof before the next."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from jobs.providers.base import Report
from tests.simulation.books import COMES_BACK, Books, Taken
from tests.simulation.database import Database

_SINCE: Final = "delete from simulation.attempts returning *"


class Attempts:
    """Judges each change of a message's attempt by what was known when it was committed, and by what really happened.

    ``reports`` gives those on a batch and number that the database has recorded. The truth is in the books of providers: the
    engine is not asked what a proof is.
    """

    def __init__(self, database: Database, accounts: Sequence[Books]) -> None:
        self._database = database
        # Then an operator may leave a message no account but the one that it left.
        self._routes_change = any(books.chaos.profile.rates["operator.routes"] for books in accounts)
        self._books = {books.provider: books for books in accounts}

    def wrong(self, reports: Mapping[tuple[str, str], list[Report]]) -> Iterator[str]:
        """What is wrong with the changes since the last call."""
        for change in sorted(self._database.query(_SINCE), key=lambda row: row["number"]):
            if change["open"] is not None:
                yield f"message {change['outbox_id']} has {change['open']} open attempts"
            else:
                doubt = self._doubt(change, reports)
                if doubt:
                    yield f"message {change['outbox_id']} left {change['former']} for {change['next']}: {doubt}"

    def _doubt(self, change: Mapping[str, Any], reports: Mapping[tuple[str, str], list[Report]]) -> str | None:
        books = self._books[change["provider"]]
        taken = books.accepted(str(change["former"]))
        if taken is not None and taken.request.is_corner:
            return None  # It arrived later than the promise covers, or its reports contradict each other.
        if taken is not None and change["state"] == "accepted":
            said = reports.get((change["batch_id"], change["recipient"]), [])
            return self._doubt_about_accepted(change, taken, said, has_list=books.chaos.profile.has_list)
        if taken is not None and change["recipient"] in taken.batch.recipients:
            return f"{change['provider']} had accepted it as {taken.batch.batch_id}"
        match change["state"]:
            case "released" | "refused":
                return None
            case "awaiting_half" if change["is_part"]:
                return None  # The provider refused it. Of its messages, some are tried alone while the others wait.
            case "not_found" if books.chaos.profile.has_list:
                return None
        return f"it is {change['state']} at {change['provider']}"

    def _doubt_about_accepted(
        self, change: Mapping[str, Any], taken: Taken, said: Sequence[Report], *, has_list: bool
    ) -> str | None:
        proof = taken.came_to_nothing(change["recipient"], said)
        is_moved = (change["provider"], change["plan"]) != (change["next_provider"], change["next_plan"])
        if proof is None or not (is_moved or proof.code in COMES_BACK or self._routes_change):
            return f"{change['provider']} accepted it, and said only {_words(said)}"
        if proof.status != "aborted" and not change["trusts_network"]:
            return f"{change['provider']} said {_words(said)}, and its route does not move that"
        is_retried = has_list and proof.code in COMES_BACK
        if proof.status == "aborted" and not is_retried and any(report.status == "dispatched" for report in said):
            return f"{change['provider']} had handed it on"
        return None


def _words(said: Sequence[Report]) -> str:
    return ", ".join(f"{report.status} {report.code}" for report in said) or "nothing"
