"""Each route has queues of its own, and a claim merges them: a backlog on one route neither hides nor slows another's rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.local.stack import LocalStack
from tests.engine import column, insert, later, number
from tests.integration.test_queue_bounds import advance, claim, one, raise_bounds, run_upkeep
from tests.nightly import examples
from tests.plans import fresh_plans, planned, walked
from tests.stack import Connection

__all__ = ["fresh_plans"]

BACKLOG = 20_000

Shares = Mapping[int, int | None]


@pytest.fixture
def other(stack: LocalStack) -> Iterator[Connection]:
    """A second connection, in a transaction."""
    with psycopg.connect(stack.admin_url) as connection:
        yield connection
        connection.rollback()


def queue(db: Connection, route: int, count: int = 1, *, due: float = -1, priority: int = 100) -> list[int]:
    """Queue rows of a route that are due in so many seconds, or ready since then."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute("insert into outbox_engine.priorities (route, priority) values (%s, %s)", [route, priority])
        rows = db.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, queue,"
            " due_at, route) select %s, 'hello', t.at, t.at + interval '1 day', %s, case when t.waits then 'scheduled' else"
            " 'pending' end, 0, t.at, case when t.waits then 'w' else 'r' end, t.at, %s"
            " from generate_series(1, %s), (select outbox_engine.now() + %s * interval '1 s' as at, %s > 0 as waits) t"
            " returning id",
            [number(0), priority, route, count, due, due],
        ).fetchall()
    return sorted(int(str(row[0])) for row in rows)


def shared(shares: Shares | None) -> str | None:
    """These shares as an array of the database."""
    if shares is None:
        return None
    return "{" + ",".join(f'"({route},{"" if most is None else most},)"' for route, most in shares.items()) + "}"


def pick(db: Connection, rows: int, shares: Shares | None = None, *, below: int = 32768) -> list[int]:
    ids: Any = one(
        db,
        "select (outbox_engine.pick_ready(outbox_engine.current_queue_bounds(), %s, %s,"
        " %s::outbox_engine.route_share[])).ids",
        rows, below, shared(shares),
    )  # fmt: skip
    return [int(found) for found in ids]


def first(db: Connection, shares: Shares | None = None, *, below: int = 32768) -> object:
    """The next row to send."""
    return one(
        db,
        "select (select id from outbox_engine.next_ready(outbox_engine.current_queue_bounds(), %s,"
        " %s::outbox_engine.route_share[]))",
        below, shared(shares),
    )  # fmt: skip


Row = tuple[int, int, int]
"""Priority, seconds since it is due, route."""


@examples(100)
@given(
    queued=st.lists(st.tuples(st.sampled_from((0, 100, 200)), st.integers(0, 4), st.integers(0, 3)), max_size=30),
    shares=st.none() | st.dictionaries(st.integers(0, 4), st.none() | st.integers(0, 6)),
    rows=st.integers(1, 12),
    below=st.sampled_from((100, 32768)),
)
def test_claims_merge_routes_within_their_shares(
    db: Connection, queued: Sequence[Row], shares: Shares | None, rows: int, below: int
) -> None:
    with db.transaction(force_rollback=True):
        db.execute("update outbox_engine.clock set frozen_at = '2026-12-01 12:00Z'")
        ids = {
            queue(db, route, due=-since, priority=priority)[0]: (priority, -since, route) for priority, since, route in queued
        }
        taken: list[int] = []
        for row in sorted(ids, key=lambda one: (*ids[one][:2], one)):
            priority, _, route = ids[row]
            most = None if shares is None else shares.get(route, 0)
            if priority < below and (most is None or sum(ids[one][2] == route for one in taken) < most):
                taken.append(row)

        assert first(db, shares, below=below) == (taken[0] if taken else None)
        assert pick(db, rows, shares, below=below) == taken[:rows]


def test_a_backlog_hides_no_other_route(db: Connection, other: Connection) -> None:
    """Also where the plans were made before there was a backlog."""
    queue(db, 1)
    [mine] = queue(db, 2)
    db.execute("analyze public.outbox")
    for shares in (None, {2: None}, {1: 20, 2: 20}):
        assert first(db, shares)
        assert mine in pick(db, 100, shares)

    queue(other, 1, BACKLOG, due=-60)
    other.commit()
    with planned(db) as steps:
        assert first(db, {2: None}) == mine
        assert pick(db, 1000, {2: None}) == [mine]
        assert mine in pick(db, 100, {1: 20, 2: 20})
        assert len(pick(db, 100)) == 100

    assert rows_of_outbox(steps) < 400


def test_waking_a_backlog_wakes_other_routes(db: Connection, other: Connection) -> None:
    queue(db, 1, due=1)
    [mine] = queue(db, 2, due=2)
    db.execute("analyze public.outbox")
    wake(db)

    queue(other, 1, BACKLOG, due=1)
    other.commit()
    later(db, "1 minute")
    with planned(db) as steps:
        wake(db)

    assert column(db, "queue", mine) == "r"
    assert one(db, "select count(*) from public.outbox where queue = 'r'") == 502
    assert rows_of_outbox(steps) < 3 * 502


def wake(db: Connection) -> None:
    db.execute("select outbox_engine.wake_due(outbox_engine.current_queue_bounds(), outbox_engine.now(), 1000)")


def rows_of_outbox(steps: Sequence[Mapping[str, Any]]) -> float:
    """How many rows of the outbox these steps read."""
    scans = [dict(step) for step in steps if step.get("Relation Name") == "outbox" and "Scan" in step["Node Type"]]
    assert scans
    return sum(walked(scan) for scan in scans)


def test_no_more_rows_are_locked_than_taken(db: Connection, other: Connection) -> None:
    for route in (1, 2, 3):
        queue(db, route, 50)

    assert len(pick(other, 30)) == 30

    assert len(pick(db, 1000)) == 120


def test_concurrent_claims_share_no_row(db: Connection, other: Connection) -> None:
    old, new = queue(db, 1, 10, due=-60), queue(db, 2, 15)

    assert pick(other, 10, {1: None, 2: None}) == old
    assert pick(db, 10, {1: None, 2: None}) == new[:10], "the first ten rows are those that the other claim holds"
    with db.transaction():
        assert pick(db, 20, {2: 4, 3: None}) == new[:4]
        assert pick(other, 30) == [*old, *new[4:]]


@pytest.mark.parametrize("priority", [100, 200])
def test_rows_that_change_their_route_are_found(db: Connection, priority: int) -> None:
    """Also if the bounds of the new queue are above the row."""
    queue(db, 1, priority=priority)
    assert claim(db) == 1
    [moved] = insert(db)
    [waiting] = insert(db, first=1, send_at=one(db, "select outbox_engine.now() + interval '30 s'"))
    for _ in range(3):
        later(db, "20 seconds")
        advance(db)
    assert is_below_bounds(db, waiting, of_route=1, priority=priority)
    assert is_below_bounds(db, moved, of_route=1, priority=priority)

    db.execute("update public.outbox set route = 1, priority = %s where queue is not null", [priority])

    assert one(db, "select public.outbox_find_overlooked()") == 0
    assert claim(db) == 2


def test_first_row_of_a_route_is_found(db: Connection) -> None:
    """The default route has used its priority before."""
    raise_bounds(db)
    [mine] = insert(db)

    db.execute("update public.outbox set route = 7 where id = %s", [mine])

    assert claim(db) == 1


def is_below_bounds(db: Connection, row: int, *, of_route: int, priority: int) -> object:
    return one(
        db,
        "select o.due_at < k.ready_from from public.outbox o, outbox_engine.queue_bounds b,"
        " unnest(b.routes, b.priorities, b.ready_from) k (route, priority, ready_from)"
        " where o.id = %s and k.route = %s and k.priority = %s",
        row, of_route, priority,
    )  # fmt: skip


def test_bounds_of_the_first_release_still_count(db: Connection) -> None:
    """It knew no routes, so they are of the default one."""
    raise_bounds(db)
    raise_bounds(db)
    db.execute("update outbox_engine.queue_bounds set routes = null")
    [mine] = queue(db, 1, due=-3600)

    assert one(
        db,
        "select k.ready_from[1] = b.ready_from[1] and k.ready_from[2] = '-infinity'"
        " from outbox_engine.queue_bounds b, outbox_engine.current_queue_bounds() k",
    )
    assert pick(db, 10) == [mine]
    advance(db)
    assert one(db, "select routes from outbox_engine.queue_bounds") == [0, 1]


def test_a_route_forgets_its_unused_priorities(db: Connection) -> None:
    insert(db, priority=42, send_at=one(db, "select outbox_engine.now() + interval '1 day'"))
    queue(db, 1, priority=42)
    assert claim(db) == 1

    run_upkeep(db)

    assert one(db, "select array_agg(distinct route) from outbox_engine.priorities where priority = 42") == [0]
