"""A process that serves an account at Sinch and one at Vonage."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from jobs.providers.base import Submission
from jobs.runtime.accounts import VonageSettings
from jobs.runtime.settings import EngineSettings
from jobs.runtime.waking import Wakings
from jobs.schema import releases
from sandbox.local import processes
from sandbox.local.stack import LocalStack
from sandbox.simulator import control as faults
from sandbox.simulator.behaviour import Fault
from sandbox.simulator.server import Running
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.vonage.tokens import public_key_of
from scheduler.engine import Engine, build_engine
from scheduler.process import Process
from scheduler.wakeup import Wakeup
from tests.calls import plan_claim
from tests.engine import column, history, insert, later, sinch_account, statuses, supabase_settings
from tests.routes import set_route
from tests.stack import Connection

PATIENCE_SECONDS = 30.0
MakeEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture
async def make_engine(stack: LocalStack, sinch: Running, private_key: str) -> AsyncIterator[MakeEngine]:
    """Makes the jobs of both accounts, Sinch first. The lists are read already unless ``is_checked`` is false."""
    sinch.control.vonage.agree(ApplicationSettings(public_key=public_key_of(private_key)))
    made: list[Engine] = []

    async def make(*, is_checked: bool = True, wakings: Wakings | None = None, **settings: Any) -> Engine:
        vonage = VonageSettings(
            _env_file=None,
            vonage_application_id=sinch.application.id,
            vonage_private_key=private_key,
            vonage_base_url=sinch.url,
            vonage_from_number="+12025550100",
            vonage_reports=False,
            # So that only weights limit it.
            vonage_messages_per_second=1000,
        )
        engine = await build_engine(
            supabase_settings(stack),
            {0: sinch_account(sinch), 1: vonage},
            EngineSettings(_env_file=None, **settings),
            known=releases.packaged(),
            waits_for_rates=False,
            wakings=wakings,
        )
        for one in engine.served:
            one.restores.passed = is_checked
        made.append(engine)
        return engine

    yield make
    for engine in made:
        await engine.aclose()


async def run_once(engine: Engine) -> bool:
    return await Process(engine.jobs, has_ready=engine.gateway.has_ready).run_once()


def pause(db: Connection, engine: Engine, place: int) -> None:
    plan = engine.served[place].plan
    # The row of the plan is there after its first claim.
    db.execute("select outbox_engine.lock_plan(%s, %s, 'h', null, 600)", [plan.provider, plan.plan])
    db.execute("select public.outbox_pause(%s, %s, null, 3600, null)", [plan.provider, plan.plan])


def sent(sinch: Running) -> dict[str, int]:
    return {name: sinch.control.summary(provider=name).messages for name in ("sinch", "vonage")}


async def test_second_account_sends_while_first_is_paused(make_engine: MakeEngine, sinch: Running, db: Connection) -> None:
    engine = await make_engine()
    pause(db, engine, 0)
    insert(db, 3)

    assert await run_once(engine)

    assert (statuses(db), sent(sinch)) == ({"sent": 3}, {"sinch": 0, "vonage": 3})


async def test_second_account_sends_what_the_first_refuses(make_engine: MakeEngine, sinch: Running, db: Connection) -> None:
    engine = await make_engine()
    sinch.control.add(Fault(effect="answer", status=401, on="send", provider="sinch"))
    insert(db, 3)

    with capture_logs() as logs:
        assert await run_once(engine)

    assert (statuses(db), sent(sinch)) == ({"sent": 3}, {"sinch": 0, "vonage": 3})
    assert {one["plan"] for one in logs if one["event"] == "dispatch.accepted"} == {sinch.application.id}


async def test_second_account_sends_while_first_is_away(make_engine: MakeEngine, sinch: Running, db: Connection) -> None:
    engine = await make_engine(is_checked=False)
    sinch.control.add(Fault(effect="answer", status=503, on="any", provider="sinch"))
    insert(db, 3)

    assert await run_once(engine)

    assert (statuses(db), sent(sinch)) == ({"sent": 3}, {"sinch": 0, "vonage": 3})


async def test_second_account_looks_after_the_first(make_engine: MakeEngine, sinch: Running, db: Connection) -> None:
    """A process has just started, so the database knows of no account. The second one's tick begins first."""
    engine = await make_engine()
    first, second = (job for job in engine.jobs if job.kind == "dispatch")
    insert(db, 3)

    await asyncio.gather(second.tick(), first.tick())
    await asyncio.gather(second.finish(), first.finish())

    assert sent(sinch) == {"sinch": 3, "vonage": 0}


async def test_single_run_sends_the_shares_of_both(make_engine: MakeEngine, sinch: Running, db: Connection) -> None:
    """An account that is ahead of its share waits for the other."""
    engine = await make_engine(dispatch_interval_seconds=60)
    for place, one in enumerate(engine.served):
        values = [one.plan.provider, one.plan.plan, place]
        db.execute("insert into public.outbox_route_plans values (0, %s, %s, 50, %s)", values)
    db.execute("select nextval('outbox_engine.route_ids')")
    await asyncio.gather(*(job.tick() for job in engine.jobs if job.kind == "dispatch"))
    insert(db, 500)

    assert await run_once(engine)

    assert statuses(db) == {"sent": 500}
    assert sum(sent(sinch).values()) == 500
    assert min(sent(sinch).values()) >= 150


async def test_single_run_fails_while_rows_are_left(make_engine: MakeEngine, sinch: Running, db: Connection) -> None:
    engine = await make_engine()
    sinch.control.add(faults.account_error(401, on="send"))
    insert(db, 3)

    assert not await run_once(engine)
    assert statuses(db) == {"pending": 3}


async def test_notice_reaches_the_second_account(
    make_engine: MakeEngine, stack: LocalStack, sinch: Running, db: Connection
) -> None:
    """Only it can send. The first row finds the process asleep, the second awake, the third asleep again."""
    wakings = Wakings()
    engine = await make_engine(dispatch_interval_seconds=60, wakings=wakings)
    pause(db, engine, 0)
    process = Process(engine.jobs, listener=Wakeup(SecretStr(stack.db_url), wakings))
    running = asyncio.create_task(process.run())
    try:
        for n, sleeps in enumerate((True, False, True)):
            if sleeps:
                await becomes(lambda: wakings.sleeps and is_marked(db))
            (row,) = insert(db, 1, first=n)
            await becomes(lambda row=row: column(db, "status", row) == "sent")  # type: ignore[misc]
    finally:
        process.stop()
        await running
    assert sent(sinch) == {"sinch": 0, "vonage": 3}


async def test_claim_wakes_the_jobs_of_its_account(make_engine: MakeEngine, sinch: Running, db: Connection) -> None:
    engine = await make_engine()
    jobs = {job.name: job for job in engine.jobs}
    woken: list[str] = []
    jobs["dispatch vonage"].wake_others_with(woken.append)
    sinch.control.add(faults.reset_after_accepting())
    insert(db)
    await jobs["dispatch vonage"].tick()
    await jobs["dispatch vonage"].finish()

    later(db, "11 minutes")
    await jobs["dispatch vonage"].tick()

    assert [name for name in woken if name.startswith("recover")] == ["recover vonage"]


async def test_process_ends_with_its_last_account(make_engine: MakeEngine, db: Connection) -> None:
    engine = await make_engine()
    first, second = (job for job in engine.jobs if job.kind == "dispatch")
    ended = "select count(*) filter (where ended_at is not null), count(distinct worker) from outbox_engine.heartbeats"
    seen = []
    for job in (first, second):
        await job.tick()

    for job in (first, second):
        await job.drain()
        seen.append(db.execute(f"{ended} where job = 'dispatch'").fetchone())

    assert seen == [(0, 1), (2, 1)]


def is_marked(db: Connection) -> bool:
    row = db.execute("select last_value / 1000.0 > extract(epoch from clock_timestamp()) from outbox_engine.asleep_until")
    return row.fetchone() == (True,)


@pytest.mark.parametrize(("others", "stays"), [([], False), (["p"], False), (["q"], True), (["p", "q"], False)])
def test_claim_ends_sleep_of_processes_alike(db: Connection, others: list[str], stays: bool) -> None:
    """The process of another plan has to be told of rows that this one cannot send."""
    for plan in others:
        db.execute("select outbox_engine.record_heartbeat('dispatch', 'sinch', %s, 'other')", [plan])
    if len(others) == 2:
        db.execute("select outbox_engine.record_heartbeat('dispatch', 'sinch', 'q', 'w')")
    db.execute("select outbox_engine.fall_asleep(60)")
    insert(db)

    assert len(plan_claim(db)["dispatches"]) == 1

    assert is_marked(db) is stays


async def becomes(is_so: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(processes.wait_until, is_so, PATIENCE_SECONDS)


async def test_a_route_and_its_alias_reach_the_provider(make_engine: MakeEngine, sinch: Running, db: Connection) -> None:
    """Numbers of India go to Vonage, under the sender and with the ids that were registered there."""
    engine = await make_engine()
    vonage = engine.served[1]
    asked: list[Submission] = []

    async def submit(submission: Submission, **settings: Any) -> Any:
        asked.append(submission)
        return await send(submission, **settings)

    send, vonage.provider.submit = vonage.provider.submit, submit  # type: ignore[method-assign]
    set_route(db, "india", [{"provider": "vonage", "plan": vonage.plan.plan}], countries=["IN"], allow_absent=True)
    db.execute(
        "select public.outbox_set_sender('Acme', 'vonage', %s, 'ACMEIN', 'IN', '{\"entity_id\": \"1101\"}')", [vonage.plan.plan]
    )
    insert(db, sender="Acme")
    db.execute("insert into public.outbox (recipient, body, sender) values ('+919999900001', 'hi', 'Acme')")

    assert await run_once(engine)

    assert (statuses(db), sent(sinch)) == ({"sent": 2}, {"sinch": 1, "vonage": 1})
    assert [(one.sender, one.options, list(one.recipients)) for one in asked] == [
        ("ACMEIN", {"entity_id": "1101"}, ["+919999900001"])
    ]


async def test_a_picture_goes_where_it_can(make_engine: MakeEngine, sinch: Running, db: Connection) -> None:
    """Vonage carries everything, and sends no MMS to Australia: that picture moves to Sinch, with its file."""
    engine = await make_engine(dispatch_interval_seconds=60)
    await asyncio.gather(*(job.tick() for job in engine.jobs if job.kind == "dispatch"))
    first, second = ({"provider": one.plan.provider, "plan": one.plan.plan} for one in engine.served)
    set_route(db, "default", [{**second, "weight": 100}, {**first, "weight": 0}], allow_absent=True)
    url = "https://example.com/menu.jpg"
    rows = [
        db.execute("insert into public.outbox (recipient, body, media_url) values (%s, 'look', %s) returning id", [to, url])
        for to in ("+61491570006", "+12025550123")
    ]
    moved = rows[0].fetchone()

    assert await run_once(engine)

    books = {(one.provider, one.recipient, one.media) for one in sinch.control.accepted()}
    assert books == {("sinch", "61491570006", (url,)), ("vonage", "12025550123", (url,))}
    assert moved is not None
    assert history(db, int(str(moved[0]))) == ["moved", "accepted"]
