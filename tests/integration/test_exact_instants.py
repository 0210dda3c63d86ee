"""Time limits at the exact instant: a message has expired at its expiry, and everything is due at its due time."""

from typing import Any

import pytest

from tests.calls import (
    accept,
    claim,
    claim_all,
    claim_answer,
    claim_lookups,
    mark_ambiguous,
    record_lookup,
    refuse,
    release,
    report,
)
from tests.engine import column, insert, later, number, stand_still, statuses
from tests.stack import Connection

UPKEEP = "select public.outbox_upkeep(90, null, 1000)"
RETRY = "select public.outbox_retry(array_agg(id), true, null, false) from public.outbox"


@pytest.fixture(autouse=True)
def _still(db: Connection) -> None:
    stand_still(db)


def expiring(db: Connection, count: int = 1) -> list[int]:
    """Rows that expire in ten seconds."""
    rows = insert(db, count)
    db.execute("update public.outbox set expires_at = outbox_engine.now() + interval '10 seconds'")
    return rows


def test_a_row_is_not_claimed_at_its_expiry(db: Connection) -> None:
    expiring(db)
    later(db, "10 seconds")

    assert claim_all(db) == []
    assert statuses(db) == {"expired": 1}


def test_a_row_is_claimed_just_before_its_expiry(db: Connection) -> None:
    expiring(db)
    later(db, "9.999 seconds")

    assert len(claim_all(db)) == 1


@pytest.mark.parametrize(("after", "status"), [("9.999 seconds", "pending"), ("10 seconds", "expired")])
def test_upkeep_ends_a_row_at_its_expiry(db: Connection, after: str, status: str) -> None:
    expiring(db)
    later(db, after)
    due = claim_answer_of_a_paused_plan(db)["due"]

    db.execute(UPKEEP)

    assert statuses(db) == {status: 1}
    assert due == (["upkeep"] if status == "expired" else [])


def claim_answer_of_a_paused_plan(db: Connection) -> dict[str, Any]:
    db.execute("select public.outbox_pause('sinch', 'p', null, 3600, null)")
    return claim_answer(db)


@pytest.mark.parametrize(("after", "status"), [("9.999 seconds", "pending"), ("10 seconds", "expired")])
def test_a_row_given_back_at_its_expiry_ends(db: Connection, after: str, status: str) -> None:
    expiring(db)
    dispatch = claim(db)
    later(db, after)

    release(db, dispatch)

    assert statuses(db) == {status: 1}


@pytest.mark.parametrize(("after", "left"), [("9.999 seconds", 2), ("10 seconds", 0)])
def test_no_half_takes_rows_at_their_expiry(db: Connection, after: str, left: int) -> None:
    expiring(db, 2)
    dispatch = claim(db)
    later(db, after)

    assert len(refuse(db, dispatch)) == left


@pytest.mark.parametrize(("after", "status"), [("9.999 seconds", "pending"), ("10 seconds", "expired")])
def test_a_row_sent_back_at_its_expiry_ends(db: Connection, after: str, status: str) -> None:
    expiring(db)
    accept(db, claim(db), "B1")
    later(db, after)

    report(db, "B1", number(0), "aborted", 404)

    assert statuses(db) == {status: 1}


@pytest.mark.parametrize(("after", "status"), [("9.999 seconds", "pending"), ("10 seconds", "failed")])
def test_retry_at_the_expiry_needs_a_new_expiry(db: Connection, after: str, status: str) -> None:
    (row,) = expiring(db)
    refuse(db, claim(db))
    assert column(db, "status", row) == "failed"
    later(db, after)

    db.execute(RETRY)

    assert column(db, "status", row) == status


def test_retry_at_the_expiry_gets_the_new_one(db: Connection) -> None:
    (row,) = expiring(db)
    refuse(db, claim(db))
    later(db, "10 seconds")

    db.execute("select public.outbox_retry(array[%s::bigint], true, 600, false)", [row])

    later(db, "599 seconds")
    assert claim(db)["recipients"] == [number(0)]


@pytest.mark.parametrize(("after", "claimed"), [("9.999 seconds", 0), ("10 seconds", 1)])
def test_a_scheduled_row_goes_at_its_time(db: Connection, after: str, claimed: int) -> None:
    at: Any = db.execute("select outbox_engine.now() + interval '10 seconds'").fetchone()
    insert(db, send_at=at[0])
    later(db, after)

    assert len(claim_all(db)) == claimed


@pytest.mark.parametrize(("after", "claimed"), [("499 milliseconds", 0), ("500 milliseconds", 1), ("999 milliseconds", 1)])
def test_rate_token_returns_after_its_share_of_seconds(db: Connection, after: str, claimed: int) -> None:
    insert(db, 5)
    (first,) = claim_all(db, rate=2)
    later(db, after)

    answer = claim_answer(db, rate=2)

    assert len(first["recipients"]) == 2
    assert sum(len(dispatch["recipients"]) for dispatch in answer["dispatches"]) == claimed
    assert answer.get("limited") == (None if claimed else "messages_per_second")


def test_wait_for_a_rate_token_is_exact(db: Connection) -> None:
    insert(db, 5)
    claim_all(db, rate=2)
    later(db, "100 milliseconds")
    wait = claim_answer(db, rate=2)["wait_seconds"]
    assert wait == pytest.approx(0.4)

    later(db, f"{wait} seconds")

    assert len(claim_all(db, rate=2)) == 1


@pytest.mark.parametrize(("after", "lookups"), [("999 milliseconds", 0), ("1 second", 1)])
def test_a_lookup_is_due_at_its_time(db: Connection, after: str, lookups: int) -> None:
    insert(db)
    mark_ambiguous(db, claim(db))
    later(db, after)

    assert len(claim_lookups(db)) == lookups


@pytest.mark.parametrize(("after", "status"), [("19.999 seconds", "sending"), ("20 seconds", "pending")])
def test_a_second_lookup_counts_once_settled(db: Connection, after: str, status: str) -> None:
    """The settling time is 20 seconds. The second lookup was taken before its end."""
    insert(db)
    mark_ambiguous(db, claim(db))
    later(db, "1 second")
    (lookup,) = claim_lookups(db)
    record_lookup(db, lookup, [], [])
    db.execute("update outbox_engine.dispatches set lookup_at = outbox_engine.now()")
    (lookup,) = claim_lookups(db)
    later(db, after)

    record_lookup(db, lookup, [], [])

    assert statuses(db) == {status: 1}


@pytest.mark.parametrize(("after", "asked"), [("299.999 seconds", None), ("300 seconds", ["B1"])])
def test_missing_report_is_requested_at_its_time(db: Connection, after: str, asked: list[str] | None) -> None:
    insert(db)
    accept(db, claim(db), "B1")
    later(db, after)

    question = "select public.outbox_claim_reconciliation('sinch', 'p', 10::smallint) #> '{feed,batches}'"
    (answer,) = db.execute(question).fetchall()

    assert answer == (asked,)


@pytest.mark.parametrize(("why", "claimed"), [("throttled", 2), ("account", 1)])
def test_a_pause_is_over_at_its_end(db: Connection, why: str, claimed: int) -> None:
    """After that, an account is probed with one row."""
    insert(db, 2)
    refuse(db, claim(db), why, retry_after=30)

    later(db, "29.999 seconds")
    assert claim_all(db) == []
    later(db, "1 millisecond")
    assert len(claim(db)["recipients"]) == claimed


def test_retry_keeps_an_expiry_that_is_ahead(db: Connection) -> None:
    """Only messages whose expiry has passed get the new one."""
    (row,) = insert(db)
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [row])
    before = column(db, "expires_at", row)

    db.execute("select public.outbox_retry(array[%s::bigint], true, 600, false)", [row])

    assert (column(db, "status", row), column(db, "expires_at", row)) == ("pending", before)
