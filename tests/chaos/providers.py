"""What differs between runs at Sinch and at Vonage: the account's settings, what the provider does, and numbers that fail."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from sandbox.demo.parts import SENDER
from sandbox.simulator import control
from sandbox.simulator.behaviour import Fault, ProviderName, ReportFaults
from sandbox.simulator.control import Control
from sandbox.simulator.vonage.tokens import make_private_key

RECORDS_LAG: Final = (0.0, 3.0)
"""Seconds until Vonage's records show a message."""
NEVER_RECORDED: Final = 400 * 3600.0
"""A lag in seconds beyond the end of any run."""


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
    """An account at one provider.

    ``settings`` takes the origin of the provider and of the webhook apps, and gives environment variables. ``refused``,
    ``ending_badly`` and ``temporary`` are the last seven digits of numbers that fail; no area code 555 exists, so they belong
    to no one. ``disturbances`` are the kinds beside those of every run. ``lookup_faults`` are those of lookups. A provider
    ``without_list`` proves nothing, so the run ends three days later by the database's clock. ``hasten_seconds``: how often
    missing reports are polled at the end.
    """

    name: ProviderName
    settings: Callable[[str, str, Times], Mapping[str, str]]
    misbehave: Callable[[Control, Times], None]
    ending_badly: tuple[str, ...]
    temporary: str
    refused: str = "9990001"
    disturbances: tuple[str, ...] = ()
    lookup_faults: tuple[Fault, ...] = ()
    without_list: bool = False
    hasten_seconds: float = 15.0


def _sinch_settings(provider: str, webhooks: str, times: Times) -> dict[str, str]:
    return {
        "SINCH_SERVICE_PLAN_ID": "chaos-plan",
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
        "VONAGE_APPLICATION_ID": str(uuid4()),
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


def _sinch_misbehaves(simulator: Control, times: Times) -> None:
    """Everything that a provider does to its customers, now and then.

    The list lags by more than the time until the first lookup and, together with a delayed request, by less than the time until
    the second.
    """
    simulator.change(
        latency=(0.0, 0.15),
        list_lag=(0.0, 0.6 * times.settle),
        reports=ReportFaults(late=0.02, late_by=(0.5, 3.0), repeated=0.05, reordered=0.05, lost=0.01, contradictory=0.01),
        retry_scale=0.1,
        record_callbacks=True,
        requests=(
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
        ),
    )


_VONAGE_LOOKUPS: Final = (
    control.unavailable_page(times=None, probability=0.03, on="records"),
    Fault(effect="unreferenced", on="records", probability=0.1),
)


def _vonage_misbehaves(simulator: Control, times: Times) -> None:
    """Rarer than at Sinch, because each message is a request.

    One in thirty requests has an unknown outcome, and of these one in six never arrived. One callback in twenty is lost, and
    one record in ten shows no reference, so that lookups are needed, and more than one.
    """
    simulator.change(
        latency=(0.0, 0.15),
        reports=ReportFaults(late=0.02, late_by=(0.5, 3.0), repeated=0.05, reordered=0.05, lost=0.05, contradictory=0.01),
        retry_scale=0.1,
        record_callbacks=True,
        vonage={"records_lag": RECORDS_LAG, "unsigned": 0.02},
        requests=(
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
        ),
    )


SINCH: Final = Account(
    name="sinch",
    settings=_sinch_settings,
    misbehave=_sinch_misbehaves,
    ending_badly=("9990402", "9990411", "9990034", "9990062", "9990152"),
    temporary="9991404",
)
VONAGE: Final = Account(
    name="vonage",
    settings=_vonage_settings,
    misbehave=_vonage_misbehaves,
    ending_badly=("9991170", "9991330", "9991360", "9991420", "9991490"),
    temporary="9981000",
    disturbances=("provider away", "provider away", "records never shown", "records never shown"),
    lookup_faults=_VONAGE_LOOKUPS,
    without_list=True,
    hasten_seconds=4.0,
)
ACCOUNTS: Final[Mapping[str, Account]] = {account.name: account for account in (SINCH, VONAGE)}
