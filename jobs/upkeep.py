"""Keeps the database tidy and passes alarms on."""

import asyncio
import math
from typing import Final

import structlog

from jobs.gateway.gateway import Gateway
from jobs.runtime.job import FALLBACK_INTERVAL_SECONDS, Job
from jobs.runtime.settings import EngineSettings

log = structlog.get_logger()

_ROWS_A_STEP: Final = 1000
_ALARMS_AT_ONCE: Final = 50
_OVERLOOKED_SECONDS: Final = 600.0


class Upkeep(Job):
    """The upkeep job: rows that expired while waiting, retention, and alarms (logged as errors, so that Sentry hears them).

    Every ten minutes it looks for rows that claims pass over; there are none unless somebody wrote them past the triggers.
    """

    name = "upkeep"
    interval = FALLBACK_INTERVAL_SECONDS

    def __init__(self, *, gateway: Gateway, settings: EngineSettings) -> None:
        self._gateway = gateway
        self._settings = settings
        self._looked_at = -math.inf

    async def tick(self) -> None:
        while await self._gateway.upkeep(
            retention_days=self._settings.retention_days,
            body_retention_days=self._settings.body_retention_days,
            most=_ROWS_A_STEP,
        ):
            pass
        await self._pass_alarms_on()
        # Last, and not again soon where it fails: beside a reader of many hours it may take longer than a call is given.
        now = asyncio.get_running_loop().time()
        if now >= self._looked_at + _OVERLOOKED_SECONDS:
            self._looked_at = now
            await self._gateway.find_overlooked()

    async def _pass_alarms_on(self) -> None:
        alarms = await self._gateway.take_alarms(limit=_ALARMS_AT_ONCE)
        for alarm in alarms:
            # Under its own name, by which Sentry groups.
            log.error(
                alarm.kind,
                at=alarm.at.isoformat(),
                **{f"alarm_{key}": value for key, value in alarm.detail.items()},
            )
        if alarms:
            await self._gateway.alarms_told(alarms)
