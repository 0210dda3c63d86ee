"""Reports clocks that differ from the others, once each, and when they are right again."""

from typing import Final

import structlog

from jobs.dispatching.leases import clock
from jobs.gateway.errors import GatewayError
from jobs.gateway.gateway import Gateway
from jobs.runtime.clocks import Clocks, Difference

log = structlog.get_logger()

_AGAIN_SECONDS: Final = 300.0
"""How often a clock that stays off is reported: `outbox status` shows the reports of the last quarter of an hour."""
_CHANGED: Final = 0.25
"""The part of a difference by which it changes before it is reported sooner."""


class ClockWatch:
    """Compares the clocks of the database, the provider and this process. ``plan`` and ``worker`` name the last two."""

    def __init__(self, clocks: Clocks, gateway: Gateway, *, plan: str, worker: str) -> None:
        self._clocks = clocks
        self._gateway = gateway
        self._names = {"database": "", "provider": plan, "worker": worker}
        self._reported: dict[str, float] | None = None
        self._reported_at = 0.0

    async def check(self) -> None:
        """Report what has changed. A report that the database does not take is made again at the next check."""
        now = clock()
        found = self._clocks.off(now)
        if found is None:
            return
        off = {one.clock: one.seconds for one in found}
        if not self._is_due(off, now):
            return
        try:
            await self._gateway.record_clocks({(name, self._names[name]): off.get(name) for name in self._names})
        except GatewayError as error:
            log.debug("clock.not_recorded", error=str(error))
            return
        self._say(found)
        self._reported, self._reported_at = off, now

    def _is_due(self, off: dict[str, float], now: float) -> bool:
        known = self._reported
        if known is None or off.keys() != known.keys():
            return True
        if any(abs(seconds - known[name]) > abs(known[name]) * _CHANGED for name, seconds in off.items()):
            return True
        return bool(off) and now >= self._reported_at + _AGAIN_SECONDS

    def _say(self, found: tuple[Difference, ...]) -> None:
        known = self._reported or {}
        for one in found:
            if one.clock not in known:
                log.warning("clock.off", clock=one.clock, name=self._names[one.clock], seconds=round(one.seconds))
        for name in known.keys() - {one.clock for one in found}:
            log.info("clock.right", clock=name, name=self._names[name])
