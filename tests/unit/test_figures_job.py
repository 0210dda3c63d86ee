"""The figures job counts for a moment each minute, and all that changed every five minutes."""

import asyncio
from collections.abc import Mapping
from typing import Any

from jobs.figures import Figures
from jobs.gateway.upkeep import Left
from jobs.runtime.settings import EngineSettings
from tests.simulation.clockwork import run


class Database:
    """Answers what is left after each step."""

    def __init__(self, *left: Left) -> None:
        self.left = list(left)

    async def tend_dashboard(self, kept_days: Mapping[str, float | None], *, most: int) -> Left:
        assert kept_days
        assert most > 0
        await asyncio.sleep(1)
        return self.left.pop(0)


def test_all_is_counted_every_five_minutes() -> None:
    more, none = Left(bulk=False, figures=True), Left(bulk=False, figures=False)
    database: Any = Database(more, none, more, more, none)
    job = Figures(gateway=database, settings=EngineSettings(_env_file=None))

    async def ticks() -> list[int]:
        left = []
        for _ in range(2):
            await job.tick()
            left.append(len(database.left))
            await asyncio.sleep(job.interval)
        await asyncio.sleep(300)
        await job.tick()
        return [*left, len(database.left)]

    assert run(ticks()) == [3, 2, 0]


def test_bulk_action_goes_on_to_its_end() -> None:
    goes_on, ended = Left(bulk=True, figures=False), Left(bulk=False, figures=True)
    database: Any = Database(Left(bulk=False, figures=False), goes_on, goes_on, ended)
    job = Figures(gateway=database, settings=EngineSettings(_env_file=None))

    async def ticks() -> None:
        await job.tick()
        await job.tick()

    run(ticks())
    assert database.left == []
