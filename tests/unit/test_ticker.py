"""One job under the real clock: failures, pauses, and wakeups."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from jobs.gateway.errors import GatewayUnavailable
from jobs.runtime.outage import Outage
from jobs.schema.admission import SchemaUnfit
from scheduler import ticker as ticker_module
from scheduler.clock import Clock
from scheduler.ticker import Ticker
from tests.unit.jobs_in_memory import Work

AWAY = GatewayUnavailable("no connection")


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    clock = Clock()
    clock.start()
    yield clock
    clock.pause()
    await clock.stop()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker_module, "FIRST_PAUSE_SECONDS", 0.01)


def never(error: SchemaUnfit) -> None:
    raise AssertionError(error)


def started(work: Work, clock: Clock) -> Ticker:
    ticker = Ticker(work, clock=clock, supabase=Outage("supabase.away", ended="supabase.back"), end=never)
    ticker.start()
    return ticker


async def ended(ticker: Ticker) -> None:
    if ticker.open is not None:
        await ticker.open


async def test_outage_is_retried_early_and_logged_once(clock: Clock) -> None:
    """The retry comes sooner than the next regular tick."""
    work = Work(answers=[AWAY, AWAY, AWAY])

    with capture_logs() as logs:
        ticker = started(work, clock)
        await work.begins(4)
        await ended(ticker)

    assert [entry["event"] for entry in logs if entry["log_level"] != "debug"] == ["supabase.away", "supabase.back"]


async def test_other_failure_raises_alarm_and_ticks_continue(clock: Clock) -> None:
    work = Work(answers=[KeyError("ours")])
    work.interval = 0.01

    with capture_logs() as logs:
        ticker = started(work, clock)
        await work.begins(2)
        await ended(ticker)

    assert [(entry["event"], entry["log_level"], entry["job"]) for entry in logs] == [("tick.failed", "error", "dispatch")]


async def test_wake_ticks_immediately(clock: Clock) -> None:
    work = Work()
    ticker = started(work, clock)
    await work.begins()
    await ended(ticker)

    ticker.wake()

    await work.begins()


class Noticing(Work):
    """A job that records the wakes that come during a tick."""

    notices = 0

    def notice(self) -> None:
        self.notices += 1


async def test_wake_during_a_tick_notifies_the_job(clock: Clock) -> None:
    """The job also ticks again."""
    work = Noticing()
    work.may_end.clear()
    ticker = started(work, clock)
    await work.begins()

    ticker.wake()
    assert work.notices == 1
    work.may_end.set()

    await work.begins()
    await ended(ticker)
    assert work.ticks == 2, "and it ticks again"


async def test_wakes_during_a_tick_add_one_tick(clock: Clock) -> None:
    work = Work()
    work.may_end.clear()
    ticker = started(work, clock)
    await work.begins()

    for _ in range(5):
        ticker.wake()
    work.may_end.set()

    await work.begins()
    await ended(ticker)
    assert work.ticks == 2


async def test_wake_does_not_shorten_an_outage_pause(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker_module, "FIRST_PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(ticker_module, "LONGEST_PAUSE_SECONDS", 3600.0)
    work = Work(answers=[AWAY])
    ticker = started(work, clock)
    await work.begins()
    while ticker._running:  # noqa: ASYNC110  # no event of its own is worth having for this
        await asyncio.sleep(0)

    ticker.wake()

    assert not ticker._hastened
    assert work.ticks == 1


async def test_after_a_stop_no_tick_follows(clock: Clock) -> None:
    work = Work()
    work.may_end.clear()
    ticker = started(work, clock)
    await work.begins()
    ticker.wake()

    ticker.stop()
    ticker.wake()
    work.may_end.set()
    await ended(ticker)

    assert ticker.open is None
    assert work.ticks == 1
