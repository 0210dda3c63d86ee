"""Times outside the years 1970 to 2199 are refused, and rows that have one from an earlier release do no harm."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from jobs.gateway.operating import Operating
from sandbox.local.stack import LocalStack
from tests.campaigns import campaign, template
from tests.engine import insert, supabase_settings
from tests.stack import Connection

FAR = "20000-01-01 00:00+00"


@pytest.fixture
async def operating(stack: LocalStack) -> AsyncIterator[Operating]:
    operating = await Operating.connect(supabase_settings(stack))
    yield operating
    await operating.aclose()


@pytest.fixture
def old_row(db: Connection) -> int:
    """As release 0.1.0 accepted it."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        row = db.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, queue,"
            " due_at) values (%s, 'hello', %s, %s::timestamptz + interval '1 day', 100, 'scheduled', 0, now(), 'w', %s)"
            " returning id",
            ["+12025550123", FAR, FAR, FAR],
        ).fetchone()
        db.execute("insert into outbox_engine.priorities (priority) values (100)")
    assert row is not None
    return int(str(row[0]))


def test_last_day_of_the_calendar_is_accepted(db: Connection) -> None:
    insert(db, send_at="2199-12-31 12:00+00")

    assert db.execute("select status, expires_at < '2200-01-01 00:00+00' from public.outbox").fetchall() == [
        ("scheduled", True)
    ]


@pytest.mark.parametrize("column", ["send_at", "expires_at"])
@pytest.mark.parametrize("at", [FAR, "1969-12-31 23:59+00", "infinity"])
def test_waiting_row_moves_within_the_calendar(db: Connection, column: str, at: str) -> None:
    """The owner of the table may move rows by hand."""
    insert(db, send_at="2030-01-01 00:00+00")

    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"{column} .* is not"):
        db.execute(f"update public.outbox set {column} = %s", [at])


@pytest.mark.parametrize("schedule", [{"schedule": "cron", "cron_expression": "0 9 * * *", "timezone": "UTC"}, {}])
def test_campaign_starts_within_the_calendar(db: Connection, schedule: dict[str, Any]) -> None:
    template(db)

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="starts_at must be an instant between 1970 and 2200"):
        campaign(db, starts_at=FAR, **schedule)


async def test_status_reads_past_an_old_row(operating: Operating, db: Connection, old_row: int) -> None:
    assert (await operating.status()).backlog.next_due_at is None
    insert(db, send_at="2030-01-01 00:00+00")

    backlog = (await operating.status()).backlog
    trace = await operating.trace(old_row, show_body=False)

    assert backlog.scheduled.count == 2
    assert backlog.next_due_at is not None
    assert backlog.next_due_at.year == 2030
    assert trace is not None


def test_old_row_can_be_cancelled_and_moved(db: Connection, old_row: int) -> None:
    db.execute("update public.outbox set body = 'later' where id = %s", [old_row])
    db.execute("update public.outbox set send_at = '2030-01-01 00:00+00', expires_at = '2030-01-02' where id = %s", [old_row])
    db.execute("update public.outbox set status = 'cancelled' where id = %s", [old_row])

    assert db.execute("select status from public.outbox").fetchall() == [("cancelled",)]
