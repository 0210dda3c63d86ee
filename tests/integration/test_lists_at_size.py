"""Lists read what they show and little more. Tests count rows, not time."""

from typing import Any

import pytest

from tests.integration.test_message_lists import count
from tests.outgoing import call
from tests.plans import fresh_plans, touched
from tests.stack import Connection

__all__ = ["fresh_plans"]

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
    uncounted = read(db, {"statuses": ["failed"]})
    count(db)
    db.execute("analyze outbox_engine.block_figures")
    for wanted in ({"statuses": ["failed"]}, {"campaign": "rare"}, {"countries": ["GB"]}):
        messages, rows = read(db, wanted)
        assert messages == 3
        assert rows < 2.5 * BLOCK, wanted
    # What blocks are for.
    assert uncounted[1] > ALL


@pytest.mark.parametrize(
    ("wanted", "most"),
    [({}, 200), ({"recipients": ["+447700900123"]}, 50), ({"metadata": {"n": 7}}, BLOCK + 200), ({"below_id": 1}, 50)],
)
def test_page_reads_few_rows(db: Connection, many: None, wanted: dict[str, Any], most: int) -> None:
    assert read(db, wanted)[1] < most


def test_slow_search_stops_and_goes_on(db: Connection, many: None) -> None:
    """Behind a wide gap in the ids, such as many inserts that were rolled back leave."""
    db.execute(
        "insert into public.outbox (id, recipient, body) overriding system value"
        " select max(id) + 100000, '+14155550100', 'hello' from public.outbox"
    )
    wanted = {"last_digits": "700900123"}
    page = call(db, "list_messages", wanted, None, 50)

    assert page["messages"] == []
    assert page["before"] is not None
    assert page["read_to"] is not None
    found = []
    while page["before"] is not None:
        page = call(db, "list_messages", wanted, page["before"], 50)
        found += page["messages"]
    assert len(found) == 3


def test_indexes_leave_updates_in_place(db: Connection, many: None) -> None:
    """A report on a message writes no index: none has its status."""
    found = db.execute(
        "select x.indexrelid::regclass::text from pg_index x join pg_attribute a on a.attrelid = x.indrelid"
        " where x.indrelid = 'public.outbox'::regclass and a.attname in ('status', 'finalized_at', 'status_code', 'sent_at')"
        " and (a.attnum = any (x.indkey) or pg_get_expr(x.indpred, x.indrelid) like '%' || a.attname || '%')"
    ).fetchall()

    assert found == []
