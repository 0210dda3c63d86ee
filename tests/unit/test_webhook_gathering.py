"""When a group has gathered long enough, on either event loop."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import uvloop

from tests.unit.groups_in_memory import Database, adding, grouped

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on the loop."""

    def run(story: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(story)

    return run


async def stream(database: Database, arrivals: Sequence[int], *, crowd: int = 1_000) -> None:
    """Requests arrive in as many turns of the loop as ``arrivals`` has numbers, that many in each; all are committed."""
    groups = grouped(database, crowd=crowd)
    requests: list[asyncio.Task[bool]] = []
    for number in arrivals:
        requests += adding(groups, *([0] for _ in range(number)))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await asyncio.gather(*requests)
    assert len(database.committed) == sum(arrivals)


def test_group_waits_for_requests_being_read(run: Run) -> None:
    database = Database()

    run(stream(database, [1, 1, 0, 2, 0, 1]))

    assert [len(call) for call in database.calls] == [5]


def test_group_does_not_wait_for_a_streams_end(run: Run) -> None:
    database = Database()

    run(stream(database, [1] * 100))

    assert 10 < len(database.calls[0]) < 30


def test_a_crowd_is_not_kept_waiting(run: Run) -> None:
    database = Database()

    run(stream(database, [2] * 10, crowd=5))

    assert 5 <= len(database.calls[0]) <= 8
