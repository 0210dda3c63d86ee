"""The process asks the database for its schema before the first tick."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from jobs.gateway.errors import GatewayUnavailable
from jobs.schema.admission import SchemaUnfit
from scheduler.process import Process
from tests.unit.jobs_in_memory import A_WHILE, DrainingWork, Work

AWAY = GatewayUnavailable("gone")
UNFIT = SchemaUnfit("too old")


def answers(*given: Exception | None) -> Callable[[], Awaitable[None]]:
    """An admission that gives one answer after the other: None admits."""
    left = list(given)

    async def admission() -> None:
        answer = left.pop(0)
        if answer is not None:
            raise answer

    return admission


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.process.FIRST_PAUSE_SECONDS", 0.0)


async def test_jobs_tick_once_the_process_is_admitted() -> None:
    work = Work()
    process = Process([work], admission=answers(AWAY, AWAY, None))
    with capture_logs() as logs:
        running = asyncio.create_task(process.run())
        await work.begins()
        process.stop()
        await asyncio.wait_for(running, A_WHILE)

    said = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
    assert said[:3] == ["scheduler.started", "supabase.away", "supabase.back"]


async def test_process_is_ready_once_it_is_admitted() -> None:
    """It is alive before, and says that it stops."""
    work, problems = Work(), list[str | None]()
    given = answers(AWAY, None)

    async def admission() -> None:
        problems.append(await process.problem(True))
        problems.append(await process.problem(False))
        await given()

    process = Process([work], admission=admission)
    running = asyncio.create_task(process.run())
    await work.begins()
    problems.append(await process.problem(True))
    process.stop()
    problems.append(await process.problem(True))
    await asyncio.wait_for(running, A_WHILE)

    assert problems == [
        "the schema of the database is not known yet",
        None,
        "Supabase does not answer",
        None,
        None,
        "is stopping",
    ]


async def test_unfit_schema_ends_the_process_before_work() -> None:
    work = Work()

    with pytest.raises(SchemaUnfit):
        await asyncio.wait_for(Process([work], admission=answers(AWAY, UNFIT)).run(), A_WHILE)

    assert work.ticks == 0


async def test_stop_ends_a_question_without_an_answer() -> None:
    asked = asyncio.Event()

    async def admission() -> None:
        asked.set()
        await asyncio.Event().wait()

    work = Work()
    process = Process([work], admission=admission)
    running = asyncio.create_task(process.run())
    await asyncio.wait_for(asked.wait(), A_WHILE)

    process.stop()
    await asyncio.wait_for(running, A_WHILE)

    assert work.ticks == 0


async def test_stop_ends_the_pause_between_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.process.FIRST_PAUSE_SECONDS", 2 * A_WHILE)
    monkeypatch.setattr("scheduler.process.LONGEST_PAUSE_SECONDS", 4 * A_WHILE)
    process = Process([Work()], admission=answers(AWAY))
    running = asyncio.create_task(process.run())
    await asyncio.sleep(0)

    process.stop()
    await asyncio.wait_for(running, A_WHILE)


@pytest.mark.parametrize(("answer", "succeeds"), [(None, True), (AWAY, False)])
async def test_single_run_checks_admission_once(answer: Exception | None, succeeds: bool) -> None:
    work = Work()

    assert await Process([work], admission=answers(answer)).run_once() is succeeds
    assert (work.ticks > 0) is succeeds


async def test_single_run_raises_the_unfit_schema_error() -> None:
    work = Work()

    with pytest.raises(SchemaUnfit):
        await Process([work], admission=answers(UNFIT)).run_once()

    assert work.ticks == 0


async def test_unfit_schema_met_later_stops_the_process() -> None:
    """The requests that are open are finished first, as at a signal."""
    dispatch, upkeep = DrainingWork(answers=[None, UNFIT]), Work("upkeep")
    process = Process([dispatch, upkeep], admission=answers(None))
    with capture_logs() as logs:
        running = asyncio.create_task(process.run())
        await dispatch.begins()
        process.wake()
        await asyncio.wait_for(dispatch.draining.wait(), A_WHILE)
        assert not running.done()
        dispatch.requests_end.set()
        with pytest.raises(SchemaUnfit, match="too old"):
            await asyncio.wait_for(running, A_WHILE)

    (said,) = [entry for entry in logs if entry["event"] == "schema.unfit"]
    assert (said["log_level"], said["meaning"]) == ("error", "too old")
    assert (dispatch.ticks, dispatch.was_cancelled) == (2, False)


async def test_single_run_raises_what_a_job_met() -> None:
    with pytest.raises(SchemaUnfit):
        await Process([Work(answers=[UNFIT]), Work("upkeep")]).run_once()
