"""The sums behind the charts equal a direct count, after any history."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.test_message_lists import count
from tests.nightly import size
from tests.outgoing import call
from tests.stack import Connection

DIRECT = """
    select date_trunc('hour', o.send_at, 'UTC'), outbox_engine.country_of(o.recipient), outbox_engine.counted_status(o.status),
      o.status_code, o.status = 'delivered' and o.finalized_at - o.sent_at >= '1 minute', count(*), coalesce(sum(o.parts), 0)
    from {rows} o group by 1, 2, 3, 4, 5
"""
SUMS = """
    select hour, country, status, status_code, coalesce(delay >= 4, false), sum(messages), sum(parts)
    from outbox_engine.hourly_figures group by 1, 2, 3, 4, 5
"""


def insert(db: Connection, n: int) -> None:
    db.execute(
        "insert into public.outbox (recipient, body, send_at) values (%s, 'hello', now() + %s * interval '25 minutes')",
        [("+447700900" if n % 2 else "+14155550") + f"{100 + n % 100}", n % 12],
    )


def report(db: Connection, n: int, status: str) -> None:
    """As a report does: the row, and its event."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "with one as (update public.outbox set status = %s, status_code = %s, parts = 1 + %s %% 3, queue = null,"
            "   sent_at = created_at, finalized_at = created_at + %s * interval '7 seconds'"
            "  where id = (select id from public.outbox order by id offset %s limit 1) returning id)"
            " insert into public.outbox_events (outbox_id, at, source, event, status)"
            " select id, now(), 'webhook', 'report', %s from one",
            [status, n % 4, n, n, n, status],
        )


def remove(db: Connection, n: int) -> None:
    with db.transaction():
        db.execute("create table if not exists pg_temp.removed as select * from public.outbox limit 0")
        db.execute(
            "insert into pg_temp.removed select * from public.outbox where id in"
            " (select id from public.outbox where queue is null order by id offset %s limit 2)",
            [n % 5],
        )
        db.execute("delete from public.outbox where id in (select id from pg_temp.removed)")


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delivered", "failed", "dispatched", "cancel", "remove", "count"]), st.integers(0, 40)
    ),
    min_size=20,
    max_size=40,
)


@settings(max_examples=size(8, 100), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(acts=ACTS)
def test_sums_equal_a_direct_count(db: Connection, acts: list[tuple[str, int]]) -> None:
    """One history goes on over all examples, so that blocks are counted again and again."""
    for n in range(4):
        insert(db, n)
    for act, n in acts:
        match act:
            case "insert":
                insert(db, n)
            case "cancel":
                db.execute("select public.outbox_cancel(array(select id from public.outbox offset %s limit 1), false)", [n])
            case "remove":
                remove(db, n)
            case "count":
                db.execute("select outbox_engine.tend_figures(1)")
            case status:
                report(db, n, status)
    count(db)

    db.execute("create table if not exists pg_temp.removed as select * from public.outbox limit 0")
    rows = "(select * from public.outbox union all select * from pg_temp.removed)"
    assert set(db.execute(SUMS.encode()).fetchall()) == set(db.execute(DIRECT.format(rows=rows).encode()).fetchall())


def given_sums(db: Connection, *rows: tuple[str, str, str, int | None, int | None, int]) -> None:
    with db.cursor() as cursor:
        cursor.executemany(
            "insert into outbox_engine.hourly_figures (hour, country, plan, status, status_code, delay, messages, parts)"
            " values (%s, %s, 'sinch:a', %s, %s, %s, %s, 1)",
            rows,
        )


def test_figures_have_rate_and_quantiles(db: Connection) -> None:
    given_sums(
        db,
        ("2027-01-01 10:00+00", "GB", "delivered", None, 1, 50),
        ("2027-01-01 11:00+00", "GB", "delivered", None, 2, 30),
        ("2027-01-01 11:00+00", "GB", "failed", 402, None, 20),
        ("2027-01-01 11:00+00", "US", "waiting", None, None, 7),
        ("2027-01-01 11:00+00", "US", "cancelled", None, None, 3),
        ("2027-01-02 00:00+00", "US", "sent", None, None, 1),
    )
    since, until = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC)

    (day,) = call(db, "delivery_figures", since, until, "day", None, "UTC")
    assert day["messages"] == 110
    assert day["statuses"] == {"delivered": 80, "failed": 20, "waiting": 7, "cancelled": 3}
    assert day["delivery_rate"] == pytest.approx(0.8)
    # The 40th of 50 messages that took 1 to 5 seconds, and the 26th of 30 that took 5 to 15.
    assert day["p50"] == pytest.approx(1 + 4 * 40 / 50)
    assert day["p95"] == pytest.approx(5 + 10 * 26 / 30)
    british, american = call(db, "delivery_figures", since, until, "day", "country", "UTC")
    assert (british["by"], british["messages"], american["by"], american["delivery_rate"]) == ("GB", 100, "US", None)
    assert american["p50"] is None
    assert [hour["messages"] for hour in call(db, "delivery_figures", since, until, "hour", None, "UTC")] == [50, 60]
    (whole,) = call(db, "delivery_figures", since, datetime(2027, 1, 3, tzinfo=UTC), "all", None, "UTC")
    assert (datetime.fromisoformat(whole["at"]), whole["messages"], whole["p50"]) == (since, 111, day["p50"])
    # The evening of 31 December in New York ends at 5:00 UTC.
    assert [row["messages"] for row in call(db, "delivery_figures", since, until, "day", None, "Asia/Kolkata")] == [110]


def test_report_has_all_splits_of_figures(db: Connection) -> None:
    given_sums(
        db,
        ("2027-01-01 10:00+00", "GB", "delivered", 0, 1, 50),
        ("2027-01-01 11:00+00", "GB", "failed", 402, None, 20),
        ("2027-01-02 11:00+00", "US", "waiting", None, None, 7),
    )
    since, until = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 3, tzinfo=UTC)
    report = call(db, "delivery_report", since, until, "day", "UTC")

    assert report.pop("counted_at") is None
    assert report["all"] == call(db, "delivery_figures", since, until, "all", None, "UTC")
    assert report["time"] == call(db, "delivery_figures", since, until, "day", None, "UTC")
    assert [row["messages"] for row in report["time"]] == [70, 7]
    for by in ("country", "plan", "code"):
        assert report[by] == call(db, "delivery_figures", since, until, "all", by, "UTC")
    assert [(row["by"], row["messages"]) for row in report["code"]] == [("0", 50), ("402", 20), (None, 7)]


def test_figures_say_when_they_were_complete(db: Connection, other: Connection) -> None:
    insert(db, 1)
    count(db)
    since, until = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 3, tzinfo=UTC)
    first = call(db, "delivery_report", since, until, "day", "UTC")["counted_at"]
    with other.transaction():
        other.execute("select public.outbox_cancel(array(select id from public.outbox), false)")
        # What is not committed yet is not in the figures.
        count(db)
        assert call(db, "delivery_report", since, until, "day", "UTC")["counted_at"] == first
    count(db)
    last = call(db, "delivery_report", since, until, "day", "UTC")["counted_at"]
    assert datetime.fromisoformat(last) > datetime.fromisoformat(first)


def test_retention_keeps_sums_and_ends_them(db: Connection) -> None:
    insert(db, 1)
    db.execute("select public.outbox_cancel(array(select id from public.outbox), false)")
    count(db)
    db.execute("delete from public.outbox")
    count(db)
    # Deleted before it was counted.
    insert(db, 1)
    db.execute("delete from public.outbox")
    count(db)
    assert db.execute("select sum(messages) from outbox_engine.hourly_figures").fetchone() == (2,)

    db.execute("update outbox_engine.clock set shift = '3 days'")
    db.execute("select public.outbox_tend_dashboard(%s, 100)", [json.dumps({"figures": 2})])
    assert db.execute("select count(*) from outbox_engine.hourly_figures").fetchone() == (0,)
