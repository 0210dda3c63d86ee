"""A refused request is halved: which rows may be in a half, when halves are sent, and what two refusals prove together."""

from typing import Any
from uuid import uuid4

import pytest

from tests.calls import (
    accept,
    cancel,
    claim,
    claim_all,
    claim_lookups,
    expire,
    find_nothing,
    mark_ambiguous,
    refuse,
    sent_to,
    suppress,
)
from tests.engine import column, insert, later, stand_still, statuses
from tests.stack import Connection, as_engine


def prove_delivered(db: Connection, row: int) -> None:
    as_engine(
        db,
        "update public.outbox set status = 'delivered', finalized_at = outbox_engine.now(), reported_rank = 10 where id = %s",
        [row],
    )


@pytest.mark.parametrize(
    ("happens", "ends"), [(cancel, "cancelled"), (suppress, "suppressed"), (expire, "expired"), (prove_delivered, "delivered")]
)
@pytest.mark.parametrize("why", ["recipient", "shared"])
def test_ended_rows_are_in_no_half(db: Connection, happens: Any, ends: str, why: str) -> None:
    rows = insert(db, 4)
    (dispatch,) = claim_all(db)
    happens(db, rows[1])

    halves = refuse(db, dispatch, why)

    assert sent_to(halves) == {column(db, "recipient", row) for row in rows if row != rows[1]}
    assert claim_all(db) == []
    assert column(db, "status", rows[1]) == ends


def held_texts(db: Connection) -> int:
    row = db.execute("select count(*) from outbox_engine.refused_contents where held_since is not null").fetchone()
    assert row is not None
    return int(str(row[0]))


def test_three_lone_refusals_hold_the_text(db: Connection) -> None:
    """Also if each refused row was the last one of its request."""
    for pair in range(3):
        _, gone = insert(db, 2, first=2 * pair)
        (dispatch,) = claim_all(db)
        cancel(db, gone)
        (alone,) = refuse(db, dispatch, "shared")
        refuse(db, alone, "shared")

    assert held_texts(db) == 1


def test_acceptance_resets_count_of_shared_refusals(db: Connection) -> None:
    insert(db, 4)
    first, second, third, fourth = (claim_all(db, rows=1)[0] for _ in range(4))

    refuse(db, first, "shared")
    refuse(db, second, "shared")
    accept(db, third, "B1")
    refuse(db, fourth, "shared")

    assert held_texts(db) == 0
    assert statuses(db) == {"failed": 3, "sent": 1}


@pytest.mark.parametrize("cancelled", ["before it is refused", "after it was refused"])
def test_last_row_of_a_half_is_retried_alone(db: Connection, cancelled: str) -> None:
    """The row shared the refused request with a row that ended since, so the refusal proves nothing against it."""
    kept, gone, *_ = insert(db, 4)
    one, other = refuse(db, claim(db), "shared")
    assert one["recipients"] == [column(db, "recipient", row) for row in (kept, gone)]

    if cancelled == "before it is refused":
        cancel(db, gone)
    refuse(db, one, "shared")
    if cancelled == "after it was refused":
        cancel(db, gone)
    (alone,) = accept(db, other, "B1")

    assert (alone["recipients"], column(db, "status", kept)) == ([column(db, "recipient", kept)], "sending")
    assert column(db, "status", gone) == "cancelled"
    refuse(db, alone, "shared")
    assert column(db, "status", kept) == "failed"


def test_refusals_with_other_statuses_are_not_alike(db: Connection) -> None:
    insert(db, 4)
    one, other = refuse(db, claim(db), "shared")

    assert refuse(db, one, "shared", "no", http_status=400) == []
    quarters = refuse(db, other, "shared", "no", http_status=403)

    assert len(sent_to(quarters)) == 4


def test_half_waits_for_an_ambiguous_one(db: Connection) -> None:
    """The outcome of the other half decides both."""
    insert(db, 4)
    one, other = refuse(db, claim(db), "shared")
    mark_ambiguous(db, one)

    assert refuse(db, other, "shared") == []
    assert statuses(db) == {"sending": 4}
    quarters = accept(db, one, "B1")

    assert sent_to(quarters) == set(other["recipients"])


def test_half_goes_back_when_the_other_is_lost(db: Connection) -> None:
    """The outcome of the lost half can never be known, so it proves nothing against the refused one."""
    stand_still(db)
    refused, lost = insert(db, 2)
    db.execute("update public.outbox set expires_at = outbox_engine.now() + interval '40 days'")
    one, other = refuse(db, claim(db), "shared")
    refuse(db, one, "shared")
    mark_ambiguous(db, other)

    later(db, "14 days")
    claim_lookups(db)

    assert (column(db, "status", refused), column(db, "status", lost)) == ("pending", "unknown")


def test_row_cancelled_in_a_blamed_half_is_cancelled(db: Connection) -> None:
    gone, *kept = insert(db, 4)
    one, other = refuse(db, claim(db), "shared")
    refuse(db, one, "shared")
    cancel(db, gone)

    for single in refuse(db, other, "shared"):
        refuse(db, single, "shared")

    assert column(db, "status", gone) == "cancelled"
    assert {column(db, "status", row) for row in kept} == {"failed"}


def test_each_half_takes_a_request_of_the_plan(db: Connection) -> None:
    stand_still(db)
    insert(db, 2)
    (dispatch,) = claim_all(db, requests=2)

    waits = [half["wait_seconds"] for half in refuse(db, dispatch, "shared")]

    assert waits[0] == 0
    assert 60 <= waits[1] <= 62


def test_two_shared_refusals_in_a_row_hold_nothing(db: Connection) -> None:
    insert(db, 4)
    first, second, third, fourth = (claim_all(db, rows=1)[0] for _ in range(4))

    refuse(db, first, "shared")
    refuse(db, second, "shared")

    assert (held_texts(db), statuses(db)) == (0, {"failed": 2, "sending": 2})
    refuse(db, third, "shared")
    refuse(db, fourth, "shared")
    assert (held_texts(db), statuses(db)) == (1, {"failed": 3, "pending": 1})


@pytest.mark.parametrize("why", ["recipient", "shared"])
def test_a_refusal_counts_as_an_attempt(db: Connection, why: str) -> None:
    (row,) = insert(db)

    refuse(db, claim(db), why)

    assert (column(db, "status", row), column(db, "attempts", row)) == ("failed", 1)


@pytest.mark.parametrize("why", ["recipient", "shared"])
def test_last_remaining_row_is_retried_alone(db: Connection, why: str) -> None:
    """The row is not failed for a request that it shared with rows that were cancelled since."""
    kept, gone = insert(db, 2)
    (dispatch,) = claim_all(db)
    cancel(db, gone)

    (alone,) = refuse(db, dispatch, why)

    assert (alone["recipients"], column(db, "status", kept)) == ([column(db, "recipient", kept)], "sending")
    assert refuse(db, alone, why) == []
    assert (column(db, "status", kept), column(db, "status", gone)) == ("failed", "cancelled")


def test_row_found_sent_is_in_no_half(db: Connection) -> None:
    sent, *others = insert(db, 3)
    lost = claim(db)
    find_nothing(db)
    (dispatch,) = claim_all(db)
    db.execute(
        "delete from outbox_engine.dispatch_members where dispatch_id = %s and outbox_id <> %s", [lost["dispatch_id"], sent]
    )
    accept(db, lost, "B1")

    halves = refuse(db, dispatch, "shared")

    assert sent_to(halves) == {column(db, "recipient", row) for row in others}
    assert claim_all(db) == []
    assert (column(db, "status", sent), column(db, "batch_id", sent)) == ("sent", "B1")


def test_empty_half_blames_no_row(db: Connection) -> None:
    kept, gone = insert(db, 2)
    (dispatch,) = claim_all(db)
    one, other = refuse(db, dispatch, "shared")
    cancel(db, gone)

    refuse(db, one, "shared")
    refuse(db, other, "shared")

    assert (column(db, "status", kept), column(db, "attempts", kept)) == ("pending", 0)
    assert column(db, "status", gone) == "cancelled"


def test_rows_expiring_during_a_request_hold_nothing(db: Connection) -> None:
    insert(db, 3)
    dispatches = [claim_all(db, rows=1)[0] for _ in range(3)]
    later(db, "4 days")

    for dispatch in dispatches:
        refuse(db, dispatch, "shared")

    assert statuses(db) == {"expired": 3}
    assert held_texts(db) == 0


@pytest.mark.parametrize(("seconds", "held"), [(119, 0), (120, 1)])
def test_refusals_shortly_before_expiry_hold_nothing(db: Connection, seconds: int, held: int) -> None:
    """By the provider's clock they may have expired."""
    stand_still(db)
    until: Any = db.execute("select outbox_engine.now() + make_interval(secs => %s)", [seconds]).fetchone()
    insert(db, 3, expires_at=until[0])

    for dispatch in [claim_all(db, rows=1)[0] for _ in range(3)]:
        refuse(db, dispatch, "shared")

    assert held_texts(db) == held


@pytest.mark.parametrize("why", ["recipient", "shared", "no_callback"])
def test_paused_plan_sends_no_half(db: Connection, why: str) -> None:
    insert(db, 4, body="one")
    insert(db, 1, body="another", first=4)
    throttled, refused = sorted(claim_all(db), key=lambda dispatch: len(dispatch["recipients"]))
    db.execute(
        "select public.outbox_refuse(%s::uuid, %s, 'throttled', 'HTTP 429', 429::smallint, 60, 'w', 60)",
        [throttled["dispatch_id"], throttled["lease_token"]],
    )

    assert refuse(db, refused, why) == []
    assert statuses(db) == {"pending": 5}
    assert claim_all(db) == []
    later(db, "61 seconds")
    assert len(sent_to(claim_all(db))) == 5


def test_refusals_differing_by_request_id_are_alike(db: Connection) -> None:
    insert(db, 64)
    (dispatch,) = claim_all(db)
    requests = 1
    waiting = refuse(db, dispatch, "shared", f"HTTP 400 syntax_constraint_violation: request {uuid4()} names no such sender")
    while waiting:
        requests += 1
        waiting += refuse(
            db, waiting.pop(), "shared", f"HTTP 400 syntax_constraint_violation: request {uuid4()} names no such sender"
        )

    assert requests == 6
    assert statuses(db) == {"failed": 3, "pending": 61}
