"""How a claim packs rows into dispatches: which rows share one, how many it holds and when the provider discards it."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.calls import accept, claim, claim_all, refuse, report
from tests.engine import column, insert, later, number, statuses
from tests.stack import Connection

NOON = datetime.fromisoformat("2026-11-24T12:00:00+00:00")


@pytest.fixture(autouse=True)
def _noon(db: Connection) -> None:
    db.execute("update outbox_engine.clock set frozen_at = %s", [NOON])


def packed(dispatches: list[dict[str, Any]]) -> list[list[str]]:
    """The recipients of each dispatch."""
    return sorted(sorted(dispatch["recipients"]) for dispatch in dispatches)


def numbers(*places: int) -> list[str]:
    return [number(place) for place in places]


def expiries(dispatches: list[dict[str, Any]]) -> list[datetime]:
    """When the provider discards each dispatch."""
    return sorted(datetime.fromisoformat(dispatch["expire_at"]) for dispatch in dispatches)


def insert_texts(db: Connection, count: int, *, first: int = 0, **columns: Any) -> None:
    for n in range(first, first + count):
        insert(db, first=n, body=f"text {n}", **columns)


def test_a_dispatch_holds_no_more_than_it_may(db: Connection) -> None:
    insert(db, 5)

    assert packed(claim_all(db, recipients=2)) == [numbers(0, 1), numbers(2, 3), numbers(4)]


def test_the_row_due_first_goes_first(db: Connection) -> None:
    """Also where it was inserted last."""
    insert(db, send_at=NOON + timedelta(seconds=10))
    insert(db, first=1, send_at=NOON + timedelta(seconds=5))
    later(db, "20 seconds")

    assert packed(claim_all(db, rate=1)) == [numbers(1)]


def test_rows_beyond_the_dispatch_limit_stay_ready(db: Connection) -> None:
    insert(db, 5)

    assert packed(claim_all(db, recipients=2, dispatches=2)) == [numbers(0, 1), numbers(2, 3)]
    assert statuses(db) == {"sending": 4, "pending": 1}


def test_texts_share_only_where_they_outnumber_the_dispatches(db: Connection) -> None:
    insert_texts(db, 3)

    assert packed(claim_all(db, share=True, dispatches=3)) == [numbers(0), numbers(1), numbers(2)]
    insert_texts(db, 3, first=10)
    assert packed(claim_all(db, share=True, dispatches=2)) == [numbers(10, 11, 12)]


def test_a_text_that_fills_a_quarter_shares_nothing(db: Connection) -> None:
    insert(db, 2, body="many")
    insert_texts(db, 5, first=2)

    assert packed(claim_all(db, share=True, dispatches=3, recipients=8)) == [numbers(0, 1), numbers(2, 3, 4, 5, 6)]


def test_text_that_fills_less_than_a_quarter_shares(db: Connection) -> None:
    insert(db, 2, body="few")
    insert_texts(db, 5, first=2)

    assert packed(claim_all(db, share=True, dispatches=3, recipients=9)) == [numbers(0, 1, 2, 3, 4, 5, 6)]


@pytest.mark.parametrize(
    "columns",
    [{"sender": "Bistro"}, {"expires_at": NOON + timedelta(hours=5)}, {"priority": 150}],
    ids=["sender", "expiry", "priority"],
)
def test_texts_share_only_with_their_like(db: Connection, columns: dict[str, Any]) -> None:
    insert_texts(db, 5)
    insert_texts(db, 5, first=5, **columns)

    assert packed(claim_all(db, share=True)) == [numbers(0, 1, 2, 3, 4), numbers(5, 6, 7, 8, 9)]


def test_texts_share_only_with_texts_as_long(db: Connection) -> None:
    insert_texts(db, 5)
    for n in range(5, 10):
        insert(db, first=n, body=f"text {n} " + "x" * 160)

    assert packed(claim_all(db, share=True)) == [numbers(0, 1, 2, 3, 4), numbers(5, 6, 7, 8, 9)]


def test_soon_expiring_rows_are_packed_by_the_minute(db: Connection) -> None:
    """Otherwise the provider would discard a row up to an hour before its expiry."""
    for n, minutes in enumerate((61, 61.5, 62)):
        insert(db, first=n, expires_at=NOON + timedelta(minutes=minutes))

    dispatches = claim_all(db)

    assert packed(dispatches) == [numbers(0, 1), numbers(2)]
    assert expiries(dispatches) == [NOON + timedelta(minutes=61), NOON + timedelta(minutes=62)]


def test_later_expiring_rows_are_packed_by_the_hour(db: Connection) -> None:
    for n, minutes in enumerate((120, 179, 180)):
        insert(db, first=n, expires_at=NOON + timedelta(minutes=minutes))

    dispatches = claim_all(db)

    assert packed(dispatches) == [numbers(0, 1), numbers(2)]
    assert expiries(dispatches) == [NOON + timedelta(minutes=120), NOON + timedelta(minutes=180)]


def test_provider_expiry_is_at_most_three_days(db: Connection) -> None:
    """Minus two hours, for clocks that differ."""
    for n, days in enumerate((4, 40)):
        insert(db, first=n, expires_at=NOON + timedelta(days=days))

    dispatch = claim(db)

    assert dispatch["recipients"] == numbers(0, 1)
    assert expiries([dispatch]) == [NOON + timedelta(days=2, hours=22)]


def test_new_attempt_starts_without_an_older_report(db: Connection) -> None:
    (row,) = insert(db)
    accept(db, claim(db), "B1")
    report(db, "B1", number(0), "aborted", 404)
    later(db, "10 minutes")

    accept(db, claim(db), "B2")
    assert [column(db, name, row) for name in ("status", "status_code", "reported_at")] == ["sent", None, None]
    report(db, "B2", number(0), "dispatched", 401)

    assert column(db, "status", row) == "dispatched"


def test_texts_of_a_refused_request_share_no_more(db: Connection) -> None:
    insert_texts(db, 4)
    (shared,) = claim_all(db, share=True, dispatches=2)
    for half in refuse(db, shared, "shared"):
        refuse(db, half, "shared")

    assert packed(claim_all(db, share=True, dispatches=2)) == [numbers(0), numbers(1)]
