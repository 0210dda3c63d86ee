"""What differs between runs at Sinch, at Vonage and at both: settings, what the providers do, and numbers that fail."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from sandbox.demo.parts import SENDER
from sandbox.simulator import control
from sandbox.simulator.behaviour import Fault, ProviderName, ReportFaults
from sandbox.simulator.control import Control
from sandbox.simulator.outcomes import SINCH_RULES, VONAGE_RULES, Rule
from sandbox.simulator.vonage.tokens import make_private_key

RECORDS_LAG: Final = (0.0, 3.0)
"""Seconds until Vonage's records show a message."""
NEVER_RECORDED: Final = 400 * 3600.0
"""A lag in seconds beyond the end of any run."""
_SINCH_PLAN: Final = "chaos-plan"
_VONAGE_PLAN: Final = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class Times:
    """Timeouts and the send rate of the processes: seconds, and messages a second."""

    lease: float
    settle: float
    rate: float

    @property
    def deadline(self) -> float:
        """The deadline of one request."""
        return self.lease / 3

    @property
    def recovery(self) -> float:
        """The promised recovery time after a disturbance."""
        return 2 * self.lease + 2 * self.settle


@dataclass(frozen=True, slots=True)
class Account:
    """An account at one provider. ``plan`` is its name in the database.

    ``settings`` takes the origin of the provider and of the webhook apps, and gives environment variables. ``refused``,
    ``ending_badly`` and ``temporary`` are the last seven digits of numbers that fail; no area code 555 exists, so they belong
    to no one. ``refused_here`` are those that another provider takes. ``disturbances`` are the kinds beside those of every
    run. ``reports`` are faults of callbacks, ``faults`` those of requests, and ``lookup_faults`` those of lookups. A provider
    ``without_list`` proves nothing, so the run ends three days later by the database's clock. ``hasten_seconds``: how often
    missing reports are polled at the end.
    """

    name: ProviderName
    plan: str
    settings: Callable[[str, str, Times], Mapping[str, str]]
    reports: ReportFaults
    faults: Callable[[Times], tuple[Fault, ...]]
    ending_badly: tuple[str, ...]
    temporary: str
    refused_here: tuple[str, ...]
    refused: str = "9990001"
    disturbances: tuple[str, ...] = ()
    lookup_faults: tuple[Fault, ...] = ()
    without_list: bool = False
    hasten_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts that every process of a run serves, in the order of ``OUTBOX_PROVIDERS``."""

    each: tuple[Account, ...]

    @property
    def names(self) -> tuple[ProviderName, ...]:
        return tuple(account.name for account in self.each)

    @property
    def several(self) -> bool:
        return len(self.each) > 1

    @property
    def without_list(self) -> bool:
        """Whether one of them has none, so that messages may end as unknown."""
        return any(account.without_list for account in self.each)

    @property
    def hasten_seconds(self) -> float:
        return min(account.hasten_seconds for account in self.each)

    @property
    def disturbances(self) -> tuple[str, ...]:
        return tuple(kind for account in self.each for kind in account.disturbances)

    @property
    def lookup_faults(self) -> tuple[Fault, ...]:
        return tuple(fault for account in self.each for fault in _at(account, account.lookup_faults))

    @property
    def moving(self) -> tuple[str, ...]:
        """The last digits of numbers that one provider refuses and another one takes."""
        return tuple(ending for account in self.each for ending in account.refused_here) if self.several else ()

    def settings(self, origins: Mapping[ProviderName, str], webhooks: str, times: Times) -> dict[str, str]:
        found = {"OUTBOX_PROVIDERS": ",".join(self.names)}
        for account in self.each:
            found.update(account.settings(origins[account.name], webhooks, times))
        return found

    def misbehave(self, simulator: Control, times: Times) -> None:
        """Everything that providers do to their customers, now and then.

        Sinch's list lags by more than the time until the first lookup and, together with a delayed request, by less than the
        time until the second.
        """
        refused = {account.name: tuple(Rule(suffix=one, refused=True) for one in account.refused_here) for account in self.each}
        simulator.change(
            latency=(0.0, 0.15),
            list_lag=(0.0, 0.6 * times.settle),
            retry_scale=0.1,
            record_callbacks=True,
            reports=max((account.reports for account in self.each), key=lambda faults: faults.lost),
            requests=tuple(fault for account in self.each for fault in _at(account, account.faults(times))),
            rules=(*SINCH_RULES, *refused.get("sinch", ())),
            vonage={
                "records_lag": RECORDS_LAG,
                "unsigned": 0.02,
                "rules": (*VONAGE_RULES, *refused.get("vonage", ())),
            },
        )


def _at(account: Account, faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    return tuple(msgspec.structs.replace(fault, provider=account.name) for fault in faults)


def _sinch_settings(provider: str, webhooks: str, times: Times) -> dict[str, str]:
    return {
        "SINCH_SERVICE_PLAN_ID": _SINCH_PLAN,
        "SINCH_API_TOKEN": secrets.token_urlsafe(24),
        "SINCH_FROM_NUMBER": SENDER,
        "SINCH_BASE_URL": provider,
        "SINCH_CALLBACK_URL": f"{webhooks}/webhooks/sinch/delivery",
        "SINCH_WEBHOOK_SECRETS": secrets.token_urlsafe(24),
        "SINCH_MESSAGES_PER_SECOND": str(times.rate),
        "SINCH_REQUESTS_PER_MINUTE": "6000",
    }


def _vonage_settings(provider: str, webhooks: str, times: Times) -> dict[str, str]:
    return {
        "VONAGE_APPLICATION_ID": _VONAGE_PLAN,
        "VONAGE_PRIVATE_KEY": make_private_key(),
        "VONAGE_API_KEY": "chaos",
        "VONAGE_API_SECRET": secrets.token_urlsafe(24),
        "VONAGE_FROM_NUMBER": SENDER,
        "VONAGE_BASE_URL": provider,
        "VONAGE_CALLBACK_URL": f"{webhooks}/webhooks/vonage/status",
        "VONAGE_SIGNATURE_SECRETS": secrets.token_urlsafe(32),
        "VONAGE_MESSAGES_PER_SECOND": str(times.rate),
        "VONAGE_REPORTS": "1",
    }


def _sinch_faults(times: Times) -> tuple[Fault, ...]:
    return (
        control.timeout_after_accepting(times=None, probability=0.01),
        control.timeout_before_accepting(times=None, probability=0.005),
        control.reset_after_accepting(times=None, probability=0.02),
        control.reset_before_accepting(times=None, probability=0.01),
        control.error_after_accepting(500, times=None, probability=0.01),
        control.unreadable_after_accepting(times=None, probability=0.01),
        control.throttle(retry_after="1", times=None, probability=0.01),
        control.unavailable_page(times=None, probability=0.01),
        control.unavailable_page(times=None, probability=0.03, on="list"),
        Fault(effect="delay", seconds=(0.1, times.deadline + 0.3 * times.settle), probability=0.01),
    )


_VONAGE_LOOKUPS: Final = (
    control.unavailable_page(times=None, probability=0.03, on="records"),
    Fault(effect="unreferenced", on="records", probability=0.1),
)


def _vonage_faults(times: Times) -> tuple[Fault, ...]:
    """Rarer than at Sinch, because each message is a request.

    One in thirty requests has an unknown outcome, and of these one in six never arrived. One callback in twenty is lost, and
    one record in ten shows no reference, so that lookups are needed, and more than one.
    """
    return (
        control.timeout_after_accepting(times=None, probability=0.003),
        control.timeout_before_accepting(times=None, probability=0.001),
        control.reset_after_accepting(times=None, probability=0.008),
        control.close_after_accepting(times=None, probability=0.004),
        control.reset_before_accepting(times=None, probability=0.002),
        control.error_after_accepting(500, times=None, probability=0.006),
        control.unreadable_after_accepting(status=202, times=None, probability=0.006),
        control.throttle(retry_after="1", times=None, probability=0.001),
        control.unavailable_page(times=None, probability=0.002),
        control.callback_before_answer(seconds=times.deadline / 2, times=None, probability=0.02),
        *_VONAGE_LOOKUPS,
        Fault(effect="delay", seconds=(0.1, times.deadline + 0.3 * times.settle), probability=0.003),
    )


def _reports(*, lost: float) -> ReportFaults:
    return ReportFaults(late=0.02, late_by=(0.5, 3.0), repeated=0.05, reordered=0.05, lost=lost, contradictory=0.01)


SINCH: Final = Account(
    name="sinch",
    plan=_SINCH_PLAN,
    settings=_sinch_settings,
    reports=_reports(lost=0.01),
    faults=_sinch_faults,
    ending_badly=("9990402", "9990411", "9990034", "9990062", "9990152"),
    temporary="9991404",
    refused_here=tuple(f"99907{place:02d}" for place in range(10)),
)
VONAGE: Final = Account(
    name="vonage",
    plan=_VONAGE_PLAN,
    settings=_vonage_settings,
    reports=_reports(lost=0.05),
    faults=_vonage_faults,
    ending_badly=("9991170", "9991330", "9991360", "9991420", "9991490"),
    temporary="9981000",
    refused_here=tuple(f"99908{place:02d}" for place in range(10)),
    disturbances=("provider away", "provider away", "records never shown", "records never shown"),
    lookup_faults=_VONAGE_LOOKUPS,
    without_list=True,
    hasten_seconds=4.0,
)
ACCOUNTS: Final[Mapping[str, Account]] = {account.name: account for account in (SINCH, VONAGE)}
