"""Claims start at the queue bounds, and no message is ever queued below them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import psycopg
import pytest

from sandbox.local.stack import LocalStack
from tests.engine import column, insert, later
from tests.plans import fresh_plans
from tests.stack import Connection

__all__ = ["fresh_plans"]

ROUNDS = 12
ROWS = 500


@pytest.fixture
def other(stack: LocalStack) -> Iterator[Connection]:
    """A second connection, in a transaction."""
    with psycopg.connect(stack.admin_url) as connection:
        yield connection
        connection.rollback()


def claim(db: Connection, rows: int = 1000, *, plan: str = "p") -> int:
    """Claim up to this many rows and return how many were claimed."""
    row = db.execute(
        "select coalesce(sum(jsonb_array_length(d -> 'recipients')), 0) from jsonb_array_elements(public.outbox_claim_due(%s,"
        " 'w', 'sinch', %s, 'h', 'c', 30, 10, 8::smallint, 1000::smallint, %s, null, 1000000, null, true) -> 'dispatches') d",
        [uuid4(), plan, rows],
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def raise_bounds(db: Connection) -> None:
    """Let claims advance the bounds until they are as high as they can be."""
    for n in range(3):
        later(db, "2 seconds")
        insert(db, first=9000 + n)
        assert claim(db) == 1


def bound(db: Connection, name: str, priority: int = 100) -> object:
    return one(
        db, f"select {name}[array_position(priorities, %s::smallint)] from outbox_engine.current_queue_bounds()", priority
    )


def one(db: Connection, question: str, *values: object) -> object:
    row = db.execute(question.encode(), values).fetchone()
    assert row is not None
    return row[0]


@contextmanager
def entries_read(db: Connection, *indexes: str) -> Iterator[dict[str, int]]:
    """The entries of each index that this block scanned, dead or alive. The block is one transaction."""
    read: dict[str, int] = {}
    count = "select pg_stat_get_xact_tuples_returned(%s::regclass)"
    with db.transaction():
        before = {index: int(str(one(db, count, f"public.{index}"))) for index in indexes}
        yield read
        read |= {index: int(str(one(db, count, f"public.{index}"))) - before[index] for index in indexes}


def test_claims_skip_index_entries_an_old_reader_keeps(db: Connection, other: Connection) -> None:
    # With outdated statistics, the planner considers any index as short as the right one.
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

    with entries_read(db, "outbox_ready_on_route", "outbox_waiting_on_route", "outbox_expiring") as read:
        assert claim(db) == 3

    # The entries of the last rounds, read a few times. Without bounds it would be the entries of all rounds.
    assert read["outbox_ready_on_route"] <= 6 * ROWS
    assert read["outbox_waiting_on_route"] <= 3 * ROWS
    assert read["outbox_expiring"] <= 3 * ROWS


def test_bounds_stop_at_the_first_queued_message(db: Connection) -> None:
    [first] = insert(db, send_at=one(db, "select outbox_engine.now() + interval '1 hour'"))
    raise_bounds(db)

    assert bound(db, "ready_from") == bound(db, "waiting_from") == one(db, "select safe_at from outbox_engine.queue_bounds")

    later(db, "2 hours")
    raise_bounds_urgently(db)

    assert column(db, "status", first) == "pending"
    assert bound(db, "ready_from") == column(db, "due_at", first)


def raise_bounds_urgently(db: Connection) -> None:
    for n in range(3):
        later(db, "2 seconds")
        insert(db, first=9000 + n, priority=0)
        assert claim(db, 1) == 1


def test_messages_committed_late_are_claimed(db: Connection, other: Connection) -> None:
    insert(other)
    insert(other, first=1, send_at=one(db, "select outbox_engine.now() + interval '1 second'"))
    raise_bounds(db)
    later(db, "10 minutes")
    raise_bounds(db)
    insert(db, first=2)
    advance(db)
    advance(db)

    other.commit()

    assert claim(db) == 3


def test_open_insert_holds_the_bounds_until_it_ends(db: Connection, other: Connection) -> None:
    insert(other)
    raise_bounds(db)
    held = one(db, "select safe_at::text from outbox_engine.queue_bounds")
    later(db, "10 minutes")
    raise_bounds(db)
    assert one(db, "select safe_at::text from outbox_engine.queue_bounds") == held

    other.rollback()
    raise_bounds(db)
    raise_bounds(db)

    assert one(db, "select safe_at > %s::timestamptz + interval '9 minutes' from outbox_engine.queue_bounds", held)


def test_messages_another_claim_makes_ready_are_claimed(db: Connection, other: Connection) -> None:
    insert(db, 2, send_at=one(db, "select outbox_engine.now() + interval '1 second'"))
    later(db, "1 minute")
    advance(db)
    advance(db)

    other.execute("select outbox_engine.wake_due(outbox_engine.current_queue_bounds(), outbox_engine.now(), 5000)")
    advance(db)
    other.commit()

    assert claim(db) == 2


def advance(connection: Connection) -> None:
    connection.execute("select outbox_engine.advance_queue_bounds(1000)")


def test_claims_of_two_plans_advance_concurrently(db: Connection, other: Connection) -> None:
    insert(db, ROWS)
    assert claim(other, ROWS // 2) == ROWS // 2
    claimed = claim(db, ROWS, plan="another")

    other.rollback()

    assert claimed == ROWS - ROWS // 2
    raise_bounds_urgently(db)
    assert claim(db) == ROWS // 2


def test_repeatable_read_transactions_do_not_advance(db: Connection, other: Connection) -> None:
    raise_bounds(db)
    other.execute("set transaction isolation level repeatable read")
    other.execute("select from public.outbox")
    insert(db)

    advance(other)
    advance(other)
    other.commit()

    assert claim(db) == 1


@pytest.mark.parametrize("back", ["300 milliseconds", "30 seconds", "3 hours"])
def test_a_clock_set_back_hides_no_message(db: Connection, back: str) -> None:
    raise_bounds(db)
    raise_bounds(db)

    later(db, f"-{back}")
    insert(db, 2)
    insert(db, 1, first=2, priority=150)
    insert(db, 2, first=3, send_at=one(db, "select outbox_engine.now() + interval '100 milliseconds'"))

    assert claim(db) == 3
    later(db, back)
    assert claim(db) == 2


def test_step_back_that_was_undone_hides_no_message(db: Connection) -> None:
    """Also where no claim saw the clock while it was behind."""
    raise_bounds(db)
    raise_bounds(db)

    later(db, "-3 hours")
    insert(db, 2)
    later(db, "3 hours")

    assert claim(db) == 2


def test_message_of_a_clock_behind_is_not_overlooked(db: Connection) -> None:
    """The upkeep job may look before the first claim does."""
    raise_bounds(db)
    raise_bounds(db)
    later(db, "-3 hours")

    insert(db)

    assert one(db, "select public.outbox_find_overlooked()") == 0


def test_changed_priority_applies_to_the_claim(db: Connection) -> None:
    ids = insert(db, 2, priority=200)
    for _ in range(2):
        raise_bounds(db) if one(db, "select count(*) from public.outbox where queue = 'r'") == 0 else raise_bounds_urgently(db)

    db.execute("update public.outbox set priority = case id when %s then 0 else 7 end where queue = 'r'", ids[:1])

    assert claim(db) == 2


def test_first_users_of_a_priority_do_not_wait(db: Connection, stack: LocalStack) -> None:
    with ExitStack() as connections:
        one_app, other_app = (connections.enter_context(psycopg.connect(stack.admin_url)) for _ in range(2))
        for app in (one_app, other_app):
            app.execute("set lock_timeout = '2s'")
            insert(app, priority=42)
        one_app.commit()
        assert claim(db) == 1
        other_app.commit()

    assert claim(db) == 1


def test_messages_written_without_triggers_raise_an_alarm(db: Connection) -> None:
    raise_bounds(db)
    raise_bounds(db)
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


def test_an_advance_waits_for_the_newest_transactions(db: Connection, other: Connection) -> None:
    insert(db)
    assert claim(db) == 1
    insert(other, first=1)
    xmax = one(db, "select pg_snapshot_xmax(pg_current_snapshot())::text")
    assert xmax == xid(other), "a snapshot's xmax is not above an open transaction that began last"

    advance(db)
    advance(db)
    other.commit()

    assert claim(db) == 1


def xid(connection: Connection) -> str:
    return str(one(connection, "select pg_current_xact_id()::text"))


def test_a_rolled_back_reset_hides_no_message(db: Connection, other: Connection) -> None:
    raise_bounds(db)
    raise_bounds(db)
    later(db, "-3 hours")
    claim(other)
    other.rollback()

    insert(db)

    assert claim(db) == 1


def use(db: Connection, priority: int) -> None:
    """Send a message of this priority, so that the engine knows it."""
    insert(db, priority=priority)
    assert claim(db) == 1
    assert is_known(db, priority)


def is_known(db: Connection, priority: int) -> bool:
    return bool(one(db, "select exists (select from outbox_engine.priorities where priority = %s)", priority))


def run_upkeep(db: Connection, times: int = 4) -> None:
    """The work that the upkeep job does every ten minutes."""
    for _ in range(times):
        later(db, "11 minutes")
        assert one(db, "select public.outbox_find_overlooked()") == 0


def test_unused_priorities_are_forgotten(db: Connection) -> None:
    use(db, 42)
    insert(db, priority=43, send_at=one(db, "select outbox_engine.now() + interval '1 day'"))

    run_upkeep(db)

    assert not is_known(db, 42)
    assert is_known(db, 43)
    use(db, 42)


def test_a_priority_in_use_keeps_one_row(db: Connection) -> None:
    for n in range(5):
        insert(db, first=n, priority=42)
        run_upkeep(db, 1)
    run_upkeep(db)

    assert one(db, "select count(*) from outbox_engine.priorities where priority = 42") == 1
    assert claim(db) == 5


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_open_inserts_keep_their_priority_known(db: Connection, other: Connection, isolation: str) -> None:
    use(db, 42)
    other.execute(f"set transaction isolation level {isolation}")
    other.execute("select from public.outbox")
    insert(other, first=1, priority=42)

    run_upkeep(db)
    assert is_known(db, 42)
    other.commit()

    assert claim(db) == 1
    run_upkeep(db)
    assert not is_known(db, 42)


@pytest.mark.parametrize("runs", range(4))
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_inserts_while_a_priority_is_forgotten_are_claimed(
    db: Connection, other: Connection, isolation: str, runs: int
) -> None:
    """Also if the transaction still sees the priority that was deleted meanwhile."""
    db.execute("insert into outbox_engine.priorities values (default, 42, outbox_engine.now() + interval '5 s')")
    other.execute(f"set transaction isolation level {isolation}")
    assert is_known(other, 42)

    # The queue clock, because a transaction with an old snapshot does not see how `later` moves the other one.
    db.execute("select setval('outbox_engine.queue_clock', outbox_engine.milliseconds(outbox_engine.now() + interval '30 s'))")
    for _ in range(runs):
        db.execute("select public.outbox_find_overlooked()")
    insert(other, first=1, priority=42)
    for _ in range(4):
        db.execute("select public.outbox_find_overlooked()")
    other.commit()

    assert claim(db) == 1


def test_a_clock_set_back_delays_forgetting(db: Connection) -> None:
    """If the clock is set back, it lasts longer, but not for ever."""
    use(db, 42)
    later(db, "-1 hour")
    use(db, 43)

    run_upkeep(db, 12)

    assert not is_known(db, 42)
    assert not is_known(db, 43)
