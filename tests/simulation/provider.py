"""The provider as one process sees it: through a network that loses, delays and repeats requests."""

import asyncio
import contextvars
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from jobs.providers.base import (
    Accepted,
    Ambiguous,
    Batch,
    Inbound,
    Outcome,
    Page,
    ProviderError,
    Refusal,
    Refused,
    Report,
    Submission,
    Unusable,
)
from tests.simulation.books import Books, Request, Taken
from tests.simulation.chaos import IS_OLDER
from tests.simulation.clockwork import calendar
from tests.simulation.process import Process
from tests.simulation.witness import Witness

if TYPE_CHECKING:
    from jobs.providers.base import BatchReports, ListedReference, SentBatch

T = TypeVar("T")

_MOST_LATE: Final = 1200.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What the network does to one request. Times are in seconds from its start; ``arrives`` None is never."""

    arrives: float | None
    answered: float
    is_answered: bool
    error: str = ""
    again: float | None = None
    is_corner: bool = False
    is_stale: bool = False


class Line:
    """One process's way to the provider. Fulfils :class:`jobs.providers.base.Provider`.

    ``on_start`` is called for each request before it leaves, ``on_taken`` for each batch that the provider makes.
    """

    name = "sinch"
    plan = "plan"
    host = "https://provider.test"
    credential = "credential"
    longest_value = 0
    has_feed = True
    batches_a_question = 1
    inbounds_every = timedelta(0)
    inbounds_lag = timedelta(minutes=10)

    def __init__(
        self,
        process: Process,
        books: Books,
        witness: Witness,
        *,
        on_start: Callable[[Request, float], None],
        on_taken: Callable[[Taken], None],
    ) -> None:
        chaos = books.chaos
        self.max_recipients = chaos.profile.max_recipients
        self.absence_proof = timedelta(seconds=chaos.profile.settle) if chaos.profile.has_list else None
        self._process = process
        self._books = books
        self._chaos = chaos
        self._witness = witness
        if not IS_OLDER:
            # Not at the top, because release 0.1.0 has no such module.
            from jobs.runtime.clocks import Clocks

            self.clocks = Clocks(wall=lambda: calendar(self._now()).timestamp())
        self._on_start = on_start
        self._on_taken = on_taken
        self._answered: Request | None = None

    async def submit(self, submission: Submission, *, deadline: float) -> Outcome:
        self._process.check()
        request = Request(submission.reference, submission, self._now(), self._process.name)
        self._on_start(request, deadline)
        self._books.requests.append(request)
        self._books.asked.append(self._now())
        self._witness.say(self._process.name, f"requests {submission.reference}: {' '.join(submission.recipients)}")
        if self._chaos.happens("request.unreachable") or (self._books.is_away and self._chaos.pick((True, True, False))):
            await asyncio.sleep(self._chaos.between(0, deadline))
            return Refused(Refusal.UNREACHABLE, "no connection")
        fate = self._fate_while_away(deadline) if self._books.is_away else self._fate(deadline)
        request.is_corner = fate.is_corner
        request.given_up = self._now() + fate.answered
        outcome = await self._carry(request, fate)
        await self._process.breathe()
        return outcome

    async def _carry(self, request: Request, fate: Fate) -> Outcome:
        timers = [
            # In a context of its own: its consequences belong to no process and outlive them all.
            asyncio.get_running_loop().call_later(delay, self._arrive, request, fate, context=contextvars.Context())
            for delay in (fate.arrives, fate.again)
            if delay is not None
        ]
        try:
            if self._chaos.happens("request.crash"):
                await asyncio.sleep(self._chaos.between(0, fate.answered))
                self._process.die()
            await asyncio.sleep(max(0.0, request.given_up - self._now()))
            self._process.check()
        except asyncio.CancelledError:
            if request.arrived is None and self._chaos.pick((True, False)):
                for timer in timers:
                    timer.cancel()
            raise
        if fate.is_stale:
            return self._answer_before(request)
        if fate.is_answered and request.outcome is not None:
            self._answered = request
            if request.arrived is not None:
                self._read_date(request.arrived, sent=request.started)
            return request.outcome
        self._witness.say(self._process.name, f"does not know what became of {request.reference}: {fate.error}")
        return Ambiguous(fate.error or "timed out")

    def _answer_before(self, request: Request) -> Outcome:
        """The answer to the request before, as the client reads it."""
        before = self._answered
        accepted = None if before is None else before.outcome
        if before is None or not isinstance(accepted, Accepted):
            return Ambiguous("reset")
        submission = before.submission
        shown = {"id": accepted.batch_id, "client_reference": submission.reference, "to": list(submission.recipients)}
        # Not at the top, because release 0.1.0 has no such modules.
        from jobs.providers.answers import Answer
        from jobs.providers.sinch import acceptance

        return acceptance.outcome(Answer(201, {}, json.dumps(shown).encode()), request.submission)

    def _fate_while_away(self, deadline: float) -> Fate:
        """No answer comes. Some requests arrive nevertheless."""
        there = min(self._chaos.latency(), deadline)
        return Fate(self._chaos.pick((None, None, there)), deadline, False, "timed out: the provider is away")

    def _fate(self, deadline: float) -> Fate:
        chaos = self._chaos
        there, back = chaos.latency(), chaos.latency()
        if chaos.happens("corner.late"):
            given_up = chaos.between(0, deadline)
            arrives = given_up + chaos.between(chaos.profile.settle, _MOST_LATE)
            # Where no lookup proves absence, this is within the promise.
            return Fate(arrives, given_up, False, "timed out", is_corner=chaos.profile.has_list)
        if chaos.happens("corner.repeated"):
            return Fate(there, min(deadline, there + back), True, again=there + chaos.between(0, _MOST_LATE), is_corner=True)
        if chaos.happens("answer.stale"):
            return Fate(chaos.pick((None, there)), min(there + back, deadline), False, "stale", is_stale=True)
        if chaos.happens("request.lost"):
            return Fate(None, chaos.between(0, deadline), False, "reset, and the request was lost")
        if chaos.happens("request.unanswered"):
            answered = chaos.between(min(there, deadline), deadline)
            return Fate(min(there, answered), answered, False, "reset, and the answer was lost")
        if chaos.happens("request.overdue"):
            given_up = chaos.between(0, deadline)
            return Fate(given_up + chaos.between(0, chaos.grace / 2), given_up, False, "reset, to arrive a little later")
        if there + back > deadline:
            return Fate(there if there <= deadline else None, deadline, False, "timed out")
        return Fate(there, there + back, True)

    def _arrive(self, request: Request, fate: Fate) -> None:
        listed = self._listed(request.given_up)
        partial = not fate.is_answered and self._chaos.happens("request.partial")
        taken = self._books.judge(request, listed=listed, partial=partial)
        if taken is not None:
            self._on_taken(taken)

    def _listed(self, given_up: float) -> float:
        """When the list shows a request that arrives now and that its sender gives up at ``given_up``."""
        listed = self._now()
        if self._chaos.happens("list.lag"):
            listed = self._chaos.between(listed, max(listed, given_up + self._chaos.grace))
        return listed

    # Queries

    async def find(
        self,
        reference: str,
        *,
        recipients: Sequence[str] = (),
        since: datetime,
        until: datetime | None = None,
        page: int,
        deadline: float,
    ) -> Page[Batch]:
        listed = await self._ask(lambda: tuple(self._books.listed(since)), "list", deadline)
        # A list may hold batches that the caller did not ask for.
        noisy = [batch for batch in listed if batch.reference == reference or self._chaos.pick((True, False))]
        if self._chaos.profile.rates["list.paged"]:
            noisy = list(listed)
        if self._chaos.happens("list.unreferenced"):
            noisy = [replace(batch, reference=None) for batch in noisy]
        if self._chaos.happens("list.rewritten"):
            noisy = [replace(batch, recipients=tuple(map(_rewritten, batch.recipients))) for batch in noisy]
        return self._page(noisy, page, _unusable)

    async def references(self, *, start: datetime, page: int, deadline: float) -> "Page[ListedReference]":
        listed = await self._ask(lambda: tuple(self._books.listed(start)), "list", deadline)
        # Not at the top, because release 0.1.0 has no such value.
        from jobs.providers.base import ListedReference

        return self._page([ListedReference(batch.reference, batch.created_at) for batch in listed], page)

    async def sent_batches(self, *, start: datetime, end: datetime | None, page: int, deadline: float) -> "Page[SentBatch]":
        found = await self._ask(lambda: self._books.sent(start, end), "list", deadline)
        if self._chaos.profile.rates["list.rewritten"]:
            found = [
                replace(
                    batch,
                    recipients=self._written_otherwise(batch.recipients),
                    texts=tuple(text and self._chaos.pick((text, f"{text}\u00a0")) for text in batch.texts),
                )
                for batch in found
            ]
        if self._chaos.profile.rates["list.unreferenced"]:
            found = [replace(batch, reference=self._chaos.pick((batch.reference, None))) for batch in found]
        return self._page(found, page)

    def _written_otherwise(self, recipients: Sequence[str]) -> tuple[str, ...]:
        """Some with another digit, and some that cannot be read."""
        return tuple(self._chaos.pick((number, number, _rewritten(number), "")) for number in recipients)

    async def batch(self, batch_id: str, *, deadline: float) -> "SentBatch | None":
        return await self._ask(lambda: self._books.sent_as(batch_id), "batch", deadline)

    async def batch_reports(self, batch_ids: Sequence[str], *, deadline: float) -> "BatchReports":
        # Release 0.1.0 asks for one batch, by its id.
        (batch_id,) = (batch_ids,) if isinstance(batch_ids, str) else batch_ids
        reports = await self._ask(lambda: self._books.reports_of(batch_id), "batch reports", deadline)
        if IS_OLDER:
            return reports  # type: ignore[return-value]  # what release 0.1.0 reads
        # Not at the top, because release 0.1.0 has no such value.
        from jobs.providers.base import BatchReports

        return BatchReports((), unknown=(batch_id,)) if reports is None else BatchReports(reports)

    async def finished_reports(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Report]:
        return self._page(await self._ask(lambda: self._books.finished(start, end), "finished reports", deadline), page)

    async def inbounds(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Inbound]:
        return self._page(await self._ask(lambda: self._books.received(start, end), "inbounds", deadline), page)

    async def aclose(self) -> None:
        pass

    async def _ask(self, read: Callable[[], T], what: str, deadline: float) -> T:
        await self._process.breathe()
        self._books.asked.append(self._now())
        sent = self._now()
        await asyncio.sleep(self._chaos.latency())
        self._process.check()
        if self._books.is_away or self._chaos.happens("list.error"):
            await asyncio.sleep(self._chaos.between(0, deadline))
            raise ProviderError(f"{what}: not answered", retry_after=self._chaos.pick((None, 2.0)))
        answer, answered = read(), self._now()
        await asyncio.sleep(self._chaos.latency())
        self._read_date(answered, sent=sent)
        await self._process.breathe()
        return answer

    def _read_date(self, at: float, *, sent: float) -> None:
        """The ``Date`` of an answer that the provider gave then."""
        if not IS_OLDER:
            self.clocks.provider_says(self._books.clock(at).replace(microsecond=0), sent=sent, received=self._now())

    def _page(self, items: Sequence[T], page: int, unusable: "Callable[[], Unusable] | None" = None) -> Page[T]:
        size = 2 if self._chaos.profile.rates["list.paged"] else 100
        spoilt = (unusable(),) if unusable is not None and self._chaos.happens("list.error") else ()
        return Page(tuple(items[page * size : (page + 1) * size]), last=(page + 1) * size >= len(items), unusable=spoilt)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _rewritten(number: str) -> str:
    return f"{number[:2]}1{number[2:]}"


def _unusable() -> Unusable:
    return Unusable("a batch of a new kind", b"{}")
