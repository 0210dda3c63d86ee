"""Events are told once the rows below them are committed or never will be, whichever way their transactions end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import psycopg
import pytest

from sandbox.local.processes import wait_until
from sandbox.local.stack import LocalStack
from tests.engine import insert, later
from tests.outgoing import add, call, cancelled, deliveries, record, take
from tests.plans import fresh_plans
from tests.races import is_waited_for, overlap
from tests.stack import Connection

__all__ = ["fresh_plans"]


@pytest.fixture(autouse=True)
def endpoint(db: Connection) -> None:
    add(db)


def messages(taken: list[dict[str, object]]) -> list[int]:
    return [int(str(one["payload"]).split('"id" : ')[1].split(",")[0]) for one in taken]


def test_open_transaction_keeps_later_events_back(db: Connection, other: Connection) -> None:
    early, late = insert(db, 2)
    with other.transaction():
        other.execute("update public.outbox set status = 'cancelled' where id = %s", [early])
        db.execute("update public.outbox set status = 'cancelled' where id = %s", [late])

        assert deliveries(db) == []
        assert deliveries(db) == []

    # In the order of the history.
    assert messages(deliveries(db)) == [early, late]
    assert deliveries(db) == []


def test_mark_passes_while_others_go_on_writing(db: Connection, other: Connection, stack: LocalStack) -> None:
    rows = insert(db, 4)
    with closing(psycopg.connect(stack.admin_url)) as third:
        with other.transaction():
            other.execute("update public.outbox set status = 'cancelled' where id = %s", [rows[0]])
            assert deliveries(db) == []
            # Begins after the mark and is still open when the first one ends: the history is never at rest.
            third.execute("update public.outbox set status = 'cancelled' where id = %s", [rows[1]])
            db.execute("update public.outbox set status = 'cancelled' where id = %s", [rows[2]])

        assert messages(deliveries(db)) == [rows[0]]
        assert deliveries(db) == []
        third.commit()
        assert messages(deliveries(db)) == [rows[1], rows[2]]


@pytest.mark.parametrize("ends", ["rollback", "savepoint"])
def test_rolled_back_writer_keeps_nothing_back(db: Connection, other: Connection, ends: str) -> None:
    early, late = insert(db, 2)
    with ExitStack() as undone:
        undone.enter_context(other.transaction(force_rollback=True))
        with other.transaction(force_rollback=True):
            other.execute("update public.outbox set status = 'cancelled' where id = %s", [early])
            db.execute("update public.outbox set status = 'cancelled' where id = %s", [late])
            assert deliveries(db) == []
        # The transaction is still open: only a part of it was undone.
        if ends == "savepoint":
            assert messages(deliveries(db)) == [late]
    if ends == "rollback":
        assert messages(deliveries(db)) == [late]


def test_id_drawn_before_its_transaction_has_one(db: Connection, other: Connection) -> None:
    # The trigger runs between the two: after the id was drawn, before the row is written.
    db.execute(
        "create function public.wait_here() returns trigger language plpgsql as $$ begin"
        " if new.detail = 'wait' then perform pg_advisory_xact_lock(4711); end if; return new; end $$"
    )
    db.execute(
        "create trigger wait_here before insert on public.outbox_events for each row execute function public.wait_here()"
    )
    early, late = insert(db, 2)
    write = (
        "insert into public.outbox_events (outbox_id, at, source, event, status, detail) values (%s, now(), 'app', %s, %s, %s)"
    )
    # The first of 32 ids gives its transaction one for the log.
    db.execute(write.encode(), [late, "changed", "pending", "-"])
    db.execute("select pg_advisory_lock(4711)")
    with ThreadPoolExecutor(1) as thread:
        try:
            db.execute("update public.outbox set status = 'cancelled' where id = %s", [early])
            drawn = thread.submit(other.execute, write.encode(), [early, "cancelled", "cancelled", "wait"])
            assert wait_until(lambda: is_waited_for(db), 10)
            has_no_id = "select backend_xid is null from pg_stat_activity where pid = %s"
            assert db.execute(has_no_id.encode(), [other.info.backend_pid]).fetchone() == (True,)
            db.execute("update public.outbox set status = 'cancelled' where id = %s", [late])

            # The first one's own row was drawn before, but nobody can know that.
            assert deliveries(db) == []
            assert db.execute("select marked_to, safe_to < marked_to from outbox_engine.event_follow").fetchone() == (4, True)
        finally:
            db.execute("select pg_advisory_unlock(4711)")
            drawn.result(10)
            db.execute("drop trigger wait_here on public.outbox_events")
            db.execute("drop function public.wait_here")
    assert messages(deliveries(db)) == [early, late]


@pytest.fixture
def preparing(db: Connection, stack: LocalStack) -> Iterator[Connection]:
    """A connection that may prepare transactions, after a restart of the database."""
    db.execute("alter system set max_prepared_transactions = 2")
    stack.stop_postgres()
    stack.start_postgres()
    with closing(psycopg.connect(stack.admin_url, autocommit=True)) as connection:
        yield connection
    with closing(psycopg.connect(stack.admin_url, autocommit=True)) as connection:
        for (name,) in connection.execute("select gid from pg_prepared_xacts").fetchall():
            connection.execute(f"rollback prepared '{name}'".encode())
        connection.execute("alter system reset max_prepared_transactions")


def test_prepared_transaction_outlives_mark_and_server(preparing: Connection, stack: LocalStack) -> None:
    early, late = insert(preparing, 2)
    with closing(psycopg.connect(stack.admin_url)) as writer:
        writer.execute("update public.outbox set status = 'cancelled' where id = %s", [early])
        preparing.execute("update public.outbox set status = 'cancelled' where id = %s", [late])
        # The mark knows it by the name that it has until it is prepared.
        assert deliveries(preparing) == []
        writer.execute("prepare transaction 'early'")
    assert deliveries(preparing) == []

    stack.kill_postgres()
    stack.start_postgres()
    with closing(psycopg.connect(stack.admin_url, autocommit=True)) as after:
        assert deliveries(after) == []
        after.execute("commit prepared 'early'")
        assert messages(deliveries(after)) == [early, late]


def test_crash_ends_the_writers_of_a_mark(db: Connection, other: Connection, stack: LocalStack) -> None:
    early, late = insert(db, 2)
    # As on a server whose commits outlive it.
    db.execute("set synchronous_commit = on")
    other.execute("begin")
    other.execute("update public.outbox set status = 'cancelled' where id = %s", [early])
    db.execute("update public.outbox set status = 'cancelled' where id = %s", [late])
    assert deliveries(db) == []

    stack.kill_postgres()
    stack.start_postgres()

    with closing(psycopg.connect(stack.admin_url, autocommit=True)) as after:
        assert messages(deliveries(after)) == [late]
    with suppress(psycopg.Error):
        other.execute("rollback")


def test_long_wait_for_a_writer_is_told(db: Connection, other: Connection) -> None:
    row, waiting = insert(db, 2)
    with other.transaction():
        other.execute("update public.outbox set status = 'cancelled' where id = %s", [row])
        db.execute("update public.outbox set status = 'cancelled' where id = %s", [waiting])
        assert take(db)["waits_since"] is None
        later(db, "2 minutes")

        assert take(db)["waits_since"] is not None
        assert db.execute("select public.outbox_status() ->> 'events_wait_since' is not null").fetchone() == (True,)
    assert take(db)["waits_since"] is None


def test_one_follows_while_another_claims(db: Connection, other: Connection) -> None:
    row = cancelled(db)

    first, second = overlap(other, lambda: deliveries(other), lambda: deliveries(db))

    assert (messages(first), second) == ([row], [])
    assert deliveries(db) == []


def test_old_snapshot_is_refused(db: Connection) -> None:
    cancelled(db)

    db.execute("set default_transaction_isolation = 'repeatable read'")

    with pytest.raises(psycopg.errors.RaiseException, match="read committed"):
        deliveries(db)


def test_history_that_begins_again_is_followed(db: Connection) -> None:
    cancelled(db)
    assert len(deliveries(db)) == 1
    db.execute("truncate public.outbox_events restart identity")
    assert deliveries(db) == []

    row = cancelled(db, first=1)

    assert messages(deliveries(db)) == [row]


def test_emptied_outbox_does_not_repeat_event_ids(db: Connection) -> None:
    cancelled(db)
    (before,) = deliveries(db)
    db.execute("truncate public.outbox, public.outbox_events restart identity")

    cancelled(db)

    (after,) = deliveries(db)
    assert (before["event_id"], after["event_id"]) == ("evt_1", "evt_2")


def test_many_writers_lose_no_event(db: Connection, stack: LocalStack) -> None:
    rows = insert(db, 120)
    committed: list[int] = []

    def write(share: list[int]) -> None:
        with closing(psycopg.connect(stack.admin_url)) as connection:
            for n, row in enumerate(share):
                connection.execute("select pg_sleep(random() * 0.01)")
                connection.execute("update public.outbox set status = 'cancelled' where id = %s", [row])
                connection.execute("select pg_sleep(random() * 0.01)")
                if n % 5:
                    connection.commit()
                    committed.append(row)
                else:
                    connection.rollback()

    seen: list[int] = []
    with ThreadPoolExecutor(6) as threads:
        writers = [threads.submit(write, rows[n::6]) for n in range(6)]
        while not all(writer.done() for writer in writers):
            seen += messages(deliveries(db))
        for writer in writers:
            writer.result()
    while taken := deliveries(db):
        seen += messages(taken)

    assert sorted(seen) == sorted(committed)


def test_long_history_is_followed_by_index(db: Connection) -> None:
    """Also with plans that were made while the tables were empty, and without statistics of the new rows."""
    record(db, *deliveries(db))
    call(db, "list_event_deliveries", "app")
    rows = insert(db, 600)
    for share in (rows[:500], rows[500:]):
        db.execute("update public.outbox set status = 'cancelled' where id = any(%s)", [share])
        while len(share) == 500 and (taken := deliveries(db)):
            record(db, *taken)
    tables = ["public.outbox", "public.outbox_events", "public.outbox_event_deliveries", "outbox_engine.event_leases"]
    counts = {kind: f"pg_stat_get_xact_{kind}(t::regclass)" for kind in ("numscans", "tuples_returned", "tuples_fetched")}
    asked = f"select t, {', '.join(counts.values())} from unnest(%s::text[]) t"

    with db.transaction():
        before = {row[0]: row[1:] for row in db.execute(asked.encode(), [tables])}
        taken = deliveries(db)
        record(db, *taken)
        call(db, "list_event_deliveries", "app")
        after = {row[0]: row[1:] for row in db.execute(asked.encode(), [tables])}

    assert len(taken) == 32
    for table, (scans, returned, fetched) in after.items():
        # Sequential scans and what they read, then what indexes led to: a page of the list twice, and a few rows an event.
        assert (table, scans, returned) == (table, *before[table][:2])
        assert int(str(fetched)) - int(str(before[table][2])) < 300 + 20 * 32, table
