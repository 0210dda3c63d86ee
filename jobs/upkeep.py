"""Keeps the database tidy and passes alarms on."""

from typing import Final

import structlog

from jobs.gateway import Gateway
from jobs.job import UNTOLD_SECONDS
from jobs.settings import EngineSettings

log = structlog.get_logger()

_ROWS_A_STEP: Final = 1000
_ALARMS_AT_ONCE: Final = 50


class Upkeep:
    """The upkeep job: rows that expired while waiting, retention, and alarms (logged as errors, so that Sentry hears them)."""

    name = "upkeep"
    interval = UNTOLD_SECONDS

    def __init__(self, *, gateway: Gateway, settings: EngineSettings) -> None:
        self._gateway = gateway
        self._settings = settings

    async def tick(self) -> None:
        while await self._gateway.upkeep(
            retention_days=self._settings.retention_days,
            body_retention_days=self._settings.body_retention_days,
            most=_ROWS_A_STEP,
        ):
            pass
        for alarm in await self._gateway.take_alarms(limit=_ALARMS_AT_ONCE):
            # Under its own name, by which Sentry groups.
            log.error(
                alarm.kind,
                at=alarm.at.isoformat(),
                **{f"alarm_{key}": value for key, value in alarm.detail.items()},
            )
