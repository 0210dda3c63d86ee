"""Counts messages for the dashboard's charts, and goes on with bulk actions whose dashboard has ended."""

import asyncio
import math
from typing import Final

from jobs.gateway.gateway import Gateway
from jobs.runtime.job import FALLBACK_INTERVAL_SECONDS, Job
from jobs.runtime.settings import EngineSettings
from jobs.runtime.steps import in_steps

_ROWS_A_STEP: Final = 1000


class Figures(Job):
    """The figures job. A tick counts the newest blocks of messages that changed, for about a second.

    Every five minutes a tick counts all that changed: late reports on a big campaign change each of its blocks every minute.
    """

    name = "figures"
    interval = 60.0

    def __init__(self, *, gateway: Gateway, settings: EngineSettings) -> None:
        self._gateway = gateway
        self._settings = settings
        self._all_at = -math.inf

    async def tick(self) -> None:
        now = asyncio.get_running_loop().time()
        counts_all = now >= self._all_at + FALLBACK_INTERVAL_SECONDS
        if counts_all:
            self._all_at = now

        async def step() -> bool:
            left = await self._gateway.tend_dashboard(self._settings.kept_days, most=_ROWS_A_STEP)
            return left.bulk or (counts_all and left.figures)

        await in_steps(step)
