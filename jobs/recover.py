"""Decides requests whose outcome is unknown by reading the provider's own list."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import structlog

from jobs.gateway.gateway import Gateway
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.retry import until_answered
from jobs.gateway.seen import Seen
from jobs.gateway.values import Lookup, Plan
from jobs.providers.base import Batch, Provider, ProviderError
from jobs.runtime.job import FALLBACK_INTERVAL_SECONDS, Job
from jobs.runtime.settings import EngineSettings

log = structlog.get_logger()

_LOOKUPS_AT_ONCE = 20


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
        waits_for_rates: bool = True,
        seen: Seen | None = None,
    ) -> None:
        self._gateway = gateway
        self._provider = provider
        self._plan = plan
        self._outage = outage
        self._settings = settings
        self._deadline = settings.lease_seconds / 3
        self._waits_for_rates = waits_for_rates
        self._seen = Seen() if seen is None else seen

    async def tick(self) -> None:
        while True:
            lookups = await self._gateway.claim_lookups(self._plan, lease=self._settings.lease_seconds, limit=_LOOKUPS_AT_ONCE)
            self._seen.looks_up(lookups)
            # Together, because their first requests are drawn: one that waits for the plan must not make the others late.
            for error in await asyncio.gather(*(self._look_up(lookup) for lookup in lookups), return_exceptions=True):
                if error is not None:
                    raise error
            if len(lookups) < _LOOKUPS_AT_ONCE:
                return

    async def _look_up(self, lookup: Lookup) -> None:
        try:
            found = await self._read(lookup)
        except ProviderError as error:
            # A reading that failed is no lookup: it decides nothing.
            await self._outage.unanswered(self.name, error)
            await self._gateway.postpone_lookup(lookup, seconds=error.retry_after or self._settings.settle_seconds / 4)
            return
        self._outage.answered(self.name)
        if found is None:
            await self._gateway.postpone_lookup(lookup, seconds=1.0)
            return
        decided = await until_answered(
            lambda: self._gateway.record_lookup(
                lookup,
                found,
                settle=self._settings.settle_seconds,
                reconcile_after=self._settings.reconcile_after_seconds,
            ),
            "lookup",
        )
        log.info("lookup.done", dispatch=lookup.dispatch_id, decided=decided, batches=list(found))

    async def _read(self, lookup: Lookup) -> Mapping[str, Sequence[str]] | None:
        """Read every page: the dispatch's batches, each with its recipients. None if the plan does not allow all pages now.

        The claim of the lookup has drawn the request for the first page.
        """
        found: dict[str, Sequence[str]] = {}
        seen: set[str] = set()
        total = page = 0
        while True:
            listing = await self._provider.find(lookup.dispatch_id, since=lookup.since, page=page, deadline=self._deadline)
            if listing.unusable:
                raise ProviderError(f"a batch in the list could not be read: {listing.unusable[0].why}")
            seen.update(batch.batch_id for batch in listing.items)
            found.update(_batches_of(lookup, listing.items))
            total = max(total, listing.total or 0)
            if listing.last:
                return _complete(found, seen, total)
            page += 1
            if not await self._may_go_on(lookup):
                return None

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


def _batches_of(lookup: Lookup, batches: Iterable[Batch]) -> Iterator[tuple[str, Sequence[str]]]:
    for batch in batches:
        if batch.reference != lookup.dispatch_id:
            continue
        if not batch.is_whole:
            raise ProviderError(f"not all recipients of batch {batch.batch_id} could be read")
        yield batch.batch_id, batch.recipients


def _complete(found: Mapping[str, Sequence[str]], seen: Collection[str], total: int) -> Mapping[str, Sequence[str]]:
    """Return ``found``. Raises ProviderError if the list shows fewer batches than it says, for then it proves nothing."""
    if len(seen) < total:
        raise ProviderError(f"the list says that it holds {total} batches and shows {len(seen)}")
    return found
