"""Expires and prunes rows, and logs alarms."""

import asyncio
import math
from typing import Final

import structlog

from jobs.gateway.alarms import setting_of
from jobs.gateway.gateway import Gateway
from jobs.runtime.job import FALLBACK_INTERVAL_SECONDS, Job
from jobs.runtime.outage import named
from jobs.runtime.settings import EngineSettings
from jobs.runtime.steps import in_steps

log = structlog.get_logger()

_ROWS_A_STEP: Final = 1000
_ALARMS_AT_ONCE: Final = 50
_OVERLOOKED_SECONDS: Final = 600.0


class Upkeep(Job):
    """The upkeep job: expiry, retention and alarms. It logs alarms as errors, so that Sentry has them.

    Every ten minutes it finds due rows that claims pass over. Such rows exist only if they were written past the triggers.
    """

    name = "upkeep"
    interval = FALLBACK_INTERVAL_SECONDS

    def __init__(self, *, gateway: Gateway, settings: EngineSettings) -> None:
        self._gateway = gateway
        self._settings = settings
        self._overlooked_at = -math.inf

    async def tick(self) -> None:
        loop = asyncio.get_running_loop()
        await in_steps(lambda: self._gateway.run_upkeep(self._settings.kept_days, most=_ROWS_A_STEP))
        await self._log_alarms()
        # Last, and not soon again if it fails: beside a transaction of many hours it may exceed the timeout of a call.
        now = loop.time()
        if now >= self._overlooked_at + _OVERLOOKED_SECONDS:
            self._overlooked_at = now
            await self._gateway.find_overlooked()

    async def _log_alarms(self) -> None:
        alarms = await self._gateway.take_alarms(limit=_ALARMS_AT_ONCE)
        for alarm in alarms:
            # The event is the alarm's kind, because Sentry groups by it.
            log.error(
                alarm.kind,
                at=alarm.at.isoformat(),
                **{f"alarm_{key}": value for key, value in alarm.detail.items()},
                **named(setting_of(alarm.kind, alarm.detail)),
            )
        if alarms:
            await self._gateway.acknowledge_alarms(alarms)
