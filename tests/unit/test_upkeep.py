"""The upkeep job leaves half of the time to claims and reports."""

import asyncio
from collections.abc import Mapping
from typing import Any

from jobs.runtime.settings import EngineSettings
from jobs.upkeep import Upkeep
from tests.simulation.clockwork import run


class Database:
    """Steps of retention that take so many seconds each. ``began`` and ``overlooked`` are seconds too."""

    def __init__(self, *steps: float) -> None:
        self._steps = list(steps)
        self.began: list[float] = []
        self.overlooked: list[float] = []

    async def run_upkeep(self, kept_days: Mapping[str, float | None], *, most: int) -> bool:
        assert kept_days
        assert most > 0
        self.began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._steps.pop(0))
        return bool(self._steps)

    async def take_alarms(self, *, limit: int) -> tuple[()]:
        assert limit > 0
        return ()

    async def find_overlooked(self) -> None:
        self.overlooked.append(asyncio.get_running_loop().time())


def test_pause_after_a_step_equals_its_time() -> None:
    database: Any = Database(0.5, 2.0, 1.0)

    run(Upkeep(gateway=database, settings=EngineSettings(_env_file=None)).tick())

    assert database.began == [0.0, 1.0, 5.0]
    assert database.overlooked == [6.0]  # no pause after the last step
