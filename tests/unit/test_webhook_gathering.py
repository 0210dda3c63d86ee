"""When a group has gathered long enough."""

import asyncio
from collections.abc import Sequence

from tests.unit.groups_in_memory import Database, adding, grouped


class Stream:
    """Requests that come during the pauses, as many in each as ``arrivals`` says; none in the pauses after those."""

    def __init__(self, database: Database, arrivals: Sequence[int], *, crowd: int = 1_000) -> None:
        self.groups = grouped(database, crowd=crowd, pause=self._pause)
        self.requests: list[asyncio.Task[None]] = []
        self.pauses = 0
        self._arrivals = iter(arrivals)

    async def run(self) -> None:
        await self.groups.add([0])
        await asyncio.gather(*self.requests)

    async def _pause(self) -> None:
        self.pauses += 1
        self.requests += adding(self.groups, *([self.pauses] for _ in range(next(self._arrivals, 0))))
        await asyncio.sleep(0)


async def test_a_group_waits_for_those_who_are_about_to_come() -> None:
    database = Database()
    stream = Stream(database, [1, 0, 0, 2, 0, 1])

    await stream.run()

    assert database.calls == [[0, 1, 4, 4, 6]]
    assert stream.pauses == 6 + 3


async def test_a_group_does_not_wait_for_a_stream_to_end() -> None:
    database = Database()
    stream = Stream(database, [1] * 30)

    await stream.run()

    assert len(database.calls[0]) == 21


async def test_a_crowd_is_not_kept_waiting() -> None:
    database = Database()
    stream = Stream(database, [2, 2, 2, 2], crowd=5)

    await stream.run()

    assert len(database.calls[0]) == 5
