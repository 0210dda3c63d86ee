"""A provider's time is believed only between the sending and our own clock, wherever it decides something."""

from datetime import timedelta

import pytest

from jobs.gateway.gateway import Gateway
from jobs.providers.base import Inbound
from tests.calls import accept, claim, report
from tests.engine import Clocks, column, insert, number
from tests.integration.replies import NOW, PHONE, carrier_blocks, suppressed, text_in
from tests.stack import Connection

UPKEEP = "select public.outbox_upkeep(90, null, 1000)"
YEARS = 366 * 24 * 3600
ODD_TIMES = ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2025-11-24T12:00:00Z", "2099-01-01T00:00:00Z"]


@pytest.fixture(autouse=True)
def noon(clocks: Clocks) -> None:
    clocks.set(NOW)


@pytest.fixture
def row(db: Connection) -> int:
    """A message that was sent a minute ago, as batch B."""
    (row,) = insert(db, 1, first=1, idempotency_key="order-1")
    accept(db, claim(db), "B")
    db.execute("update outbox_engine.clock set frozen_at = frozen_at + interval '1 minute'")
    return row


@pytest.mark.parametrize("status", ["delivered", "failed", "aborted"])
@pytest.mark.parametrize("at", ODD_TIMES)
def test_message_ends_between_its_sending_and_now(db: Connection, row: int, at: str, status: str) -> None:
    """The history keeps what the provider said."""
    report(db, "B", PHONE, status, at=at)

    assert NOW <= column(db, "finalized_at", row) <= NOW + timedelta(minutes=1)
    said = db.execute("select occurred_at = %s::timestamptz from public.outbox_events where event = 'report'", [at]).fetchall()
    assert said == [(True,)]


@pytest.mark.parametrize("at", ODD_TIMES)
def test_a_key_lives_as_long_as_retention(db: Connection, row: int, clocks: Clocks, at: str) -> None:
    report(db, "B", PHONE, "delivered", at=at)
    clocks.move("89 days")
    db.execute(UPKEEP)
    kept = db.execute("select idempotency_key from public.outbox").fetchall()
    clocks.move("2 days")
    db.execute(UPKEEP)

    assert kept == [("order-1",)]
    assert db.execute("select idempotency_key from public.outbox").fetchall() == []


def test_retention_counts_from_when_a_report_came(db: Connection, row: int, clocks: Clocks) -> None:
    """It came three months late and says when the phone got the text, which is true."""
    clocks.move("91 days")
    report(db, "B", PHONE, "delivered", at=NOW.isoformat())

    db.execute(UPKEEP)

    assert column(db, "status", row) == "delivered"


@pytest.mark.parametrize("reports", [("2099-01-01T00:00:00Z", "2026-11-24T12:00:30Z"), ("1970-01-01T00:00:00Z",)])
def test_temporary_failures_with_odd_times_end_once(db: Connection, row: int, reports: tuple[str, ...]) -> None:
    """The message expired, so a temporary failure is its end."""
    db.execute("update public.outbox set expires_at = %s", [NOW + timedelta(seconds=45)])

    for at in reports:
        report(db, "B", PHONE, "aborted", 404, at=at)

    assert column(db, "status", row) == "expired"
    assert NOW <= column(db, "finalized_at", row) <= NOW + timedelta(minutes=1)


async def test_late_start_does_not_undo_a_newer_stop(gateway: Gateway, db: Connection, clocks: Clocks) -> None:
    def said(body: str, minute: int) -> Inbound:
        at = NOW + timedelta(minutes=minute)
        return Inbound(f"i{minute}", "mo_text", number(0), "+12025550100", body, at, None, "{}", provider="sinch")

    clocks.move("2 hours")
    await gateway.record_inbounds([said("STOP", 5)], source="webhook")
    await gateway.record_inbounds([said("START", 1)], source="reconcile")
    assert db.execute("select count(*) from public.outbox_suppressions").fetchone() == (1,)
    await gateway.record_inbounds([said("start", 9), said("STOP", 7)], source="reconcile")

    assert db.execute("select count(*) from public.outbox_suppressions").fetchone() == (0,)


def test_stop_from_the_future_yields_to_start(db: Connection, clocks: Clocks) -> None:
    text_in(db, "STOP", ago=-50 * YEARS)
    assert suppressed(db) == [(PHONE, "replied STOP")]
    clocks.move("1 minute")

    text_in(db, "START", ago=-60)

    assert suppressed(db) == []


def test_stop_of_long_ago_counts_from_its_arrival(db: Connection) -> None:
    text_in(db, "START", ago=60)

    text_in(db, "STOP", ago=50 * YEARS)

    assert suppressed(db) == [(PHONE, "replied STOP")]


def test_start_of_long_ago_undoes_no_stop(db: Connection) -> None:
    text_in(db, "STOP", ago=60)

    text_in(db, "START", ago=50 * YEARS)

    assert suppressed(db) == [(PHONE, "replied STOP")]


def test_start_from_the_future_yields_to_stop(db: Connection, clocks: Clocks) -> None:
    text_in(db, "START", ago=-50 * YEARS)
    clocks.move("1 minute")

    text_in(db, "STOP", ago=-60)

    assert suppressed(db) == [(PHONE, "replied STOP")]


@pytest.mark.parametrize("ago", [50 * YEARS, -50 * YEARS])
def test_opt_out_code_counts_from_the_sending_on(db: Connection, row: int, clocks: Clocks, ago: int) -> None:
    """Neither an earlier START hides it, nor does it hide a later one."""
    text_in(db, "START", ago=60)

    carrier_blocks(db, ago=ago)
    assert [phone for phone, _ in suppressed(db)] == [PHONE]
    clocks.move("1 minute")
    text_in(db, "START", ago=-120, name="later")

    assert suppressed(db) == []


def test_waiting_opt_out_code_from_the_future_yields(db: Connection, clocks: Clocks) -> None:
    """Its batch is not known, so its time is all there is."""
    report(db, "unknown", number(1), "failed", 257, at="2099-01-01T00:00:00Z")
    assert [phone for phone, _ in suppressed(db)] == [PHONE]
    clocks.move("1 minute")

    text_in(db, "START", ago=-60)

    assert suppressed(db) == []
