"""The webhooks that a message makes, and the failover message that follows it."""

from collections.abc import Callable
from random import Random

from msgspec import Struct

from sandbox.simulator.callbacks import Notice, Schedule
from sandbox.simulator.clock import NEVER
from sandbox.simulator.outcomes import VONAGE_DELIVERED, VONAGE_EXPIRED, VONAGE_SUBMITTED, State
from sandbox.simulator.report_faults import Contradictions, PlannedReport, apply_faults
from sandbox.simulator.vonage.messages import Message
from sandbox.simulator.vonage.webhooks import status

_DAY = 24 * 3600
_DOUBLING = tuple(5.0 * 2**failed for failed in range(8))
_QUARTERS = int((_DAY - sum(_DOUBLING)) // 900)
DELAYS = (*_DOUBLING, *([900.0] * _QUARTERS))
"""Seconds before each retry: 5, 10, 20 … 640, then every 15 minutes until a day has passed."""
CONTRADICTIONS = Contradictions(
    after={VONAGE_DELIVERED: VONAGE_EXPIRED, VONAGE_SUBMITTED: VONAGE_EXPIRED}, otherwise=VONAGE_DELIVERED
)

Post = Callable[[Callable[[], Struct]], Notice]
"""Makes the notice for a body."""


def schedule(*, unanswered: bool) -> Schedule:
    """Only 429 and 5xx are tried again; whether no answer is, is documented nowhere."""
    return Schedule(delays=DELAYS, success=range(200, 206), unanswered=unanswered)


class Statuses:
    """The status webhooks that one message still has to make."""

    def __init__(self, message: Message, post: Post) -> None:
        self.message = message
        self._post = post
        self._left = sorted(_planned(message), key=lambda report: report.when, reverse=True)

    @property
    def ordinal(self) -> int:
        return self.message.ordinal

    @property
    def start(self) -> int:
        return self.message.created

    def next_at(self) -> int:
        return self._left[-1].when if self._left else NEVER

    def take(self, now: int, most: int) -> list[Notice]:
        """The webhooks due by ``now``, at most ``most``."""
        notices: list[Notice] = []
        while self._left and self._left[-1].when <= now and len(notices) < most:
            notices.append(self._notice(self._left.pop()))
        return notices

    def hurry(self, now: int) -> None:
        """Make everything due."""
        for report in self._left:
            report.when, report.at = min(report.when, now), min(report.at, now)

    def _notice(self, report: PlannedReport) -> Notice:
        message, state = self.message, State(report.outcome, report.at)
        return self._post(lambda: status(message, state))


class Failover:
    """Sends the next message of a workflow once this one is rejected."""

    def __init__(self, message: Message, send_next: Callable[[], None]) -> None:
        self._message = message
        self._send_next: Callable[[], None] | None = send_next if message.life.outcome.status == "rejected" else None

    @property
    def ordinal(self) -> int:
        """A number of its own, beside that of the message's statuses."""
        return -self._message.ordinal

    @property
    def start(self) -> int:
        return self._message.created

    def next_at(self) -> int:
        return NEVER if self._send_next is None else self._message.life.final

    def take(self, _now: int, _most: int) -> list[Notice]:
        """Sends the message; no webhook comes of that itself."""
        if self._send_next is not None:
            send_next, self._send_next = self._send_next, None
            send_next()
        return []

    def hurry(self, now: int) -> None:
        """The message's own end was made to come now."""


def _planned(message: Message) -> list[PlannedReport]:
    life, behaviour = message.life, message.behaviour
    reports = []
    if life.submitted != NEVER:
        reports.append(PlannedReport(life.submitted, 0, VONAGE_SUBMITTED, life.submitted))
    if life.final != NEVER:
        reports.append(PlannedReport(life.final, 0, life.outcome, life.final))
    if not behaviour.reports.any():
        return reports
    random = Random(f"{behaviour.seed}/{message.ordinal}/reports")
    return apply_faults(reports, behaviour.reports, random, CONTRADICTIONS)
