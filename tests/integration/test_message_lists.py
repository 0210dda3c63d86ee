"""Lists and counts of messages: every filter, page by page, against a plain query."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.outgoing import call
from tests.stack import Connection

ALL = 300


@pytest.fixture
def messages(db: Connection) -> None:
    """Three blocks of ids with few messages each, one minute apart."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "insert into public.outbox (id, recipient, body, send_at, expires_at, priority, status, status_code, attempts,"
            " created_at, finalized_at, queue, due_at, campaign, template, metadata, idempotency_key)"
            " overriding system value"
            " select n * 70, case n %% 3 when 0 then '+447700900' else '+1415555' end"
            "   || case n %% 3 when 0 then lpad((n %% 7)::text, 3, '0') else '01' || lpad((n %% 7)::text, 2, '0') end,"
            "  'hello', t, t + interval '3 days', case when n %% 10 = 0 then 0 else 100 end,"
            "  (array['delivered', 'failed', 'scheduled', 'sent'])[1 + n %% 4], nullif(n %% 5, 0) * 100, 1,"
            "  t, t, case when n %% 4 = 2 then 'w'::\"char\" end, t, case when n between 100 and 130 then 'spring' end,"
            "  case when n %% 2 = 0 then 'hi' end,"
            "  case when n %% 6 = 0 then jsonb_build_object('order', n %% 12, 'kind', 'x') end, 'key-' || n"
            " from generate_series(1, %s) n"
            " cross join lateral (select timestamptz '2027-01-01 00:00+00' + n * interval '1 minute') x (t)",
            [ALL],
        )
    db.execute("select setval('public.outbox_id_seq', %s)", [ALL * 70])


FILTERS: dict[str, tuple[dict[str, Any], str]] = {
    "all": ({}, "true"),
    "recipients": ({"recipients": ["+447700900003", "+14155550101"]}, "recipient in ('+447700900003', '+14155550101')"),
    "last digits": ({"last_digits": "0102"}, "recipient like '%0102'"),
    "statuses": ({"statuses": ["failed", "scheduled"]}, "status in ('failed', 'scheduled')"),
    "codes": ({"codes": [200, 400]}, "status_code in (200, 400)"),
    "countries": ({"countries": ["GB"]}, "recipient like '+44%'"),
    "campaign": ({"campaign": "spring"}, "campaign = 'spring'"),
    "template": ({"template": "hi"}, "template = 'hi'"),
    "urgent": ({"priority": "urgent"}, "priority < 100"),
    "normal": ({"priority": "normal"}, "priority >= 100"),
    "priority": ({"priority": 0}, "priority = 0"),
    "times": (
        {"since": "2027-01-01T01:00:00+00:00", "until": "2027-01-01T02:00:00+00:00"},
        "created_at >= '2027-01-01 01:00+00' and created_at < '2027-01-01 02:00+00'",
    ),
    "key": ({"idempotency_key": "key-7"}, "id = 490"),
    "id": ({"id": 700}, "id = 700"),
    "ids": ({"below_id": 701, "template": "hi"}, "id < 701 and template = 'hi'"),
    "metadata": ({"metadata": {"order": 6}}, "metadata @> '{\"order\": 6}'"),
    "both": ({"statuses": ["failed"], "metadata": {"order": 6}, "countries": ["GB"]}, "false"),
    "number and status": (
        {"recipients": ["+14155550101"], "statuses": ["sent"]},
        "recipient = '+14155550101' and status = 'sent'",
    ),
    "nothing": ({"campaign": "winter"}, "false"),
}


def pages(db: Connection, wanted: dict[str, Any], most: int) -> Iterator[list[int]]:
    before = None
    while True:
        page = call(db, "list_messages", wanted, before, most)
        yield [message["id"] for message in page["messages"]]
        if page["before"] is None:
            return
        assert before is None or page["before"] < before
        before = page["before"]


def listed(db: Connection, wanted: dict[str, Any], most: int = 7) -> list[int]:
    return [message for page in pages(db, wanted, most) for message in page]


def expected(db: Connection, condition: str) -> list[int]:
    query = f"select id from public.outbox where {condition} order by id desc"
    return [int(str(message)) for (message,) in db.execute(query.encode()).fetchall()]


def count(db: Connection) -> None:
    """As the upkeep job does, until nothing is left to count."""
    for _ in range(50):
        row = db.execute("select outbox_engine.tend_figures(10)").fetchone()
        if row == (False,) and db.execute("select from outbox_engine.changed_blocks").fetchone() is None:
            return
    raise AssertionError("blocks are left")


@pytest.mark.parametrize("counted", [False, True])
def test_pages_hold_what_a_query_finds(db: Connection, messages: None, *, counted: bool) -> None:
    if counted:
        count(db)
    for name, (wanted, condition) in FILTERS.items():
        assert listed(db, wanted) == expected(db, condition), name


def test_count_ends_at_its_bound(db: Connection, messages: None) -> None:
    assert call(db, "count_messages", {"statuses": ["failed"]}, 1000) == {"count": 75, "is_more": False}
    assert call(db, "count_messages", {"statuses": ["failed"]}, 50) == {"count": 50, "is_more": True}


def counts(db: Connection) -> dict[str, int]:
    return {name: call(db, "count_messages", wanted, 1000)["count"] for name, (wanted, _) in FILTERS.items()}


def test_counts_equal_what_a_query_finds(db: Connection, messages: None) -> None:
    """Before and after the figures, beside changes that they do not have yet, and without deleted messages."""
    for act in ("", "count", "delete", "count", "cancel", "count"):
        match act:
            case "count":
                count(db)
            case "delete":
                db.execute("delete from public.outbox where id % 490 = 0 and queue is null")
            case "cancel":
                db.execute("select public.outbox_cancel(array(select id from public.outbox where id < 5000), false)")
        assert counts(db) == {name: len(expected(db, condition)) for name, (_, condition) in FILTERS.items()}, act


def test_messages_of_a_slow_insert_are_found(db: Connection, other: Connection) -> None:
    """Ids are drawn at the insert, and others may commit later ones before it ends."""
    db.execute("select setval('public.outbox_id_seq', 100000)")
    insert = "insert into public.outbox (recipient, body, send_at) values ('+14155550100', 'hi', '2100-01-01') returning id"
    with other.transaction():
        early = other.execute(insert).fetchone()
        db.execute("select setval('public.outbox_id_seq', 200000)")
        late = db.execute(insert).fetchone()
        count(db)
    assert early is not None
    assert late is not None
    for _ in range(2):
        assert listed(db, {"statuses": ["scheduled"]}) == [late[0], early[0]]
        assert call(db, "count_messages", {"statuses": ["scheduled", "pending", "sending"]}, 10)["count"] == 2
        count(db)


def test_latest_messages_are_counted_by_status(db: Connection, messages: None) -> None:
    since = [datetime(2027, 1, 1, 4, 56, tzinfo=UTC), datetime(2027, 1, 1, 4, tzinfo=UTC)]
    near, far = call(db, "latest_statuses", since, 50)

    assert near["statuses"] == {"delivered": 2, "failed": 1, "scheduled": 1, "sent": 1}
    assert (near["is_more"], far["is_more"], sum(far["statuses"].values())) == (False, True, 50)


def test_changes_after_the_count_are_found(db: Connection, messages: None) -> None:
    count(db)
    db.execute("select public.outbox_cancel(array[140], false)")

    assert listed(db, {"statuses": ["cancelled"]}) == [140]
    count(db)
    assert listed(db, {"statuses": ["cancelled"]}) == [140]


def test_list_shows_no_text(db: Connection, messages: None) -> None:
    (message,) = call(db, "list_messages", {}, None, 1)["messages"]
    assert {"body", "parameters", "metadata", "media_url"}.isdisjoint(message)
    assert message["country"] == "GB"


@pytest.mark.parametrize(
    "wanted",
    [
        {"colour": "red"},
        {"recipients": ["0151"]},
        {"recipients": ["+14155550100"] * 51},
        {"statuses": ["lost"]},
        {"last_digits": "1%"},
        {"plan": "sinch"},
        {"since": "yesterday noon-ish"},
        {"priority": "high"},
        [],
    ],
)
def test_impossible_filter_is_refused(db: Connection, wanted: Any) -> None:
    with pytest.raises(psycopg.DataError):
        db.execute("select public.outbox_list_messages(%s, null, 10)", [Jsonb(wanted)])
