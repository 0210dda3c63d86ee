"""Claims begin where the queues begin, and whatever is queued, by whom and however late, is found there."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import psycopg
import pytest

from sandbox.local.stack import LocalStack
from tests.engine import column, insert, later
from tests.stack import Connection

ROUNDS = 12
ROWS = 500


@pytest.fixture
def other(stack: LocalStack) -> Iterator[Connection]:
    """A second connection, in a transaction."""
    with psycopg.connect(stack.admin_url) as connection:
        yield connection
        connection.rollback()


def claim(db: Connection, rows: int = 1000, *, plan: str = "p") -> int:
    """Claim up to so many rows and say how many came."""
    row = db.execute(
        "select coalesce(sum(jsonb_array_length(d -> 'recipients')), 0) from jsonb_array_elements(public.outbox_claim(%s, 'w',"
        " 'sinch', %s, 'h', 'c', 30, 10, 8::smallint, 1000::smallint, %s, null, 1000000, null, true) -> 'dispatches') d",
        [uuid4(), plan, rows],
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def look_around(db: Connection) -> None:
    """Claims look where the queues begin, and again, so that the floors are as high as they can be."""
    for n in range(3):
        later(db, "2 seconds")
        insert(db, first=9000 + n)
        assert claim(db) == 1


def floor(db: Connection, name: str, priority: int = 100) -> object:
    return one(
        db, f"select {name}[array_position(priorities, %s::smallint)] from outbox_engine.current_queue_bounds()", priority
    )


def one(db: Connection, question: str, *values: object) -> object:
    row = db.execute(question.encode(), values).fetchone()
    assert row is not None
    return row[0]


@contextmanager
def entries_read(db: Connection, *indexes: str) -> Iterator[dict[str, int]]:
    """Entries of each index that were passed in this block, dead or alive. All of it is one transaction."""
    read: dict[str, int] = {}
    count = "select pg_stat_get_xact_tuples_returned(%s::regclass)"
    with db.transaction():
        before = {index: int(str(one(db, count, f"public.{index}"))) for index in indexes}
        yield read
        read |= {index: int(str(one(db, count, f"public.{index}"))) - before[index] for index in indexes}


def test_beside_an_old_reader_a_claim_passes_nothing_that_came_and_went(db: Connection, other: Connection) -> None:
    # With what the planner knows from another day, any index looks as short as the right one.
    db.execute(
        "insert into public.outbox (recipient, body) select '+1' || (2020000000 + n), '-' from generate_series(1, 3000) n"
    )
    db.execute("analyze")
    db.execute("truncate public.outbox")
    other.execute("set transaction isolation level repeatable read")
    other.execute("select count(*) from public.outbox")
    for _ in range(ROUNDS):
        insert(db, ROWS, expires_at=one(db, "select outbox_engine.now() + interval '4 s'"), priority=0)
        insert(db, ROWS, send_at=one(db, "select outbox_engine.now() + interval '1 s'"))
        later(db, "2 seconds")
        assert claim(db, 2 * ROWS) + claim(db, 2 * ROWS) == 2 * ROWS
    later(db, "1 minute")
    insert(db, 3)

    with entries_read(db, "outbox_ready", "outbox_waiting_urgent", "outbox_expiring") as read:
        assert claim(db) == 3

    # As much as the last rounds left, asked for a few times; without floors all of them, as often.
    assert read["outbox_ready"] <= 6 * ROWS
    assert read["outbox_waiting_urgent"] <= 3 * ROWS
    assert read["outbox_expiring"] <= 3 * ROWS


def test_floors_rise_with_what_is_claimed_and_stop_at_what_is_left(db: Connection) -> None:
    [first] = insert(db, send_at=one(db, "select outbox_engine.now() + interval '1 hour'"))
    look_around(db)

    assert floor(db, "ready_from") == floor(db, "waiting_from") == one(db, "select safe_at from outbox_engine.queue_bounds")

    later(db, "2 hours")
    look_around_urgently(db)

    assert column(db, "status", first) == "pending"
    assert floor(db, "ready_from") == column(db, "due_at", first)


def look_around_urgently(db: Connection) -> None:
    for n in range(3):
        later(db, "2 seconds")
        insert(db, first=9000 + n, priority=0)
        assert claim(db, 1) == 1


def test_what_is_committed_late_is_found(db: Connection, other: Connection) -> None:
    insert(other)
    insert(other, first=1, send_at=one(db, "select outbox_engine.now() + interval '1 second'"))
    look_around(db)
    later(db, "10 minutes")
    look_around(db)
    insert(db, first=2)
    look(db)
    look(db)

    other.commit()

    assert claim(db) == 3


def test_a_writer_that_goes_on_holds_the_floors_no_longer_than_it_lives(db: Connection, other: Connection) -> None:
    insert(other)
    look_around(db)
    held = one(db, "select safe_at::text from outbox_engine.queue_bounds")
    later(db, "10 minutes")
    look_around(db)
    assert one(db, "select safe_at::text from outbox_engine.queue_bounds") == held

    other.rollback()
    look_around(db)
    look_around(db)

    assert one(db, "select safe_at > %s::timestamptz + interval '9 minutes' from outbox_engine.queue_bounds", held)


def test_what_another_process_is_just_waking_is_found_by_whoever_comes_next(db: Connection, other: Connection) -> None:
    insert(db, 2, send_at=one(db, "select outbox_engine.now() + interval '1 second'"))
    later(db, "1 minute")
    look(db)
    look(db)

    other.execute("select outbox_engine.wake_due(outbox_engine.current_queue_bounds(), outbox_engine.now(), 5000)")
    look(db)
    other.commit()

    assert claim(db) == 2


def look(connection: Connection) -> None:
    connection.execute("select outbox_engine.advance_queue_bounds(1000)")


def test_claims_of_two_plans_raise_the_floors_side_by_side(db: Connection, other: Connection) -> None:
    insert(db, ROWS)
    assert claim(other, ROWS // 2) == ROWS // 2
    look = claim(db, ROWS, plan="another")

    other.rollback()

    assert look == ROWS - ROWS // 2
    look_around_urgently(db)
    assert claim(db) == ROWS // 2


def test_who_sees_one_moment_all_along_raises_nothing(db: Connection, other: Connection) -> None:
    look_around(db)
    other.execute("set transaction isolation level repeatable read")
    other.execute("select from public.outbox")
    insert(db)

    look(other)
    look(other)
    other.commit()

    assert claim(db) == 1


@pytest.mark.parametrize("back", ["300 milliseconds", "30 seconds", "3 hours"])
def test_a_clock_that_is_set_back_hides_nothing(db: Connection, back: str) -> None:
    look_around(db)
    look_around(db)

    later(db, f"-{back}")
    insert(db, 2)
    insert(db, 1, first=2, priority=150)
    insert(db, 2, first=3, send_at=one(db, "select outbox_engine.now() + interval '100 milliseconds'"))

    assert claim(db) == 3
    later(db, back)
    assert claim(db) == 2


def test_a_row_whose_priority_is_changed_is_found_under_the_new_one(db: Connection) -> None:
    ids = insert(db, 2, priority=200)
    for _ in range(2):
        look_around(db) if one(db, "select count(*) from public.outbox where queue = 'r'") == 0 else look_around_urgently(db)

    db.execute("update public.outbox set priority = case id when %s then 0 else 7 end where queue = 'r'", ids[:1])

    assert claim(db) == 2


def test_nobody_waits_for_whoever_is_the_first_to_use_a_priority(db: Connection, stack: LocalStack) -> None:
    with ExitStack() as open_ones:
        one_app, other_app = (open_ones.enter_context(psycopg.connect(stack.admin_url)) for _ in range(2))
        for app in (one_app, other_app):
            app.execute("set lock_timeout = '2s'")
            insert(app, priority=42)
        one_app.commit()
        assert claim(db) == 1
        other_app.commit()

    assert claim(db) == 1


def test_what_was_written_past_the_rules_is_found_and_told(db: Connection) -> None:
    look_around(db)
    look_around(db)
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        for n, (priority, queue) in enumerate([(100, "r"), (100, "w"), (103, "r"), (104, "w")]):
            db.execute(
                "insert into public.outbox"
                " (recipient, body, send_at, expires_at, priority, status, attempts, created_at, queue, due_at)"
                " select %s, 'hello', t.at, now() + interval '1 day', %s, 'pending', 0, now(), %s, t.at"
                " from (select now() - interval '1 day' as at) t",
                [f"+1202555{100 + n:04d}", priority, queue],
            )
    assert claim(db) == 0

    assert one(db, "select public.outbox_find_overlooked()") == 3

    assert claim(db) == 4
    assert one(db, "select detail -> 'priorities' from outbox_engine.alarms where kind = 'queue.overlooked'") == [100, 103, 104]
    assert one(db, "select public.outbox_find_overlooked()") == 0
