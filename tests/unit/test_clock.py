"""APScheduler as a clock: what is due, how often, and what happens when the wall clock jumps."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import clock as clock_module
from scheduler.clock import Clock, Rhythm

HOUR = 3600.0
A_WHILE = 30.0
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Calls:
    """Counts its calls; each lasts until ``may_end``."""

    def __init__(self) -> None:
        self.count = 0
        self.came = asyncio.Semaphore(0)
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def call(self) -> None:
        self.count += 1
        self.came.release()
        await self.may_end.wait()

    async def come(self, times: int = 1) -> None:
        for _ in range(times):
            await asyncio.wait_for(self.came.acquire(), A_WHILE)


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    clock = Clock()
    clock.start()
    yield clock
    clock.pause()
    await clock.stop()


async def test_call_runs_immediately_and_repeatedly(clock: Clock) -> None:
    calls = Calls()
    clock.every(0.01, calls.call, name="work")

    await calls.come(3)


async def test_calls_overlap_others_but_never_themselves(clock: Clock) -> None:
    slow, quick = Calls(), Calls()
    slow.may_end.clear()
    clock.every(0.01, slow.call, name="slow")
    clock.every(0.01, quick.call, name="quick")

    await slow.come()
    await quick.come(5)
    assert slow.count == 1

    slow.may_end.set()
    await slow.come()


async def test_distant_call_can_be_hastened(clock: Clock) -> None:
    calls = Calls()
    clock.every(HOUR, calls.call, name="work")
    await calls.come()

    clock.hasten("work")

    await calls.come()


async def test_setting_the_wall_clock_back_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = iter([HOUR, HOUR])
    monkeypatch.setattr(clock_module, "_wall_ahead", lambda: next(ahead, 0.0))
    monkeypatch.setattr(clock_module, "_CHECK_SECONDS", 0.01)
    calls, clock = Calls(), Clock()
    clock.every(HOUR, calls.call, name="work")

    clock.start()

    await calls.come(2)
    clock.pause()
    await clock.stop()


@given(interval=st.floats(0.05, 1e6), asleep=st.floats(0, 1e8))
def test_next_call_is_due_slightly_after_the_interval(interval: float, asleep: float) -> None:
    """The interval counts from the current time, however long the process slept."""
    following = Rhythm(interval).get_next_fire_time(NOON - timedelta(seconds=asleep), NOON)

    assert interval < (following - NOON).total_seconds() <= 1.1 * interval
