"""The process around its jobs: ticking, draining, a single run, and a listener that helps or does not."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from jobs.gateway.errors import GatewayUnavailable
from jobs.runtime.job import Job
from scheduler.process import Process
from tests.unit.jobs_in_memory import A_WHILE, DrainingWork, Work


async def stopped(process: Process, running: "asyncio.Task[None]") -> None:
    process.stop()
    await asyncio.wait_for(running, A_WHILE)


def begun(process: Process) -> "asyncio.Task[None]":
    return asyncio.create_task(process.run())


async def test_every_job_ticks_at_once_and_one_that_fails_stops_no_other() -> None:
    broken, away, well = Work("broken", [KeyError("ours")]), Work("away", [GatewayUnavailable("gone")]), Work("well")
    process = Process([broken, away, well])
    running = begun(process)

    for work in (broken, away, well):
        await work.begins()

    await stopped(process, running)


async def test_a_stop_lets_the_tick_under_way_end_and_begins_no_other() -> None:
    work = Work()
    work.may_end.clear()
    process = Process([work])
    running = begun(process)
    await work.begins()

    process.stop()
    process.wake()
    await asyncio.sleep(0)
    work.may_end.set()
    await asyncio.wait_for(running, A_WHILE)

    assert (work.ticks, work.was_cancelled) == (1, False)


async def test_a_stop_waits_for_open_requests() -> None:
    work = DrainingWork()
    process = Process([work])
    running = begun(process)
    await work.begins()

    process.stop()
    await asyncio.sleep(0)
    work.requests_end.set()
    await asyncio.wait_for(running, A_WHILE)

    assert work.drains == 1


async def test_what_is_still_open_when_the_time_is_up_is_cut_off_and_named() -> None:
    endless = Work("endless")
    endless.may_end.clear()
    process = Process([endless, DrainingWork()], drain_seconds=0.01)
    running = begun(process)
    await endless.begins()

    with capture_logs() as logs:
        await stopped(process, running)

    assert endless.was_cancelled
    (cut,) = [entry for entry in logs if entry["event"] == "work.cut_off"]
    assert cut["open"] == ["drain dispatch", "tick endless"]
    assert logs[-1]["event"] == "scheduler.stopped"


async def test_a_drain_that_fails_is_an_alarm_and_stops_no_other() -> None:
    class Failing(DrainingWork):
        async def drain(self) -> None:
            raise KeyError("ours")

    well = DrainingWork("well")
    well.requests_end.set()
    process = Process([Failing(), well])
    running = begun(process)
    await well.begins()

    with capture_logs() as logs:
        await stopped(process, running)

    assert well.drains == 1
    assert [(entry["event"], entry["what"]) for entry in logs if entry["log_level"] == "error"] == [
        ("work.failed", "drain dispatch")
    ]


@pytest.mark.parametrize(
    ("answer", "succeeded"), [(None, True), (KeyError("ours"), False), (GatewayUnavailable("gone"), False)]
)
async def test_a_single_run_ticks_each_job_once_and_says_whether_all_succeeded(
    answer: Exception | None, succeeded: bool
) -> None:
    jobs: list[Job] = [Work("one", [answer]), Work("two")]

    assert await Process(jobs).run_once() is succeeded
    assert [job.ticks for job in jobs if isinstance(job, Work)] == [1, 1]


async def test_a_single_run_also_sends_what_its_other_jobs_made_due() -> None:
    dispatch, campaigns = Work("dispatch"), Work("campaigns")
    campaigns.may_end.clear()
    running = asyncio.create_task(Process([dispatch, campaigns]).run_once())
    await campaigns.begins()
    await dispatch.begins()

    campaigns.may_end.set()

    assert await asyncio.wait_for(running, A_WHILE)
    assert (dispatch.ticks, campaigns.ticks) == (2, 1)


async def test_a_single_run_passes_on_what_its_requests_came_to() -> None:
    dispatch, upkeep = DrainingWork(), Work("upkeep")
    running = asyncio.create_task(Process([dispatch, upkeep]).run_once())
    await dispatch.begins()
    before = upkeep.ticks

    dispatch.requests_end.set()

    assert await asyncio.wait_for(running, A_WHILE)
    assert (before, upkeep.ticks) == (0, 1)


async def test_a_single_run_that_left_work_for_somebody_to_mend_did_not_succeed() -> None:
    class Stopped(Work):
        stopped = True

    assert not await Process([Stopped()]).run_once()


async def test_a_single_run_waits_for_the_requests_it_began() -> None:
    work = DrainingWork()
    running = asyncio.create_task(Process([work]).run_once())
    await work.begins()
    assert not running.done()

    work.requests_end.set()

    assert await asyncio.wait_for(running, A_WHILE)
    assert (work.ticks, work.finished, work.drains) == (2, 2, 1)


async def test_a_single_run_that_cannot_finish_in_time_did_not_succeed() -> None:
    work = DrainingWork()

    assert not await Process([work], finish_seconds=0.01, drain_seconds=0.01).run_once()


async def test_a_single_run_that_is_stopped_did_not_succeed() -> None:
    work = Work()
    work.may_end.clear()
    process = Process([work], drain_seconds=0.01)
    running = asyncio.create_task(process.run_once())
    await work.begins()

    process.stop()

    assert not await asyncio.wait_for(running, A_WHILE)
    assert work.was_cancelled


class Ear:
    """A listener that hands the process's bell to the test."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self._trouble = trouble
        self.bell: asyncio.Future[Callable[[], None]] = asyncio.get_running_loop().create_future()
        self.was_cancelled = False

    async def listen(self, wake: Callable[[], None]) -> None:
        self.bell.set_result(wake)
        if self._trouble is not None:
            raise self._trouble
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


async def test_a_notice_of_new_rows_wakes_the_dispatch_job_alone() -> None:
    dispatch, upkeep, ear = Work("dispatch"), Work("upkeep"), Ear()
    process = Process([dispatch, upkeep], listener=ear)
    running = begun(process)
    await dispatch.begins()
    await upkeep.begins()

    (await ear.bell)()

    await dispatch.begins()
    await stopped(process, running)
    assert upkeep.ticks == 1
    assert ear.was_cancelled


async def test_a_listener_that_fails_is_an_alarm_and_the_ticks_go_on() -> None:
    work, ear = Work(), Ear(KeyError("ours"))
    work.interval = 0.01
    process = Process([work], listener=ear)

    with capture_logs() as logs:
        running = begun(process)
        await ear.bell
        await work.begins(3)
        await stopped(process, running)

    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["wakeup.failed"]
