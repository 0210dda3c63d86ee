"""Finds out what became of requests nobody knows about, by reading the provider's own list."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import structlog

from jobs.gateway.gateway import Gateway
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.retry import until_answered
from jobs.gateway.values import Look, Plan
from jobs.providers.base import Batch, Provider, ProviderError
from jobs.runtime.job import FALLBACK_INTERVAL_SECONDS, Job
from jobs.runtime.settings import EngineSettings

log = structlog.get_logger()

_LOOKS_AT_ONCE = 20


class Recovery(Job):
    """The recover job of one plan: a look is one complete reading of the provider's list for one dispatch."""

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
    ) -> None:
        self._gateway = gateway
        self._provider = provider
        self._plan = plan
        self._outage = outage
        self._settings = settings
        self._deadline = settings.lease_seconds / 3
        self._waits_for_rates = waits_for_rates

    async def tick(self) -> None:
        while True:
            looks = await self._gateway.claim_looks(self._plan, lease=self._settings.lease_seconds, limit=_LOOKS_AT_ONCE)
            # Together, for their first requests are drawn: one that waits for the plan must not make the others late.
            for done in await asyncio.gather(*(self._look(look) for look in looks), return_exceptions=True):
                if done is not None:
                    raise done
            if len(looks) < _LOOKS_AT_ONCE:
                return

    async def _look(self, look: Look) -> None:
        try:
            found = await self._read(look)
        except ProviderError as error:
            # An error is no look. Nothing is known, nothing is decided.
            await self._outage.unanswered(self.name, error)
            await self._gateway.postpone_look(look, seconds=error.retry_after or self._settings.settle_seconds / 4)
            return
        self._outage.answered(self.name)
        if found is None:
            await self._gateway.postpone_look(look, seconds=1.0)
            return
        decided = await until_answered(
            lambda: self._gateway.record_look(
                look,
                found,
                settle=self._settings.settle_seconds,
                reconcile_after=self._settings.reconcile_after_seconds,
            ),
            "lookup",
        )
        log.info("look.done", dispatch=look.dispatch_id, decided=decided, batches=list(found))

    async def _read(self, look: Look) -> Mapping[str, Sequence[str]] | None:
        """Every page, or None where that was not possible now. The first is already paid for."""
        found: dict[str, Sequence[str]] = {}
        seen: set[str] = set()
        total = page = 0
        while True:
            listing = await self._provider.find(look.dispatch_id, since=look.since, page=page, deadline=self._deadline)
            if listing.unusable:
                raise ProviderError(f"a batch in the list could not be read: {listing.unusable[0].why}")
            seen.update(batch.batch_id for batch in listing.items)
            found.update(_ours(listing.items, look))
            total = max(total, listing.total or 0)
            if listing.last:
                return _complete(found, seen, total)
            page += 1
            if not await self._may_go_on(look):
                return None

    async def _may_go_on(self, look: Look) -> bool:
        """Wait until the plan allows one more: to begin again would cost all of them again. False where it cannot be."""
        while await self._gateway.postpone_look(look, seconds=self._settings.lease_seconds):
            if await self._gateway.draw_requests(self._plan, "lookup"):
                return True
            if not self._waits_for_rates:
                return False
            await asyncio.sleep(1)
        return False


def _ours(batches: Iterable[Batch], look: Look) -> Iterator[tuple[str, Sequence[str]]]:
    for batch in batches:
        if batch.reference != look.dispatch_id:
            continue
        if not batch.is_whole:
            raise ProviderError(f"not all recipients of batch {batch.batch_id} could be read")
        yield batch.batch_id, batch.recipients


def _complete(found: Mapping[str, Sequence[str]], seen: Collection[str], total: int) -> Mapping[str, Sequence[str]]:
    """A list that holds less than it says proves nothing of what it does not show."""
    if len(seen) < total:
        raise ProviderError(f"the list says that it holds {total} batches and shows {len(seen)}")
    return found
