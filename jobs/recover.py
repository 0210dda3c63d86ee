"""Decides requests whose outcome is unknown by what the provider shows of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from jobs.gateway.gateway import Gateway
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.retry import until_answered
from jobs.gateway.seen import Seen
from jobs.gateway.values import Lookup, Plan, Reported, letters_digest
from jobs.providers.base import Batch, Page, Provider, ProviderError, SentBatch
from jobs.runtime.clocks import Clocks, monotonic
from jobs.runtime.job import FALLBACK_INTERVAL_SECONDS, Job
from jobs.runtime.settings import EngineSettings

log = structlog.get_logger()

_LOOKUPS_AT_ONCE = 20
_LEAST_PART = 8
"""So many characters of a reference are no coincidence."""


class Recovery(Job):
    """The recover job of one plan. A lookup is one complete reading of the provider's list for one dispatch.

    Without ``waits_for_rates`` a lookup that meets the plan's limit is left for another tick.
    """

    name = "recover"
    interval = FALLBACK_INTERVAL_SECONDS

    def __init__(
        self,
        *,
        gateway: Gateway,
        provider: Provider,
        plan: Plan,
        settings: EngineSettings,
        outage: ProviderOutage,
        clocks: Clocks,
        waits_for_rates: bool = True,
        seen: Seen | None = None,
    ) -> None:
        self._gateway = gateway
        self._provider = provider
        self._plan = plan
        self._outage = outage
        self._settings = settings
        proof = provider.absence_proof
        self._proves_absence = proof is not None
        self._settle = settings.settle_seconds if proof is None else proof.total_seconds()
        self._deadline = settings.lease_seconds / 3
        self._waits_for_rates = waits_for_rates
        self._seen = Seen() if seen is None else seen
        self._clocks = clocks

    async def tick(self) -> None:
        while True:
            sent = monotonic()
            lookups = await self._gateway.claim_lookups(self._plan, lease=self._settings.lease_seconds, limit=_LOOKUPS_AT_ONCE)
            self._seen.looks_up(lookups)
            if lookups and (now := lookups[0].now) is not None:
                self._clocks.database_says(now, sent=sent, received=monotonic())
            # Together, because their first requests are drawn: one that waits for the plan must not make the others late.
            for error in await asyncio.gather(*(self._look_up(lookup) for lookup in lookups), return_exceptions=True):
                if error is not None:
                    raise error
            if len(lookups) < _LOOKUPS_AT_ONCE:
                return

    async def _look_up(self, lookup: Lookup) -> None:
        try:
            others: Sequence[str] = ()
            found = await self._read(lookup)
            if found is not None and not found and lookup.reported:
                found, others = await self._read_reported(lookup)
        except ProviderError as error:
            # A reading that failed is no lookup: it decides nothing.
            await self._outage.unanswered(self.name, error)
            least = error.retry_after or self._settle / 4
            await self._gateway.record_failed_lookup(lookup, why=error.error, seconds=least)
            return
        self._outage.answered(self.name)
        if found is None:
            await self._gateway.postpone_lookup(lookup, seconds=1.0)
            return
        decided = await (self._record_found(lookup, found) if found else self._record_missed(lookup, others))
        log.info("lookup.done", plan=self._plan.plan, dispatch=lookup.dispatch_id, decided=decided, batches=list(found))

    async def _record_found(self, lookup: Lookup, found: Mapping[str, Sequence[str]]) -> str:
        settle, reconcile_after = self._settle, self._settings.reconcile_after_seconds
        return await until_answered(
            lambda: self._gateway.record_lookup(lookup, found, settle=settle, reconcile_after=reconcile_after), "lookup"
        )

    async def _record_missed(self, lookup: Lookup, others: Sequence[str]) -> str:
        """The clocks are read once, before the first try: the database may answer a later one only."""
        provider_now, watched = self._clocks.provider_now(now := monotonic()), self._clocks.watched_for(now)
        return await until_answered(
            lambda: self._gateway.record_missed_lookup(
                lookup, settle=self._settle, provider_now=provider_now, watched=watched, others=others
            ),
            "lookup",
        )

    async def _read(self, lookup: Lookup) -> Mapping[str, Sequence[str]] | None:
        """Read every page: the dispatch's batches, each with its recipients. None if the plan does not allow all pages now.

        The claim of the lookup has drawn the request for the first page. A batch that was found counts even if the rest of the
        list cannot be read. Raises ProviderError if none was found and the list does not prove that there is none; not where no
        list of the provider does.
        """
        reading = _Reading(lookup.dispatch_id)
        since, until = lookup.since, lookup.until
        if until is not None:
            since, until = self._clocks.to_provider(since), self._clocks.to_provider(until)
        page = 0
        while True:
            try:
                listing = await self._provider.find(
                    lookup.dispatch_id,
                    recipients=lookup.recipients,
                    since=since,
                    until=until,
                    page=page,
                    deadline=self._deadline,
                )
            except ProviderError:
                if reading.found:
                    return reading.found
                raise
            reading.add(listing)
            if listing.unusable:
                await self._gateway.keep_callbacks(listing.unusable)
            if listing.last:
                return reading.result() if self._proves_absence else reading.found
            page += 1
            if not await self._may_go_on(lookup):
                return reading.found or None

    async def _read_reported(self, lookup: Lookup) -> tuple[Mapping[str, Sequence[str]] | None, Sequence[str]]:
        """Ask for each batch that a report without a reference names. Returns the dispatch's batches, and other requests'.

        A batch that is neither stays in doubt. The dispatch's batches are None if the plan does not allow all questions now.
        """
        found: dict[str, Sequence[str]] = {}
        others: list[str] = []
        for reported in lookup.reported:
            if not await self._may_go_on(lookup):
                return found or None, ()
            batch = await self._provider.batch(reported.batch_id, deadline=self._deadline)
            if batch is not None and _is_the_same(batch.reference, lookup.dispatch_id):
                found[batch.batch_id] = batch.recipients
            elif batch is not None and _is_another_request(batch, reported, lookup.dispatch_id):
                others.append(batch.batch_id)
        return found, others

    async def _may_go_on(self, lookup: Lookup) -> bool:
        """Wait until the plan allows one more request: a new start would cost every page again.

        False if another process has taken the lookup over, or if this process does not wait for limits.
        """
        while await self._gateway.postpone_lookup(lookup, seconds=self._settings.lease_seconds):
            if await self._gateway.draw_requests(self._plan, "lookup"):
                return True
            if not self._waits_for_rates:
                return False
            await asyncio.sleep(1)
        return False


@dataclass(slots=True)
class _Reading:
    """The pages of one lookup so far. ``doubt`` is the first reason why an empty result proves nothing.

    Only the dispatch's request carries its id, which is random. So a batch that carries the id is that request, whatever
    numbers it shows; and a batch that shows no reference at all may be that request.
    """

    reference: str
    found: dict[str, Sequence[str]] = field(default_factory=dict)
    doubt: str | None = None
    _seen: set[str] = field(default_factory=set)
    _total: int | None = None

    def add(self, page: Page[Batch]) -> None:
        if page.unusable:
            self._doubt(f"a batch in the list could not be read: {page.unusable[0].why}")
        if page.total is not None:
            self._total = max(self._total or 0, page.total)
        for batch in page.items:
            self._seen.add(batch.batch_id)
            if batch.reference == self.reference and batch.is_whole:
                self.found[batch.batch_id] = batch.recipients
            elif batch.reference == self.reference:
                self._doubt(f"not all recipients of batch {batch.batch_id} could be read")
            elif batch.reference is None:
                self._doubt(f"batch {batch.batch_id} in the list shows no reference, so it may be this request")
            elif _may_be(batch.reference, self.reference):
                self._doubt(f"batch {batch.batch_id} in the list shows a part of this request's reference")

    def result(self) -> Mapping[str, Sequence[str]]:
        """The batches that were found. Raises ProviderError if there are none and the list does not prove that."""
        if self._total is not None and len(self._seen) != self._total:
            self._doubt(f"the list says that it holds {self._total} batches and shows {len(self._seen)}")
        if self.doubt is not None and not self.found:
            raise ProviderError(self.doubt)
        return self.found

    def _doubt(self, why: str) -> None:
        self.doubt = self.doubt or why


def _is_the_same(shown: str | None, reference: str) -> bool:
    return shown is not None and shown.strip().lower() == reference


def _is_another_request(batch: SentBatch, reported: Reported, reference: str) -> bool:
    """Whether the batch carries another reference, or none and another text for the number that was reported."""
    if batch.reference:
        return not _may_be(batch.reference, reference)
    text = dict(zip(batch.recipients, batch.texts, strict=True)).get(reported.recipient)
    return text is not None and reported.letters is not None and letters_digest(text) != reported.letters


def _may_be(shown: str, reference: str) -> bool:
    """Whether a provider may have made ``shown`` of ``reference``: cut it short, or written something around it."""
    one, other = (text.replace("-", "").strip().lower() for text in (shown, reference))
    return not one or other in one or (len(one) >= _LEAST_PART and one in other)
