"""Lists read what they show and little more. Tests count rows, not time."""

from typing import Any

import pytest

from tests.integration.test_message_lists import count, messages
from tests.outgoing import call
from tests.plans import fresh_plans, touched
from tests.stack import Connection

__all__ = ["fresh_plans", "messages"]

ALL = 33_000
"""Four blocks and a bit."""
BLOCK = 8192


@pytest.fixture
def many(db: Connection) -> None:
    """Delivered messages to numbers of their own, but for three early ones."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, metadata)"
            " select '+1' || (2020000000 + n), 'hello', now(), now(), 100, 'delivered', 1, now(), jsonb_build_object('n', n)"
            " from generate_series(1, %s) n",
            [ALL],
        )
        db.execute(
            "update public.outbox set status = 'failed', campaign = 'rare', recipient = '+447700900123'"
            " where id < (select min(id) from public.outbox) + 3"
        )
    db.execute("vacuum analyze public.outbox")


def read(db: Connection, wanted: dict[str, Any]) -> tuple[int, int]:
    """How many messages the first page has, and how many rows it read for them."""
    with touched(db) as rows:
        page = call(db, "list_messages", wanted, None, 50)
    return len(page["messages"]), rows["outbox"]


def test_rare_messages_are_found_without_a_scan(db: Connection, many: None) -> None:
    """The newest block is not counted, because it gets more messages."""
    newest = BLOCK + 100
    uncounted = read(db, {"statuses": ["failed"]})
    count(db)
    db.execute("analyze outbox_engine.block_figures")
    for wanted in ({"statuses": ["failed"]}, {"campaign": "rare"}, {"countries": ["GB"]}):
        shown, rows = read(db, wanted)
        assert shown == 3
        assert rows < newest, wanted
        with touched(db) as rows_of:
            assert call(db, "count_messages", wanted, 10_000) == {"count": 3, "is_more": False}
        assert rows_of["outbox"] < newest, wanted
    for wanted, all_of_them in (({"statuses": ["delivered"]}, ALL - 3), ({}, ALL)):
        with touched(db) as rows_of:
            assert call(db, "count_messages", wanted, 1_000_000) == {"count": all_of_them, "is_more": False}
        assert rows_of["outbox"] < newest, wanted
    # What blocks are for.
    assert uncounted[1] > ALL


def test_search_by_figures_is_bounded(db: Connection, messages: None) -> None:
    """A block with very many figures, none of which matches: a call stops, and says where to go on."""
    count(db)
    db.execute(
        "insert into outbox_engine.block_figures (block, is_total, hour, country, plan, status, messages, parts)"
        " select 1, true, now() - n * interval '1 hour', 'GB', 'sinch:a', 'delivered', 0, 0 from generate_series(1, 60000) n"
    )
    db.execute("analyze outbox_engine.block_figures")
    found, before = [], None
    for _ in range(2):
        with touched(db) as rows:
            page = call(db, "list_messages", {"countries": ["FR"]}, before, 50)
        assert rows["block_figures"] < 60_500
        found.append(page["before"] is not None)
        before = page["before"]
    assert found == [True, False]


@pytest.mark.parametrize(
    ("wanted", "most"),
    [({}, 200), ({"recipients": ["+447700900123"]}, 50), ({"metadata": {"n": 7}}, BLOCK + 200), ({"below_id": 1}, 50)],
)
def test_page_reads_few_rows(db: Connection, many: None, wanted: dict[str, Any], most: int) -> None:
    assert read(db, wanted)[1] < most


def test_slow_search_stops_and_goes_on(db: Connection, many: None) -> None:
    """A gap in the ids, such as many inserts that were rolled back leave, costs nothing."""
    db.execute(
        "insert into public.outbox (id, recipient, body) overriding system value"
        " select max(id) + 10000000, '+14155550100', 'hello' from public.outbox"
    )
    walk = (
        "select w.ids, w.before from outbox_engine.walk_messages("
        ' outbox_engine.read_filter(\'{"last_digits": "700900123"}\'), %s, 50, 10000) w'
    )
    before: int | None = 2**62
    found: list[int] = []
    calls = 0
    while before is not None:
        with touched(db) as rows:
            ((ids, before),) = db.execute(walk.encode(), [before]).fetchall()  # type: ignore[assignment]
        assert rows["outbox"] < 3 * BLOCK
        found += ids  # type: ignore[arg-type]
        calls += 1
    assert len(found) == 3
    assert calls <= 5


def test_indexes_leave_updates_in_place(db: Connection, many: None) -> None:
    """A report on a message writes no index: none has its status."""
    found = db.execute(
        "select x.indexrelid::regclass::text from pg_index x join pg_attribute a on a.attrelid = x.indrelid"
        " where x.indrelid = 'public.outbox'::regclass and a.attname in ('status', 'finalized_at', 'status_code', 'sent_at')"
        " and (a.attnum = any (x.indkey) or pg_get_expr(x.indpred, x.indrelid) like '%' || a.attname || '%')"
    ).fetchall()

    assert found == []
