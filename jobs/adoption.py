"""Reads the provider's list since a backup, and has the database adopt what it does not know."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from jobs.gateway.adopting import Counts, Example, Found
from jobs.gateway.gateway import Gateway
from jobs.gateway.restore_check import LISTED
from jobs.gateway.values import Plan, letters_digest
from jobs.providers.base import Page, Provider, ProviderError, SentBatch, Unusable
from jobs.runtime.clocks import Clocks, monotonic

log = structlog.get_logger()

MARGIN: Final = timedelta(minutes=15)
"""How far the clocks of the provider and of the backup may differ."""
_PAGES_BEFORE: Final = 5
_BATCHES_AT_ONCE: Final = 100
_MESSAGES_AT_ONCE: Final = 1000
_TRIES: Final = 6
_FINAL: Final = frozenset(range(400, 500)) - {408, 429}
"""HTTP statuses that another try does not change, such as those of a wrong token."""
_EXAMPLES: Final = 10


@dataclass(frozen=True, slots=True)
class Adopted:
    """What came of an adoption.

    ``unread`` items of the list could not be read. ``earlier`` batches before the time that was asked for are missing too. If
    there are any of these, sending stays stopped. ``remaining`` plans have not been adopted.
    """

    counts: Counts
    examples: tuple[Example, ...]
    unread: int
    earlier: int
    remaining: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return not (self.unread or self.earlier)


class Adoption:
    """The adoption of one plan's list.

    ``show`` is called with what is being done, how much of it is done, and how much there is. ``all_references`` counts every
    UUID as a reference of this installation. ``provider`` notes in ``clocks`` what time it is there. ``now`` is the present
    time.
    """

    def __init__(
        self,
        *,
        gateway: Gateway,
        provider: Provider,
        plan: Plan,
        deadline: float,
        all_references: bool,
        show: Callable[[str, int, int | None], None],
        clocks: Clocks,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._gateway = gateway
        self._provider = provider
        self._plan = plan
        self._deadline = deadline
        self._all_references = all_references
        self._show = show
        self._clocks = clocks
        self._now = now

    async def run(self, since: datetime, *, dry_run: bool) -> Adopted:
        """Adopt every batch since ``since``, the oldest first. A repetition changes nothing; nor does a dry run.

        Raises ProviderError if the list cannot be read, and the errors of :mod:`jobs.gateway.errors`. Sending then stays
        stopped, and another run goes on.
        """
        if not dry_run:
            await self._gateway.begin_adoption(self._plan)
        start = since - MARGIN
        batches, unread = await self._listed(start)
        if unread and not dry_run:
            await self._gateway.keep_callbacks(unread)
        earlier = await self._missing_before(start)
        counts, examples = await self._adopt(batches, dry_run=dry_run)
        done = Adopted(counts, tuple(examples), len(unread), earlier, ())
        if dry_run or not done.is_complete:
            return done
        return replace(done, remaining=await self._gateway.finish_adoption(self._plan))

    async def _listed(self, start: datetime) -> tuple[list[SentBatch], list[Unusable]]:
        """All batches since ``start``, the oldest first, and the items that could not be read.

        Raises ProviderError if the list shows fewer batches than it says.
        """
        found: dict[str, SentBatch] = {}
        unread: list[Unusable] = []
        total = page = 0
        while True:
            listing = await self._page(start, None, page)
            found.update((batch.batch_id, batch) for batch in listing.items)
            unread += listing.unusable
            total = max(total, listing.total or 0)
            self._show("reading the list", len(found), total or None)
            if listing.last:
                break
            page += 1
        if len(found) + len(unread) < total:
            raise ProviderError(f"the list says that it holds {total} batches and shows {len(found) + len(unread)}")
        return sorted(found.values(), key=lambda batch: (batch.created_at, batch.batch_id)), unread

    async def _missing_before(self, start: datetime) -> int:
        """How many of the newest batches before ``start`` the database does not know: the backup is older than was said."""
        oldest = self._now() - LISTED
        if start <= oldest:
            return 0
        missing = 0
        for page in range(_PAGES_BEFORE):
            listing = await self._page(oldest, start, page)
            counts, _ = await self._adopt([_without_recipients(batch) for batch in listing.items], dry_run=True)
            missing += counts.unknown
            if listing.last or not counts.unknown:
                break
        return missing

    async def _adopt(self, batches: Sequence[SentBatch], *, dry_run: bool) -> tuple[Counts, list[Example]]:
        counts, examples, taken, done = Counts(), list[Example](), list[int](), 0
        for some in _chunks(batches):
            step = await self._gateway.adopt_batches(
                self._plan,
                [_found(batch) for batch in some],
                all_references=self._all_references,
                taken=taken,
                dry_run=dry_run,
                provider_now=self._clocks.provider_now(monotonic()),
            )
            counts += step.counts
            examples += step.examples if len(examples) < _EXAMPLES else ()
            if dry_run:
                taken += step.taken
            done += len(some)
            self._show("adopting", done, len(batches))
        return counts, examples

    async def _page(self, start: datetime, end: datetime | None, page: int) -> Page[SentBatch]:
        """One page, as soon as the plan allows the request. Asked for again if the provider does not answer."""
        tries = 0
        while True:
            await self._draw()
            try:
                return await self._provider.sent_batches(start=start, end=end, page=page, deadline=self._deadline)
            except ProviderError as error:
                tries += 1
                if tries == _TRIES or error.http_status in _FINAL:
                    raise
                pause = error.retry_after or 2**tries
                until = self._now() + timedelta(seconds=pause + self._longest_rest(tries))
                log.warning(
                    "adoption.tries_again",
                    page=page,
                    error=error.error,
                    in_seconds=pause,
                    until=until.isoformat(" ", "seconds"),
                )
                await asyncio.sleep(pause)

    def _longest_rest(self, tries: int) -> float:
        """How many seconds the tries after the next pause take at most, with the pauses between them."""
        return (_TRIES - tries) * self._deadline + sum(2.0**later for later in range(tries + 1, _TRIES))

    async def _draw(self) -> None:
        while True:
            if await self._gateway.draw_requests(self._plan, "lookup"):
                return
            await asyncio.sleep(1)


def _chunks(batches: Iterable[SentBatch]) -> Iterator[list[SentBatch]]:
    """As many batches as one call to the database may take."""
    some: list[SentBatch] = []
    messages = 0
    for batch in batches:
        if some and (len(some) == _BATCHES_AT_ONCE or messages + len(batch.recipients) > _MESSAGES_AT_ONCE):
            yield some
            some, messages = [], 0
        some.append(batch)
        messages += len(batch.recipients)
    if some:
        yield some


def _found(batch: SentBatch) -> Found:
    return Found(
        batch_id=batch.batch_id,
        reference=batch.reference,
        created_at=batch.created_at.isoformat(),
        recipients=batch.recipients,
        digests=[
            None if text is None else hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in batch.texts
        ],
        letters=[None if text is None else letters_digest(text) for text in batch.texts],
    )


def _without_recipients(batch: SentBatch) -> SentBatch:
    return SentBatch(batch.batch_id, batch.reference, batch.created_at, (), ())
