"""The dispatches that a process holds, and how long it may still act on them."""

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
    """Seconds on the event loop's clock, which is monotonic. A test that runs its own loop sets it."""
    return asyncio.get_running_loop().time()


class Leases:
    """Renews leases by heartbeat while their dispatches are open.

    ``renew`` renews all of them in one call and returns the ids that are still held. ``lease`` is in seconds. A lease counts on
    this process's monotonic clock, from before the call that won or renewed it: it never ends later here than in the database.
    ``plan`` is for the log.
    """

    def __init__(self, *, renew: Renew, lease: float, plan: str = "") -> None:
        self._plan = plan
        self._renew = renew
        self._lease = lease
        self._held: dict[str, Dispatch] = {}
        self._ends: dict[str, float] = {}
        self._settling: set[str] = set()
        self._heart: asyncio.Task[None] | None = None
        self._outage = Outage("lease.not_renewed")

    def hold(self, dispatches: Sequence[Dispatch], *, since: float) -> None:
        """Hold these from now on. ``since`` is the time of :func:`clock` before the call that claimed them."""
        for dispatch in dispatches:
            self._held[dispatch.dispatch_id] = dispatch
            self._ends[dispatch.dispatch_id] = since + self._lease
        if dispatches and self._heart is None:
            self._heart = asyncio.create_task(self._beat(), name="lease heartbeat")

    def settle(self, dispatch: Dispatch) -> None:
        """The outcome of the dispatch is known and being recorded. If the lease ends meanwhile, that is no loss to log."""
        self._settling.add(dispatch.dispatch_id)

    def drop(self, dispatch: Dispatch) -> None:
        """The outcome of the dispatch is recorded: hold it no longer."""
        self._held.pop(dispatch.dispatch_id, None)
        self._ends.pop(dispatch.dispatch_id, None)
        self._settling.discard(dispatch.dispatch_id)

    def left(self, dispatch: Dispatch) -> float:
        """Seconds left of the lease; zero if it was lost."""
        return max(0.0, self._ends.get(dispatch.dispatch_id, 0.0) - clock())

    async def stop(self) -> None:
        """End the heartbeat. Recovery looks up the dispatches that are still held."""
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
            self._outage.failed(plan=self._plan, dispatches=len(held), error=str(error))
            return
        self._outage.recovered()
        for dispatch in held:
            if dispatch.dispatch_id not in self._held:
                continue
            if dispatch.dispatch_id in kept:
                self._ends[dispatch.dispatch_id] = before + self._lease
            else:
                # Another process decides from here on. A batch id that still comes back is recorded all the same.
                self._ends[dispatch.dispatch_id] = 0.0
                if dispatch.dispatch_id not in self._settling:
                    log.warning("lease.lost", plan=self._plan, dispatch=dispatch.dispatch_id)
