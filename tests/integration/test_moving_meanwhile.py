"""What never moves a message, what is heard of an attempt that it left, and what happens at the same moment."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.attempts import left_without_proof
from tests.calls import accept, claim_lookups, expire, mark_ambiguous, record_lookup, refuse, report, sent_to
from tests.engine import column, history, insert, later, number
from tests.moving import THIRD, alarms, allow_network, batch_of, begin, claim_of, moves, only, say, sent
from tests.races import overlap
from tests.shares import FIRST, SECOND
from tests.stack import Connection


@pytest.fixture(autouse=True)
def _two_plans(db: Connection) -> Iterator[None]:
    begin(db)
    yield
    assert left_without_proof(db) == []


def test_attempt_that_is_left_without_proof_is_seen(db: Connection) -> None:
    """The assertion of these tests can fail."""
    (row,) = insert(db)
    lost = only(claim_of(db, FIRST))
    mark_ambiguous(db, lost)
    db.execute("update public.outbox set dispatch_id = null")

    assert [found[0] for found in left_without_proof(db)] == [row]
    db.execute("update public.outbox set dispatch_id = %s", [lost["dispatch_id"]])


def test_open_attempts_stay_with_their_plan(db: Connection) -> None:
    """Leased, of unknown outcome, accepted and silent, reported unknown, past its expiry by the clock."""
    rows = insert(db, 5)
    _leased, lost, *taken = (only(claim_of(db, FIRST, rows=1)) for _ in rows)
    mark_ambiguous(db, lost)
    for dispatch in taken:
        accept(db, dispatch, batch_of(dispatch))
    say(db, taken[1], "unknown")
    expire(db, rows[4])

    for _ in range(4):
        later(db, "10 minutes")
        assert claim_of(db, SECOND) == []

    assert [column(db, "status", row) for row in rows] == ["sending", "sending", "sent", "unknown", "sent"]


def test_lost_request_at_vonage_never_moves(db: Connection) -> None:
    db.execute("select outbox_engine.pause_plan('sinch', 'p', 'operator', 'c', 'maintenance', 3600)")
    (row,) = insert(db)
    mark_ambiguous(db, only(claim_of(db, SECOND)))
    db.execute("delete from outbox_engine.plan_pauses")

    for _ in range(80):
        later(db, "1 hour")
        for lookup in claim_lookups(db, provider="vonage", plan="app"):
            record_lookup(db, lookup, [], [])
        assert claim_of(db, FIRST) == []

    assert column(db, "status", row) == "unknown"


def test_lost_request_at_sinch_is_freed_by_lookups(db: Connection) -> None:
    """Any plan of its route may take it then; the batch that turns up after all is a duplicate send."""
    (row,) = insert(db)
    lost = only(claim_of(db, FIRST))
    mark_ambiguous(db, lost)
    later(db, "30 seconds")
    (lookup,) = claim_lookups(db)
    record_lookup(db, lookup, [], [])
    assert claim_of(db, SECOND) == []
    later(db, "30 seconds")
    (lookup,) = claim_lookups(db)
    assert record_lookup(db, lookup, [], []) == "not_found"

    db.execute("select outbox_engine.pause_plan('sinch', 'p', 'operator', 'c', 'maintenance', 3600)")
    accept(db, only(claim_of(db, SECOND)), "B2")
    accept(db, lost, "B1")

    assert history(db, row)[-1] == "duplicate_send"


def test_acceptance_before_the_next_request_ends_the_move(db: Connection) -> None:
    """The refusal was wrong: a report shows that the provider has it."""
    (row,) = insert(db)
    dispatch = only(claim_of(db, FIRST))
    refuse(db, dispatch)

    say(db, dispatch, "delivered", reference=dispatch["dispatch_id"])

    assert column(db, "status", row) == "delivered"
    assert claim_of(db, SECOND) == []
    assert alarms(db, "message.duplicate_send") == []


@pytest.mark.parametrize("first_said", ["the refusal", "the report"])
@pytest.mark.parametrize("accepted", ["before", "after"])
def test_delivery_by_both_plans_is_a_duplicate_send(db: Connection, first_said: str, accepted: str) -> None:
    (row,) = insert(db)
    former = only(claim_of(db, FIRST))
    if first_said == "the refusal":
        refuse(db, former)
    else:
        accept(db, former, batch_of(former))
        say(db, former, "aborted", 402)
    latter = only(claim_of(db, SECOND))
    if accepted == "before":
        accept(db, latter, "B2")

    say(db, former, "delivered", reference=former["dispatch_id"])
    if accepted == "after":
        accept(db, latter, "B2")

    assert column(db, "status", row) == "delivered"
    assert alarms(db, "message.duplicate_send") == [{"outbox_ids": [row]}]
    told = db.execute("select detail from public.outbox_events where event = 'duplicate_send'").fetchall()
    assert told == [("sinch p and vonage app accepted this message",)]


def test_refused_again_after_a_late_acceptance_was_sent(db: Connection) -> None:
    """The first plan has it after all, and the second refuses it: nothing is sent twice, nothing fails."""
    claim_of(db, THIRD)
    (row,) = insert(db)
    former = only(claim_of(db, FIRST))
    refuse(db, former)
    latter = only(claim_of(db, SECOND))
    accept(db, former, "B1")

    refuse(db, latter)
    for named in (FIRST, SECOND, THIRD):
        assert claim_of(db, named) == []

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", "B1")
    assert alarms(db, "message.duplicate_send") == []


@pytest.mark.parametrize("status", ["dispatched", "failed", "rejected", "expired", "unknown", "cancelled"])
def test_reports_on_the_former_attempt_change_nothing(db: Connection, status: str) -> None:
    allow_network(db)
    row, former = sent(db)
    say(db, former, "aborted", 402)
    accept(db, only(claim_of(db, SECOND)), "B2")

    say(db, former, status, 257 if status == "rejected" else 0)

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", "B2")
    report(db, "B2", number(0), "delivered")
    assert column(db, "status", row) == "delivered"


@pytest.mark.parametrize("proof", ["refusal", "report"])
@pytest.mark.parametrize("first", ["proof", "cancel"])
def test_cancel_meets_a_move(db: Connection, other: Connection, proof: str, first: str) -> None:
    """Whichever comes first, nothing is sent after the cancellation was told."""
    (row,) = insert(db)
    dispatch = only(claim_of(db, FIRST))
    if proof == "report":
        accept(db, dispatch, batch_of(dispatch))

    def prove(connection: Connection) -> object:
        if proof == "refusal":
            return refuse(connection, dispatch)
        say(connection, dispatch, "aborted", 402)
        return None

    def stop(connection: Connection) -> object:
        found = connection.execute("select public.outbox_cancel(array[%s::bigint], false)", [row]).fetchone()
        return found[0] if found is not None else None

    acts = (prove, stop) if first == "proof" else (stop, prove)
    answers = overlap(db, lambda: acts[0](db), lambda: acts[1](other))

    told: Any = answers[acts.index(stop)]
    is_sent = claim_of(db, SECOND) != []
    assert is_sent == (told[0]["outcome"] == "too_late"), told


def test_claim_meets_a_move(db: Connection, other: Connection) -> None:
    """The other plan's claim passes the message until the report is committed, and takes it once."""
    row, dispatch = sent(db)
    _, taken = overlap(db, lambda: say(db, dispatch, "aborted", 402), lambda: claim_of(other, SECOND))

    assert taken == []
    assert sent_to(claim_of(db, SECOND)) == {column(db, "recipient", row)}
    assert claim_of(db, SECOND) == []


def test_same_report_twice_at_once_moves_once(db: Connection, other: Connection) -> None:
    row, dispatch = sent(db)
    overlap(db, lambda: say(db, dispatch, "aborted", 402), lambda: say(other, dispatch, "aborted", 402))

    assert len(moves(db, row)) == 1
