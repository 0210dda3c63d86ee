"""Which changes send notices, and which jobs a notice and a claim wake."""

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from itertools import takewhile

import psycopg
import pytest
from pydantic import SecretStr

from jobs.runtime.waking import Wakings
from sandbox.local import processes
from sandbox.local.stack import LocalStack
from sandbox.simulator.control import reset_after_accepting
from scheduler.process import Process
from scheduler.wakeup import CHANNEL, Wakeup
from tests.calls import claim_all, plan_claim
from tests.engine import MakeRig, column, insert, later
from tests.stack import Connection, as_engine

PATIENCE_SECONDS = 30.0


def seconds_asleep(db: Connection) -> float:
    """For how much longer some process has said that it sleeps."""
    row = db.execute(
        "select last_value / 1000.0 - extract(epoch from clock_timestamp()) from outbox_engine.asleep_until"
    ).fetchone()
    assert row is not None
    return float(str(row[0]))


def notices(stack: LocalStack, work: Callable[[], object]) -> int:
    """How many notices ``work`` sends."""
    with psycopg.connect(stack.admin_url, autocommit=True) as ears:
        ears.execute(f"listen {CHANNEL}")
        work()
        # Notices arrive in the order of their commits, so after this one nothing is missing.
        ears.execute(f"notify {CHANNEL}, 'the end'")
        with closing(ears.notifies(timeout=PATIENCE_SECONDS)) as heard:
            return sum(1 for _ in takewhile(lambda notice: notice.payload != "the end", heard))


@pytest.fixture
def sleeper(db: Connection) -> None:
    """A process sleeps."""
    db.execute("select outbox_engine.fall_asleep(60)")


def test_insert_sends_no_notice_while_nobody_sleeps(stack: LocalStack, db: Connection) -> None:
    assert notices(stack, lambda: insert(db)) == 0


def test_scheduled_rows_send_no_notice(stack: LocalStack, db: Connection, sleeper: None) -> None:
    assert notices(stack, lambda: insert(db, send_at="2099-01-01")) == 0


def test_sleep_of_a_killed_process_ends(stack: LocalStack, db: Connection) -> None:
    """With the time that it had said: no claim has to end it."""
    db.execute("select outbox_engine.fall_asleep(60)")
    db.execute("select setval('outbox_engine.asleep_until', last_value - 60000) from outbox_engine.asleep_until")

    assert notices(stack, lambda: insert(db)) == 0


def test_mark_of_a_clock_ahead_does_not_stay(db: Connection) -> None:
    db.execute("select outbox_engine.fall_asleep(7200)")

    db.execute("select outbox_engine.fall_asleep(2.5)")

    assert 0 < seconds_asleep(db) <= 2.501  # the mark is in whole milliseconds


def test_short_sleep_does_not_shorten_a_longer_one(db: Connection, sleeper: None) -> None:
    db.execute("select outbox_engine.fall_asleep(2.5)")

    assert 2.5 < seconds_asleep(db) <= 60


def test_older_snapshot_sees_that_a_process_sleeps(stack: LocalStack, db: Connection, other: Connection) -> None:
    def work() -> None:
        with other.transaction():
            other.execute("set transaction isolation level repeatable read")
            other.execute("select from public.outbox")
            db.execute("select outbox_engine.fall_asleep(60)")
            insert(other)

    assert notices(stack, work) == 1


def test_claims_tell_when_their_process_sleeps(db: Connection) -> None:
    claim_all(db)
    assert seconds_asleep(db) <= 0

    plan_claim(db, sleep_seconds=2.5)
    assert 0 < seconds_asleep(db) <= 2.501  # the mark is in whole milliseconds

    insert(db)
    plan_claim(db, sleep_seconds=2.5)
    assert seconds_asleep(db) <= 0


def test_paused_plan_asks_for_no_notices(db: Connection) -> None:
    insert(db)
    claim_all(db, rows=1)
    db.execute("select public.outbox_pause('sinch', 'p', null, 3600, null)")
    insert(db, first=1)

    assert plan_claim(db, sleep_seconds=2.5)["dispatches"] == []
    assert seconds_asleep(db) <= 0


def test_row_that_saw_nobody_sleep_is_found(db: Connection) -> None:
    """It was committed after a claim looked and before the claim fell asleep."""
    insert(db)

    row = db.execute(
        "select outbox_engine.sleep_or_wake(%s, outbox_engine.current_queue_bounds(), null, 32768, 2.5)",
        [json.dumps({"dispatches": [], "more": False})],
    ).fetchone()

    assert row == ({"more": True, "passed": True},)


def test_many_rows_of_one_statement_are_one_notice(stack: LocalStack, db: Connection, sleeper: None) -> None:
    statement = b"insert into public.outbox (recipient, body) select '+120255501' || n, 'hello' from generate_series(10, 99) n"

    assert notices(stack, lambda: db.execute(statement)) == 1


def test_many_statements_of_one_transaction_are_one_notice(stack: LocalStack, db: Connection, sleeper: None) -> None:
    def work() -> None:
        with db.transaction():
            insert(db, 20)

    assert notices(stack, work) == 1


def test_status_change_sends_no_notice(stack: LocalStack, db: Connection, sleeper: None) -> None:
    insert(db, 1)

    assert notices(stack, lambda: as_engine(db, "update public.outbox set status = 'cancelled', queue = null")) == 0


async def test_woken_process_sends_before_its_interval(make_rig: MakeRig, stack: LocalStack, db: Connection) -> None:
    """The first row finds it asleep, the second awake, the third asleep again."""
    wakings = Wakings()
    rig = await make_rig(dispatch_interval_seconds=60, wakings=wakings)
    process = Process(rig.engine.jobs, listener=Wakeup(SecretStr(stack.db_url), wakings))
    running = asyncio.create_task(process.run())
    try:
        for n, sleeps in enumerate((True, False, True)):
            if sleeps:
                await becomes(lambda: seconds_asleep(db) > 0)
            (row,) = insert(db, 1, first=n)
            await becomes(lambda row=row: column(db, "status", row) == "sent")  # type: ignore[misc]
    finally:
        process.stop()
        await running


async def test_claim_wakes_lookups_of_lost_requests_only_once(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    woken: list[str] = []
    rig.dispatcher.wake_others_with(woken.append)
    rig.simulator.add(reset_after_accepting())
    insert(db, 1)
    await rig.tick("dispatch")
    assert woken == []

    later(db, "5 seconds")
    await rig.tick("dispatch")
    await rig.tick("dispatch")

    assert woken == ["recover"]


async def becomes(is_so: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(processes.wait_until, is_so, PATIENCE_SECONDS)
