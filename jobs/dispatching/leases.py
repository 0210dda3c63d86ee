"""The dispatches a process holds, and for how long it may still act on them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from jobs.gateway.errors import GatewayError
from jobs.gateway.values import Dispatch
from jobs.runtime.outage import Outage

log = structlog.get_logger()

Renew = Callable[[Sequence[Dispatch]], Awaitable[frozenset[str]]]

_BEATS_PER_LEASE: Final = 4


def clock() -> float:
    """Seconds on the event loop's clock: monotonic, and a test's own where it runs its own loop."""
    return asyncio.get_running_loop().time()


class Leases:
    """Keeps leases alive by heartbeat while their dispatches are open.

    A lease is counted on this process's monotonic clock from before the call that won or renewed it was sent, so that it never
    looks longer here than it is in the database. ``lease`` is in seconds.
    """

    def __init__(self, *, renew: Renew, lease: float) -> None:
        self._renew = renew
        self._lease = lease
        self._held: dict[str, Dispatch] = {}
        self._ends: dict[str, float] = {}
        self._settling: set[str] = set()
        self._heart: asyncio.Task[None] | None = None
        self._outage = Outage("lease.not_renewed")

    def hold(self, dispatches: Sequence[Dispatch], *, since: float) -> None:
        """Hold these from now on. ``since`` is the monotonic time before their claim was sent."""
        for dispatch in dispatches:
            self._held[dispatch.dispatch_id] = dispatch
            self._ends[dispatch.dispatch_id] = since + self._lease
        if dispatches and self._heart is None:
            self._heart = asyncio.create_task(self._beat(), name="lease heartbeat")

    def settle(self, dispatch: Dispatch) -> None:
        """What became of the dispatch is known and being written down, after which it is nobody's: that is no loss."""
        self._settling.add(dispatch.dispatch_id)

    def drop(self, dispatch: Dispatch) -> None:
        """The dispatch is settled."""
        self._held.pop(dispatch.dispatch_id, None)
        self._ends.pop(dispatch.dispatch_id, None)
        self._settling.discard(dispatch.dispatch_id)

    def left(self, dispatch: Dispatch) -> float:
        """Seconds left of a lease; zero where it was lost."""
        return max(0.0, self._ends.get(dispatch.dispatch_id, 0.0) - clock())

    async def stop(self) -> None:
        """End the heartbeat. What is still held is left to recovery."""
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)

    async def _beat(self) -> None:
        try:
            while self._held:
                await asyncio.sleep(self._lease / _BEATS_PER_LEASE)
                await self._renew_all()
        finally:
            self._heart = None

    async def _renew_all(self) -> None:
        held = tuple(self._held.values())
        if not held:
            return
        before = clock()
        try:
            kept = await self._renew(held)
        except GatewayError as error:
            self._outage.failed(dispatches=len(held), error=str(error))
            return
        self._outage.recovered()
        for dispatch in held:
            if dispatch.dispatch_id not in self._held:
                continue
            if dispatch.dispatch_id in kept:
                self._ends[dispatch.dispatch_id] = before + self._lease
            else:
                # Overtaken: somebody else decides from here on. A batch id that still comes back is recorded all the same.
                self._ends[dispatch.dispatch_id] = 0.0
                if dispatch.dispatch_id not in self._settling:
                    log.warning("lease.lost", dispatch=dispatch.dispatch_id)
