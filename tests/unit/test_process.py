"""The process around its jobs: ticks, draining, a single run, and a listener that works or does not."""

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


class Stopped(Work):
    """A job that leaves due work undone."""

    stopped = True

    def __init__(self, name: str = "dispatch", *, may_help: bool = True) -> None:
        super().__init__(name)
        self._may_help = may_help

    @property
    def others_may_help(self) -> bool:
        return self._may_help


async def test_failing_job_does_not_stop_others() -> None:
    """Every job ticks as soon as the process starts."""
    broken, away, well = Work("broken", [KeyError("ours")]), Work("away", [GatewayUnavailable("gone")]), Work("well")
    process = Process([broken, away, well])
    running = begun(process)

    for work in (broken, away, well):
        await work.begins()

    await stopped(process, running)


async def test_stop_finishes_the_current_tick_only() -> None:
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


async def test_work_open_at_the_deadline_is_cancelled() -> None:
    """The log names it."""
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


async def test_failing_drain_raises_alarm_without_stopping_others() -> None:
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
async def test_single_run_ticks_once_and_returns_success(answer: Exception | None, succeeded: bool) -> None:
    """It succeeds only if all jobs do."""
    jobs: list[Job] = [Work("one", [answer]), Work("two")]

    assert await Process(jobs).run_once() is succeeded
    assert [job.ticks for job in jobs if isinstance(job, Work)] == [1, 1]


async def test_single_run_sends_rows_its_jobs_made_due() -> None:
    dispatch, campaigns = Work("dispatch"), Work("campaigns")
    campaigns.may_end.clear()
    running = asyncio.create_task(Process([dispatch, campaigns]).run_once())
    await campaigns.begins()
    await dispatch.begins()

    campaigns.may_end.set()

    assert await asyncio.wait_for(running, A_WHILE)
    assert (dispatch.ticks, campaigns.ticks) == (2, 1)


async def test_every_account_sends_rows_its_jobs_made_due() -> None:
    accounts = [Work("dispatch"), Work("dispatch vonage")]

    assert await Process([*accounts, Work("campaigns")]).run_once()
    assert [work.ticks for work in accounts] == [2, 2]


async def test_single_run_ends_with_events_and_upkeep() -> None:
    """Upkeep logs the alarms that the others raise."""
    dispatch, events, upkeep = DrainingWork(), Work("events"), Work("upkeep")
    events.may_end.clear()
    running = asyncio.create_task(Process([dispatch, events, upkeep]).run_once())
    await dispatch.begins()
    ticks = [(events.ticks, upkeep.ticks)]

    dispatch.requests_end.set()
    await events.begins()
    ticks.append((events.ticks, upkeep.ticks))
    events.may_end.set()

    assert await asyncio.wait_for(running, A_WHILE)
    assert [*ticks, (events.ticks, upkeep.ticks)] == [(0, 0), (1, 0), (1, 1)]


async def test_single_run_fails_when_sending_is_stopped() -> None:
    """An operator has to correct the cause."""

    assert not await Process([Stopped()]).run_once()


@pytest.mark.parametrize(("left", "may_help", "succeeded"), [(False, True, True), (True, True, False), (False, False, False)])
async def test_single_run_succeeds_if_others_did_all(left: bool, may_help: bool, succeeded: bool) -> None:
    async def has_ready() -> bool:
        return left

    jobs = [Work("dispatch"), Stopped("dispatch vonage", may_help=may_help)]

    assert await Process(jobs, has_ready=has_ready).run_once() is succeeded


async def test_single_run_fails_if_every_account_is_stopped() -> None:
    async def has_ready() -> bool:
        raise AssertionError("nobody is left who could have sent")

    jobs = [Stopped("dispatch"), Stopped("dispatch vonage")]

    assert not await Process(jobs, has_ready=has_ready).run_once()


async def test_single_run_fails_if_left_work_is_unknown() -> None:
    async def has_ready() -> bool:
        raise GatewayUnavailable("gone")

    assert not await Process([Work("dispatch"), Stopped("dispatch vonage")], has_ready=has_ready).run_once()


async def test_single_run_waits_for_its_requests() -> None:
    work = DrainingWork()
    running = asyncio.create_task(Process([work]).run_once())
    await work.begins()
    assert not running.done()

    work.requests_end.set()

    assert await asyncio.wait_for(running, A_WHILE)
    assert (work.ticks, work.finished, work.drains) == (2, 2, 1)


async def test_single_run_fails_if_not_finished_in_time() -> None:
    work = DrainingWork()

    assert not await Process([work], finish_seconds=0.01, drain_seconds=0.01).run_once()


async def test_stopped_single_run_fails() -> None:
    work = Work()
    work.may_end.clear()
    process = Process([work], drain_seconds=0.01)
    running = asyncio.create_task(process.run_once())
    await work.begins()

    process.stop()

    assert not await asyncio.wait_for(running, A_WHILE)
    assert work.was_cancelled


class Ear:
    """A listener that passes the process's wake function to the test."""

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


async def test_notice_wakes_every_dispatch_job_and_no_other() -> None:
    accounts, upkeep, ear = [Work("dispatch"), Work("dispatch vonage")], Work("upkeep"), Ear()
    process = Process([*accounts, upkeep], listener=ear)
    running = begun(process)
    for work in (*accounts, upkeep):
        await work.begins()

    (await ear.bell)()

    for work in accounts:
        await work.begins()
    await stopped(process, running)
    assert upkeep.ticks == 1
    assert ear.was_cancelled


async def test_failing_listener_raises_alarm_and_ticks_continue() -> None:
    work, ear = Work(), Ear(KeyError("ours"))
    work.interval = 0.01
    process = Process([work], listener=ear)

    with capture_logs() as logs:
        running = begun(process)
        await ear.bell
        await work.begins(3)
        await stopped(process, running)

    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["wakeup.failed"]
