"""Two transactions change the same message at the same moment: the second one decides by what the first one did."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from sandbox.local.processes import wait_until
from sandbox.local.stack import LocalStack
from tests.calls import accept, claim, claim_all, find_nothing, refuse, release
from tests.campaigns import campaign, member, rows, template
from tests.engine import column, history, insert, number
from tests.races import is_waited_for, overlap
from tests.stack import Connection

LATE, RECENT = "B1", "B2"


@pytest.mark.parametrize("late_first", [True, False])
def test_concurrent_acceptances_of_two_attempts_record_duplicate_send(
    db: Connection, other: Connection, late_first: bool
) -> None:
    (row,) = insert(db)
    (lost,) = claim_and_lose(db)
    found = [(lost, LATE), (claim(db), RECENT)]
    first, second = found if late_first else reversed(found)

    overlap(db, lambda: accept(db, *first), lambda: accept(other, *second))

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", RECENT)
    assert "duplicate_send" in history(db, row)
    assert duplicate_sends(db, confirmed=True) == [(row, LATE)]


def test_retry_during_a_late_acceptance_sends_nothing(db: Connection, other: Connection) -> None:
    (row,) = insert(db)
    (lost,) = claim_and_lose(db)
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [row])

    overlap(
        db,
        lambda: db.execute("select public.outbox_retry(array[%s::bigint], true, null, false)", [row]),
        lambda: accept(other, lost, LATE),
    )

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", LATE)
    assert claim_all(db) == []


def test_row_returned_during_a_claim_is_not_claimed(db: Connection, other: Connection) -> None:
    """Its lost request was found meanwhile."""
    first, second = insert(db, body="first"), insert(db, body="second", first=1)
    lost = claim_and_lose(db)
    again = {dispatch["body"]: dispatch for dispatch in claim_all(db)}
    for dispatch in lost:
        accept(db, dispatch, dispatch["body"])
    release(db, again["first"])
    insert(db, body="third", first=2)

    def holds_up_the_claim_and_gives_back() -> None:
        db.execute("select from outbox_engine.duplicate_sends where outbox_id = %s for update", first)
        release(db, again["second"])

    _, claimed = overlap(db, holds_up_the_claim_and_gives_back, lambda: claim_all(other))

    assert [dispatch["body"] for dispatch in claimed] == ["third"]
    assert claim_all(db) == []
    assert {column(db, "status", row) for row in first + second} == {"sent"}
    assert duplicate_sends(db) == []


@pytest.mark.parametrize("ends", ["refused", "accepted", "released"])
def test_decision_on_one_half_locks_both_in_order(db: Connection, other: Connection, ends: str) -> None:
    """Otherwise two processes that each decide about one half would wait for each other."""
    insert(db, 2)
    halves = refuse(db, claim(db), "shared")
    lower, higher = sorted(halves, key=lambda half: str(half["dispatch_id"]))

    def decide() -> None:
        if ends == "refused":
            refuse(other, higher, "shared")
        elif ends == "accepted":
            accept(other, higher, LATE)
        else:
            release(other, higher)

    with ThreadPoolExecutor(1) as thread:
        with db.transaction():
            lock = "select from outbox_engine.dispatches where id = %s for update nowait"
            db.execute(lock, [lower["dispatch_id"]])
            decided = thread.submit(decide)
            assert wait_until(lambda: is_waited_for(db), 10)
            db.execute(lock, [higher["dispatch_id"]])
        decided.result(10)


def claim_and_lose(db: Connection) -> list[dict[str, Any]]:
    """Claim all due rows; two lookups find nothing, so that they return to the queue."""
    dispatches = claim_all(db)
    find_nothing(db)
    return dispatches


def duplicate_sends(db: Connection, *, confirmed: bool = False) -> list[tuple[Any, ...]]:
    return db.execute(
        "select outbox_id, batch_id from outbox_engine.duplicate_sends where confirmed_at is not null or not %s order by 1",
        [confirmed],
    ).fetchall()


def test_opt_out_while_a_claim_waits_counts(stack: LocalStack, db: Connection, other: Connection) -> None:
    """The claim has locked the message and waits for another plan's claim, so the opt-out leaves the message to it."""
    template(db)
    campaign(db, schedule="once", starts_at="2026-01-01", late_limit="10 years")
    member(db, n=1)
    db.execute("select public.outbox_expand_campaigns(10)")

    with ThreadPoolExecutor(1) as thread, psycopg.connect(stack.db_url, autocommit=True) as recipient:
        with db.transaction():
            db.execute("select outbox_engine.hold_campaign_claims()")
            claimed = thread.submit(claim_all, other)
            assert wait_until(lambda: claimed.done() or is_waited_for(db), 30)
            recipient.execute("insert into public.outbox_suppressions (recipient) values (%s)", [number(1)])
        assert claimed.result(30) == []

    assert rows(db) == [("suppressed",)]
