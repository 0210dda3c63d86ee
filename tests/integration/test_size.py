"""What a call touches must depend on what it is about, not on how much else the tables hold. Rows are counted, not time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.engine import insert
from tests.stack import Connection

FINISHED = 30_000
SCHEDULED = 70_000
DUE = 200
TABLES = ["outbox", "outbox_events", "dispatch_members", "dispatches", "suppressions"]


@pytest.fixture
def big(db: Connection) -> Connection:
    """A database with a past and a future: delivered rows with their dispatches, rows scheduled for later, people opted out."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, sent_at,"
            " finalized_at, due_at, dispatch_id, batch_id)"
            " select '+1' || (2020000000 + n), 'hello', now(), now() + interval '1 day', 100, 'delivered', 1, now(), now(),"
            " now(), now(), md5('old' || n / 1000)::uuid, 'old' || n / 1000 from generate_series(1, %s) n",
            [FINISHED],
        )
        db.execute(
            "insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)"
            " select dispatch_id, recipient, id from public.outbox"
        )
        db.execute(
            "insert into public.outbox_events (outbox_id, at, source, event, status)"
            " select id, now(), 'engine', 'accepted', 'sent' from public.outbox"
        )
        db.execute(
            "insert into public.outbox"
            " (recipient, body, send_at, expires_at, priority, status, attempts, created_at, queue, due_at)"
            " select '+1' || (4020000000 + n), 'hello', t.at, t.at + interval '1 day', 100, 'scheduled', 0, now(), 'w', t.at"
            " from generate_series(1, %s) n cross join lateral (select now() + n * interval '1 minute' as at) t",
            [SCHEDULED],
        )
        db.execute(
            "insert into public.suppressions (recipient) select '+1' || (5020000000 + n) from generate_series(1, 20000) n"
        )
    db.execute("analyze")
    insert(db, DUE)
    return db


@contextmanager
def touched(db: Connection) -> Iterator[dict[str, int]]:
    """Rows of each table that were read in this block, by index or by walking over them. All of it is one transaction."""
    read: dict[str, int] = {}
    with db.transaction():
        # What the session has not handed in yet is counted with it.
        before = rows_read(db)
        yield read
        read |= {table: rows - before.get(table, 0) for table, rows in rows_read(db).items()}


def rows_read(db: Connection) -> dict[str, int]:
    found = db.execute(
        "select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables where relname = any(%s)",
        [TABLES],
    )
    return {str(table): int(str(rows)) for table, rows in found}


def claim(db: Connection, rows: int) -> list[dict[str, Any]]:
    row = db.execute(
        "select public.outbox_claim(%s, 'w', 'sinch', 'p', 'h', 'c', 30, 10, 8::smallint, 1000::smallint, %s, null, 600, null,"
        " true)",
        [str(uuid4()), rows],
    ).fetchone()
    assert row is not None
    dispatches: list[dict[str, Any]] = row[0]["dispatches"]  # type: ignore[index]
    return dispatches


def nothing_due(db: Connection) -> None:
    db.execute("delete from public.outbox where queue = 'r'")
    db.execute("vacuum public.outbox")


def test_a_claim_walks_over_nothing_that_is_not_due(big: Connection) -> None:
    with touched(big) as read:
        [dispatch] = claim(big, 100)

    assert len(dispatch["recipients"]) == 100
    assert read["outbox"] <= 10 * 100
    assert read["suppressions"] <= 100
    assert read["outbox_events"] == 0


def test_an_idle_claim_reads_next_to_nothing(big: Connection) -> None:
    nothing_due(big)

    with touched(big) as read:
        assert claim(big, 4000) == []

    assert sum(read.values()) <= 10


def test_rows_that_come_due_are_woken_without_a_walk_over_the_others(big: Connection) -> None:
    nothing_due(big)
    big.execute("update outbox_engine.clock set shift = interval '50 minutes'")

    with touched(big) as read:
        dispatches = claim(big, 4000)

    assert 40 <= sum(len(dispatch["recipients"]) for dispatch in dispatches) <= 50
    assert read["outbox"] <= 10 * 50


def test_a_row_that_must_not_go_out_costs_no_walk_either(big: Connection) -> None:
    big.execute("insert into public.suppressions select recipient from public.outbox where queue = 'r'")

    with touched(big) as read:
        assert claim(big, 100) == []

    assert read["outbox"] <= 10 * 100


def test_accepting_and_recording_touch_the_rows_of_their_dispatch(big: Connection) -> None:
    [dispatch] = claim(big, 100)
    n = [100]

    with touched(big) as accepted:
        big.execute("select public.outbox_accept(%s::uuid[], array['b'], 'w', 30, 300)", [[dispatch["dispatch_id"]]])
    with touched(big) as recorded:
        big.execute(
            "select public.outbox_record_reports('webhook', array_fill('b'::text, %s), %s, array_fill('delivered'::text, %s),"
            " array_fill('0'::text, %s), array_fill(now()::text, %s), array_fill(''::text, %s), array_fill('{}'::text, %s))",
            [n, dispatch["recipients"], n, n, n, n, n],
        )

    assert big.execute("select count(*) from public.outbox where batch_id = 'b' and status = 'delivered'").fetchone() == (100,)
    for read in (accepted, recorded):
        assert read["outbox"] <= 10 * 100
        assert read["dispatch_members"] <= 10 * 100
        assert read["outbox_events"] <= 10 * 100
