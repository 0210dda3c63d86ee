"""The provider's own records: what arrived, what it accepted, what became of it, and what phones sent."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from jobs.providers.base import Accepted, Batch, Inbound, Refusal, Refused, Report, Submission
from tests.simulation.chaos import Chaos
from tests.simulation.clockwork import calendar
from tests.simulation.witness import Witness

if TYPE_CHECKING:
    from jobs.providers.base import SentBatch

FINAL: Final = frozenset({"delivered", "failed", "rejected", "aborted", "expired", "cancelled", "deleted", "unknown"})
COMES_BACK: Final = frozenset({404, 1000})
"""Codes of `aborted` that have a message sent again by the same account, of the one provider and the other."""
WRONG_TEXT: Final = "this text is not allowed"
_LONGEST_LIFE_SECONDS: Final = 3 * 86400.0


@dataclass(slots=True, eq=False)
class Request:
    """One submission as its sender started it. ``outcome`` is what the provider decided, once it arrived."""

    reference: str
    submission: Submission
    started: float
    sender: str
    given_up: float = 0.0
    arrived: float | None = None
    outcome: Accepted | Refused | None = None
    is_corner: bool = False
    errors: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Taken:
    """A batch the provider accepted. ``reports`` are each recipient's, oldest first, as (when, report).

    ``stopped`` and ``undelivered`` are what really happened: the recipients whose text never left for a network, or was refused
    there, so that no phone got it, each with the report that says so. The engine judges by the codes alone.
    """

    provider: str
    batch: Batch
    request: Request
    accepted: float
    listed: float
    expires: float
    reports: dict[str, list[tuple[float, Report]]] = field(default_factory=dict)
    stopped: dict[str, Report] = field(default_factory=dict)
    undelivered: dict[str, Report] = field(default_factory=dict)

    def came_to_nothing(self, recipient: str, known: Collection[Report]) -> Report | None:
        """The report that proves it, if it is one of those ``known`` and no delivery is."""
        proof = self.stopped.get(recipient) or self.undelivered.get(recipient)
        said = {(report.status, report.code) for report in known}
        if proof is None or (proof.status, proof.code) not in said or any(status == "delivered" for status, _ in said):
            return None
        return proof


class Books:
    """What the provider knows of one account. Its own clock differs from the loop's by as much as the profile says.

    ``prefix`` keeps its ids apart from those of another account.
    """

    def __init__(self, chaos: Chaos, witness: Witness, *, prefix: str = "") -> None:
        self.chaos = chaos
        self.provider = "sinch" if chaos.profile.has_list else "vonage"
        self.prefix = prefix
        self.present = asyncio.Event()
        self.present.set()
        self.requests: list[Request] = []
        self.asked: list[float] = []
        self.taken: dict[str, Taken] = {}
        self.inbounds: list[tuple[float, Inbound]] = []
        self.poisoned_numbers: frozenset[str] = frozenset()
        self.poisoned_texts: frozenset[str] = frozenset()
        self.troubles: list[tuple[float, float, Refusal]] = []
        self._witness = witness

    @property
    def is_away(self) -> bool:
        """Whether the provider answers nothing and calls nobody back."""
        return not self.present.is_set()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def clock(self, at: float) -> datetime:
        """What the provider's clock shows at a time of the loop."""
        return calendar(at + self.chaos.profile.provider_ahead)

    def judge(self, request: Request, *, listed: float, partial: bool) -> Taken | None:
        """A request arrives: accept or refuse it. Returns the batch if one was made."""
        request.arrived = self.now
        refused = self._refusal(request.submission)
        if refused is not None:
            request.outcome = refused
            request.errors.append(refused.error)
            self._witness.say(self.provider, f"refuses {request.reference}: {refused.why} {refused.error}")
            return None
        recipients = tuple(request.submission.recipients)
        if partial and len(recipients) > 1:
            recipients = recipients[: len(recipients) // 2]
        batch = Batch(f"{self.prefix}b{len(self.taken) + 1}", request.reference, recipients, self.clock(self.now))
        expire_at = request.submission.expire_at
        expires = self.now + _LONGEST_LIFE_SECONDS
        if expire_at is not None:
            expires = min(expires, self.now + (expire_at - self.clock(self.now)).total_seconds())
        taken = Taken(self.provider, batch, request, self.now, max(self.now, listed), expires)
        self.taken[batch.batch_id] = taken
        if request.outcome is None:
            request.outcome = Accepted(batch.batch_id)
        self._witness.say(
            self.provider,
            f"accepts {request.reference} as {batch.batch_id}: {' '.join(recipients)}, in its list from {taken.listed:.1f}",
        )
        return taken

    def _refusal(self, submission: Submission) -> Refused | None:
        for start, end, why in self.troubles:
            if start <= self.now < end:
                said = self.chaos.pick((Refusal.SHARED, Refusal.SETTING)) if why is Refusal.SETTING else why
                return Refused(said, f"{why.value} trouble", http_status=401)
        if self.chaos.happens("answer.throttled"):
            wait = self.chaos.pick((None, 1.0, 7.0))
            return Refused(Refusal.THROTTLED, "too many requests", http_status=429, retry_after=wait)
        if self.chaos.happens("answer.no_callback"):
            return Refused(Refusal.NO_CALLBACK, "missing_callback_url", http_status=403)
        if submission.expire_at is not None and submission.expire_at <= self.clock(self.now):
            return Refused(Refusal.SHARED, "expire_at lies in the past", http_status=400)
        if submission.body in self.poisoned_texts:
            return Refused(Refusal.SHARED, WRONG_TEXT, http_status=400)
        if self.poisoned_numbers.intersection(submission.recipients):
            return Refused(self.chaos.pick((Refusal.RECIPIENT, Refusal.SHARED)), "no such number", http_status=400)
        return None

    # Queries

    def accepted(self, reference: str) -> Taken | None:
        """The first batch that was made of this request."""
        return next((taken for taken in self.taken.values() if taken.request.reference == reference), None)

    def listed(self, since: datetime) -> Iterator[Batch]:
        """Batches that the list shows by now, newest first."""
        for taken in reversed(self.taken.values()):
            if taken.listed <= self.now and taken.batch.created_at is not None and taken.batch.created_at >= since:
                yield taken.batch

    def records(self, recipients: Sequence[str], since: datetime, until: datetime | None) -> list[Batch]:
        """Batches made in the window that are shown by now, to one of these numbers, newest first."""
        return [
            batch
            for batch in self.listed(since)
            if set(recipients).intersection(batch.recipients)
            and (until is None or (batch.created_at is not None and batch.created_at < until))
        ]

    def sent(self, start: datetime, end: datetime | None) -> "list[SentBatch]":
        """Batches made in the window, with their texts, newest first."""
        found = [sent for batch in self.listed(start) if (sent := self.sent_as(batch.batch_id)) is not None]
        return [sent for sent in found if end is None or sent.created_at < end]

    def sent_as(self, batch_id: str) -> "SentBatch | None":
        """A batch with its texts, None if it is not known yet. Requests carry one text, so each recipient has it."""
        # Not at the top, because release 0.1.0 has no such value.
        from jobs.providers.base import SentBatch

        taken = self.taken.get(batch_id)
        if taken is None or taken.listed > self.now or taken.batch.created_at is None:
            return None
        batch, made, body = taken.batch, taken.batch.created_at, taken.request.submission.body
        return SentBatch(batch.batch_id, batch.reference, made, batch.recipients, (body,) * len(batch.recipients))

    def reports_of(self, batch_id: str) -> tuple[Report, ...] | None:
        """Each recipient's latest report, or None if the batch is not known yet."""
        taken = self.taken.get(batch_id)
        if taken is None or taken.listed > self.now:
            return None
        return tuple(self.latest(taken, recipient) for recipient in taken.batch.recipients)

    def latest(self, taken: Taken, recipient: str) -> Report:
        known = [report for when, report in taken.reports.get(recipient, ()) if when <= self.now]
        if known:
            return known[-1]
        at, reference = self.clock(taken.accepted), taken.request.reference
        code = 400 if self.chaos.profile.has_list else None
        return Report(taken.batch.batch_id, recipient, "sent", code, at, reference, '{"queued": true}')

    def finished(self, start: datetime, end: datetime) -> list[Report]:
        """Final reports made in the window by now, newest first."""
        found = [
            report
            for taken in self.taken.values()
            for story in taken.reports.values()
            for when, report in story
            if when <= self.now and report.status in FINAL and report.at is not None and start <= report.at < end
        ]
        return sorted(found, key=_made_at, reverse=True)

    def received(self, start: datetime, end: datetime) -> list[Inbound]:
        found = [inbound for when, inbound in self.inbounds if when <= self.now and start <= _received_at(inbound)[0] < end]
        return sorted(found, key=_received_at, reverse=True)

    def acceptances(self) -> Sequence[Taken]:
        return tuple(self.taken.values())


def _made_at(report: Report) -> tuple[datetime, str, str]:
    return (report.at or calendar(0), report.batch_id, report.recipient)


def _received_at(inbound: Inbound) -> tuple[datetime, str]:
    assert inbound.received_at is not None
    return (inbound.received_at, inbound.inbound_id)
