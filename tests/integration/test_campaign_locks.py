"""Transactions that add members or messages while others edit their campaign or template: decision record 0008."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing

import psycopg
import pytest

from sandbox.local.processes import wait_until
from sandbox.local.stack import LocalStack
from tests.campaigns import campaign, member, rows, template
from tests.engine import Clocks, number
from tests.races import is_waited_for, overlap
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"
_PATIENCE_SECONDS = 30


@pytest.fixture(autouse=True)
def noon(db: Connection, other: Connection, clocks: Clocks) -> None:
    for connection in (db, other):
        # Far longer than an edit waits, on a busy machine as well.
        connection.execute("set deadlock_timeout = '20s'")
    clocks.set(NOW)
    template(db)


@pytest.fixture
def crowd(stack: LocalStack) -> Iterator[list[Connection]]:
    """Eight connections, each with an open transaction of its own."""
    with ExitStack() as opened:
        connections = [opened.enter_context(closing(psycopg.connect(stack.admin_url, autocommit=True))) for _ in range(8)]
        for connection in connections:
            opened.enter_context(connection.transaction())
        yield connections


def send(on: Connection, n: int = 1, to: str = "hi") -> None:
    on.execute(
        'insert into public.outbox (recipient, template, parameters) values (%s, %s, \'{"name": "Ada"}\')', [number(n), to]
    )


def edit(on: Connection, body: str = "Bye {{name}}", name: str = "hi") -> None:
    on.execute("update public.outbox_templates set body = %s where name = %s", [body, name])


def start(on: Connection) -> None:
    on.execute("update public.outbox_campaigns set status = 'active'")


def cap(on: Connection) -> None:
    on.execute("update public.outbox_campaigns set daily_cap = 1")


def add(on: Connection, n: int, zone: str | None = "UTC") -> None:
    member(on, f"m{n}", n=n, zone=zone, event_at="2026-11-30 12:00+00")


def next_multixact(db: Connection) -> object:
    db.execute("checkpoint")
    (found,) = db.execute("select next_multixact_id::text from pg_control_checkpoint()").fetchone() or (None,)
    return found


def refusal_of_crossed_edits(
    first: Connection, second: Connection, prepare: Callable[[Connection, int], None], change: Callable[[Connection], None]
) -> str:
    """Both transactions read, then both change. Returns the error of ``first``, whose change began earlier."""

    def cross(pool: ThreadPoolExecutor) -> None:
        with first.transaction():
            prepare(first, 1)
            prepare(second, 2)
            changed = pool.submit(change, first)
            assert wait_until(lambda: changed.done() or is_waited_for(second), _PATIENCE_SECONDS)
            pool.submit(change, second).add_done_callback(answers.append)
            changed.result(_PATIENCE_SECONDS)

    answers: list[Future[None]] = []
    with second.transaction(), ThreadPoolExecutor(2) as pool, pytest.raises(psycopg.Error) as refused:
        cross(pool)
    answers[0].result()
    assert not isinstance(refused.value, psycopg.errors.DeadlockDetected)
    return str(refused.value.diag.message_primary)


def test_concurrent_template_inserts_write_no_multixact(db: Connection, crowd: list[Connection]) -> None:
    before = next_multixact(db)
    for n, connection in enumerate(crowd):
        send(connection, n)

    assert next_multixact(db) == before


def test_insert_in_repeatable_read_notices_an_edit(db: Connection, other: Connection) -> None:
    with other.transaction():
        other.execute("set transaction isolation level repeatable read")
        other.execute("select 1")
        edit(db, "Bye {{name}} at {{time}}")
        with pytest.raises(psycopg.errors.SerializationFailure), other.transaction():
            send(other)


def test_insert_then_edit_twice_refuses_one(db: Connection, other: Connection) -> None:
    message = refusal_of_crossed_edits(db, other, send, edit)

    assert message == "template 'hi' is in use by another transaction"
    assert rows(db, "recipient") == [(number(2),)]
    assert db.execute("select version from public.outbox_templates").fetchone() == (2,)


def test_crosswise_insert_and_edit_refuses_the_edit(db: Connection, other: Connection) -> None:
    """An insert waits for an edit, whose transaction then edits what the insert's transaction uses."""
    template(db, "bye", "Bye {{name}}")

    def edit_both(pool: ThreadPoolExecutor) -> None:
        with db.transaction():
            edit(db, "Goodbye {{name}}", "bye")
            pool.submit(send, other, 2, "bye").add_done_callback(inserts.append)
            assert wait_until(lambda: is_waited_for(db), _PATIENCE_SECONDS)
            edit(db)

    inserts: list[Future[None]] = []
    with other.transaction(), ThreadPoolExecutor(1) as pool:
        send(other)
        with pytest.raises(psycopg.DataError, match="template 'hi' is in use"):
            edit_both(pool)
    inserts[0].result()

    assert len(rows(db)) == 2


def test_rename_waits_for_an_edited_campaign(db: Connection, other: Connection) -> None:
    """The rename updates the campaign, whose transaction then uses the template."""
    campaign(db, status="draft")
    with ThreadPoolExecutor(1) as thread:
        with db.transaction():
            db.execute("update public.outbox_campaigns set priority = 50")
            renamed = thread.submit(other.execute, "update public.outbox_templates set name = 'hello'")
            assert wait_until(lambda: is_waited_for(db), _PATIENCE_SECONDS)
            add(db, 1)
        renamed.result(_PATIENCE_SECONDS)

    assert db.execute("select template, priority from public.outbox_campaigns").fetchone() == ("hello", 50)


def test_adding_a_member_then_starting_works_twice(db: Connection, other: Connection) -> None:
    campaign(db, status="draft")

    with ThreadPoolExecutor(1) as pool, other.transaction():
        add(other, 2)
        with db.transaction():
            add(db, 1)
            start(db)
            started = pool.submit(start, other)
            assert wait_until(lambda: is_waited_for(db), _PATIENCE_SECONDS)
        started.result(_PATIENCE_SECONDS)

    assert db.execute("select status from public.outbox_campaigns").fetchall() == [("active",)]
    assert db.execute("select external_id from public.outbox_campaign_members order by 1").fetchall() == [("m1",), ("m2",)]


def test_adding_members_then_editing_twice_refuses_one(db: Connection, other: Connection) -> None:
    campaign(db, offsets=["-1 hour"])

    message = refusal_of_crossed_edits(db, other, add, cap)

    assert message == "members of campaign 'c' are being added by another transaction"
    assert db.execute("select external_id from public.outbox_campaign_members").fetchall() == [("m2",)]
    assert db.execute("select daily_cap from public.outbox_campaigns").fetchone() == (1,)


def test_edit_of_a_draft_waits_for_new_members(db: Connection, other: Connection) -> None:
    """A start waits for no open transaction, so an edit of the draft has to."""
    campaign(db, status="draft", offsets=["-1 hour"])

    def edit_and_start() -> None:
        cap(other)
        start(other)

    with pytest.raises(psycopg.DataError, match="member 'm1' of campaign 'c': no timezone"):
        overlap(db, lambda: add(db, 1, zone=None), edit_and_start)


def test_member_losing_its_zone_meets_an_edit(db: Connection, other: Connection) -> None:
    campaign(db, offsets=["-1 hour"])
    add(db, 1)

    with pytest.raises(psycopg.DataError, match="its daily_cap needs one"):
        overlap(
            db,
            lambda: db.execute("update public.outbox_campaign_members set timezone = null"),
            lambda: cap(other),
        )
