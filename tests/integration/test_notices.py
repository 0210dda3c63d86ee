"""Which changes send notices, and which jobs a notice and a claim wake."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from itertools import takewhile

import psycopg
from pydantic import SecretStr

from sandbox.local import processes
from sandbox.local.stack import LocalStack
from sandbox.simulator.control import reset_after_accepting
from scheduler.process import Process
from scheduler.wakeup import CHANNEL, Wakeup
from tests.engine import MakeRig, column, insert, later
from tests.stack import Connection, as_engine

PATIENCE_SECONDS = 30.0
LISTENS = b"select from pg_stat_activity where application_name = 'outbox' and query ~ '^unlisten'"


def notices(stack: LocalStack, work: Callable[[], object]) -> int:
    """How many notices ``work`` sends."""
    with psycopg.connect(stack.admin_url, autocommit=True) as ears:
        ears.execute(f"listen {CHANNEL}")
        work()
        # Notices arrive in the order of their commits, so after this one nothing is missing.
        ears.execute(f"notify {CHANNEL}, 'the end'")
        with closing(ears.notifies(timeout=PATIENCE_SECONDS)) as heard:
            return sum(1 for _ in takewhile(lambda notice: notice.payload != "the end", heard))


def test_many_rows_of_one_statement_are_one_notice(stack: LocalStack, db: Connection) -> None:
    statement = b"insert into public.outbox (recipient, body) select '+120255501' || n, 'hello' from generate_series(10, 99) n"

    assert notices(stack, lambda: db.execute(statement)) == 1


def test_many_statements_of_one_transaction_are_one_notice(stack: LocalStack, db: Connection) -> None:
    def work() -> None:
        with db.transaction():
            insert(db, 20)

    assert notices(stack, work) == 1


def test_status_change_sends_no_notice(stack: LocalStack, db: Connection) -> None:
    insert(db, 1)

    assert notices(stack, lambda: as_engine(db, "update public.outbox set status = 'cancelled', queue = null")) == 0


async def test_woken_process_sends_before_its_interval(make_rig: MakeRig, stack: LocalStack, db: Connection) -> None:
    rig = await make_rig(dispatch_interval_seconds=60)
    process = Process(rig.engine.jobs, listener=Wakeup(SecretStr(stack.db_url)))
    running = asyncio.create_task(process.run())
    try:
        await becomes(lambda: db.execute(LISTENS).fetchone() is not None)
        # The first may be found by the tick at the start or the one for the new connection. The next has only the notice.
        for n in range(2):
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
