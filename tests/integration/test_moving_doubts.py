"""Any request of a message may be the one that arrives: what is heard of each speaks against a move."""

from collections.abc import Iterator

import pytest

from tests.attempts import left_without_proof
from tests.calls import accept, claim_lookups, mark_ambiguous, record_lookup, refuse, release, report
from tests.engine import column, history, insert, later, number
from tests.moving import THIRD, alarms, batch_of, begin, claim_of, moves, only, say, sent
from tests.races import overlap
from tests.shares import FIRST, SECOND, Named, pause
from tests.stack import Connection


@pytest.fixture(autouse=True)
def _three_plans(db: Connection) -> Iterator[None]:
    begin(db)
    claim_of(db, THIRD)
    yield
    assert left_without_proof(db) == []


def taken_by_others(db: Connection) -> list[object]:
    """What the plans take to which a message may move from the first."""
    return [*claim_of(db, SECOND), *claim_of(db, THIRD)]


def retries(db: Connection, row: int) -> list[str]:
    """The outcomes of a retry without force, and then of one with it."""
    return [
        str(outcome)
        for force in (False, True)
        for (outcome,) in db.execute(
            "select public.outbox_retry(array[%s::bigint], %s, null, false) -> 0 ->> 'outcome'", [row, force]
        )
    ]


@pytest.mark.parametrize("code", [402, 404])
@pytest.mark.parametrize("first", ["the report", "the second batch"])
def test_request_that_was_repeated_does_not_move(db: Connection, other: Connection, first: str, code: int) -> None:
    """Something between us and the provider sent it twice: one batch was stopped, the other is on its way."""
    row, dispatch = sent(db)
    acts = [
        lambda on: say(on, dispatch, "aborted", code),
        lambda on: accept(on, dispatch, "B-again"),
    ]
    begins, meanwhile = acts if first == "the report" else reversed(acts)

    overlap(db, lambda: begins(db), lambda: meanwhile(other))

    later(db, "5 minutes")
    assert claim_of(db, FIRST) + taken_by_others(db) == []
    assert column(db, "status", row) == ("sent" if first == "the report" else "aborted")
    assert alarms(db, "message.duplicate_send") == [{"outbox_ids": [row]}]
    report(db, "B-again", dispatch["recipients"][0], "delivered", reference=dispatch["dispatch_id"])
    assert column(db, "status", row) == "delivered"


def test_request_that_turned_up_stops_later_moves(db: Connection) -> None:
    """It was given up after two lookups. So two plans accepted the message, and the proof is about one of them."""
    (row,) = insert(db)
    lost = only(claim_of(db, FIRST))
    mark_ambiguous(db, lost)
    for _ in range(2):
        later(db, "30 seconds")
        (lookup,) = claim_lookups(db)
        record_lookup(db, lookup, [], [])
    pause(db, FIRST, "operator", 3600)
    claim_of(db, THIRD)
    accept(db, only(claim_of(db, SECOND)), "B2")
    accept(db, lost, "B1")

    report(db, "B2", number(0), "aborted", 1100)

    assert claim_of(db, THIRD) == []
    assert (column(db, "status", row), moves(db, row)) == ("aborted", [])


@pytest.mark.parametrize(
    ("then", "said", "status"),
    [
        ("refused", "before", "dispatched"),
        ("refused", "after", "expired"),
        ("throttled", "before", "unknown"),
        ("throttled", "after", "dispatched"),
        ("released", "before", "cancelled"),
        ("released", "after", "unknown"),
        ("stopped", "before", "expired"),
        ("stopped", "before", "dispatched"),
        ("stopped", "after", "dispatched"),
    ],
)
def test_doubt_about_the_former_request_ends_the_move(db: Connection, status: str, said: str, then: str) -> None:
    """The request to the other plan came to nothing, so the message is in none, and the former may have been sent."""
    row, former = sent(db)
    say(db, former, "aborted", 402)
    latter = only(claim_of(db, SECOND))
    if said == "before":
        say(db, former, status)
        assert column(db, "status", row) == "sending"

    if then == "refused":
        refuse(db, latter)
    elif then == "throttled":
        refuse(db, latter, "throttled", http_status=429)
    elif then == "released":
        release(db, latter)
    else:
        accept(db, latter, "B2")
        report(db, "B2", number(0), "aborted", 1100)
    if said == "after":
        say(db, former, status)

    later(db, "5 minutes")
    assert taken_by_others(db) == []
    assert column(db, "status", row) == "aborted"
    assert column(db, "finalized_at is not null and error like 'reported aborted with code%%'", row)


def test_lookup_of_the_latter_request_ends_the_move(db: Connection) -> None:
    """The same where the latter request was lost, and two lookups find nothing of it."""
    pause(db, FIRST, "operator", 3600)
    row, former = sent(db, SECOND)
    pause(db, SECOND, "operator", 3600)
    say(db, former, "aborted", 1100)
    mark_ambiguous(db, only(claim_of(db, FIRST)))
    say(db, former, "dispatched")
    decided = []
    for _ in range(2):
        later(db, "30 seconds")
        (lookup,) = claim_lookups(db)
        decided.append(record_lookup(db, lookup, [], []))

    assert decided == ["missed", "not_found"]
    assert (column(db, "status", row), claim_of(db, THIRD)) == ("aborted", [])


def test_operators_retry_moves_despite_earlier_doubts(db: Connection) -> None:
    """The operator knows of them."""
    row, former = sent(db)
    say(db, former, "unknown")
    db.execute("select public.outbox_retry(array[%s::bigint], true, null, false)", [row])
    again = only(claim_of(db, FIRST))
    accept(db, again, "B2")

    report(db, "B2", number(0), "aborted", 402)

    assert len(moves(db, row)) == 1
    assert len(taken_by_others(db)) == 1
    assert history(db, row)[-1] == "moved"


@pytest.mark.parametrize("doubt", ["unknown", "dispatched", "a second batch"])
def test_retry_of_a_doubtful_move_takes_force(db: Connection, doubt: str) -> None:
    """Its status says that it was stopped, and something else that was heard says that it may have arrived."""
    row, former = sent(db)
    if doubt == "a second batch":
        accept(db, former, "B-again")
    else:
        say(db, former, doubt)
    say(db, former, "aborted", 402)
    assert column(db, "status", row) == "aborted"

    assert retries(db, row) == ["may_have_arrived", "retried"]


def test_halves_that_wait_again_end_their_moves(db: Connection) -> None:
    """A refused half waited for the other one, of which nothing is known at last."""
    rows, formers = zip(*(sent(db) for _ in range(2)), strict=True)
    for former in formers:
        say(db, former, "aborted", 402)
    first, second = refuse(db, only(claim_of(db, SECOND)), "shared")
    refuse(db, first, "shared")
    for former in formers:
        say(db, former, "dispatched")
    refuse(db, second, "throttled", http_status=429)

    later(db, "5 minutes")
    assert taken_by_others(db) == []
    assert [column(db, "status", row) for row in rows] == ["aborted", "aborted"]


def test_refusal_that_was_wrong_keeps_its_batch(db: Connection) -> None:
    """The message left the former request by a refusal, and a report shows that the provider took it."""
    (row,) = insert(db)
    former = only(claim_of(db, FIRST))
    refuse(db, former)
    latter = only(claim_of(db, SECOND))
    say(db, former, "dispatched", reference=former["dispatch_id"])
    refuse(db, latter)

    assert claim_of(db, FIRST) + taken_by_others(db) == []
    assert (column(db, "status", row), column(db, "batch_id", row)) == ("dispatched", batch_of(former))
    assert column(db, "finalized_at is null", row)


@pytest.mark.parametrize("shown_by", ["its answer", "a report", "a lookup"])
def test_request_that_turned_up_ends_a_move(db: Connection, shown_by: str) -> None:
    """It was given up after two lookups. The second plan's request was stopped, so the message waits for the third."""
    (row,) = insert(db)
    lost = only(claim_of(db, FIRST))
    mark_ambiguous(db, lost)
    for _ in range(2):
        later(db, "30 seconds")
        (lookup,) = claim_lookups(db)
        record_lookup(db, lookup, [], [])
    pause(db, FIRST, "operator", 3600)
    claim_of(db, THIRD)
    accept(db, only(claim_of(db, SECOND)), "B2")
    report(db, "B2", number(0), "aborted", 1100)

    if shown_by == "its answer":
        accept(db, lost, "B1")
    elif shown_by == "a report":
        report(db, "B1", number(0), "sent", reference=lost["dispatch_id"])
    else:
        later(db, "2 minutes")
        (lookup,) = claim_lookups(db)
        record_lookup(db, lookup, ["B1"], [number(0)])

    db.execute("delete from outbox_engine.plan_pauses")
    assert claim_of(db, FIRST) + taken_by_others(db) == []
    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", "B1")
    assert alarms(db, "message.duplicate_send") == [{"outbox_ids": [row]}]
    report(db, "B1", number(0), "failed", 60)
    assert column(db, "status", row) == "failed"


def test_repeated_former_request_ends_a_later_move(db: Connection) -> None:
    row, former = sent(db)
    say(db, former, "aborted", 402)
    accept(db, only(claim_of(db, SECOND)), "B2")
    report(db, "B2", number(0), "aborted", 1100)

    accept(db, former, "B-again")

    assert taken_by_others(db) == []
    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", "B-again")


@pytest.mark.parametrize("then", ["throttled", "released"])
def test_repeated_request_ends_a_retry(db: Connection, then: str) -> None:
    """It is found while the message is in its next request at the same plan, which comes to nothing."""
    db.execute("delete from outbox_engine.heartbeats")
    row, former = sent(db)
    say(db, former, "aborted", 404)
    later(db, "5 minutes")
    again = only(claim_of(db, FIRST))
    accept(db, former, "B-again")

    if then == "throttled":
        refuse(db, again, "throttled", http_status=429)
    else:
        release(db, again)

    later(db, "20 minutes")
    assert claim_of(db, FIRST) + taken_by_others(db) == []
    assert (column(db, "status", row), moves(db, row)) == ("aborted", [])


@pytest.mark.parametrize("said", ["before", "after", "before it is stopped"])
def test_text_handed_on_ends_a_retry(db: Connection, said: str) -> None:
    """The same for a code of Vonage that has it sent again only where it was not handed on."""
    db.execute("delete from outbox_engine.heartbeats")
    row, former = sent(db, SECOND)
    pause(db, FIRST, "operator", 3600)
    say(db, former, "aborted", 1000)
    later(db, "5 minutes")
    again = only(claim_of(db, SECOND))

    if said != "after":
        say(db, former, "dispatched")
    if said == "before it is stopped":
        accept(db, again, "B2")
        report(db, "B2", number(0), "aborted", 1000)
    else:
        release(db, again)
    if said == "after":
        say(db, former, "dispatched")

    later(db, "20 minutes")
    assert claim_of(db, SECOND) + taken_by_others(db) == []
    assert (column(db, "status", row), moves(db, row)) == ("aborted", [])


@pytest.mark.parametrize("named", [FIRST, SECOND])
def test_refusal_that_was_wrong_ends_the_move(db: Connection, named: Named) -> None:
    """A report that was a proof, and another one that it was handed on, come for the request that was said to be refused."""
    pause(db, FIRST if named == SECOND else SECOND, "operator", 3600)
    (row,) = insert(db)
    refused = only(claim_of(db, named))
    refuse(db, refused)
    accept(db, refused, batch_of(refused))

    say(db, refused, "aborted", 402 if named == FIRST else 1100)
    say(db, refused, "dispatched")

    db.execute("delete from outbox_engine.plan_pauses")
    assert claim_of(db, FIRST) + taken_by_others(db) == []
    assert column(db, "status", row) == "aborted"


def test_temporary_failure_is_not_tried_despite_doubt(db: Connection) -> None:
    """A former request was handed on, so that of the two the one that may be tried again does not matter."""
    row, former = sent(db, SECOND)
    say(db, former, "aborted", 1100)
    latter = only(claim_of(db, FIRST))
    say(db, former, "dispatched")
    accept(db, latter, "B2")

    report(db, "B2", number(0), "aborted", 404)

    later(db, "20 minutes")
    assert claim_of(db, FIRST) + taken_by_others(db) == []
    assert column(db, "status", row) == "aborted"


def test_network_failure_of_former_request_ends_move(db: Connection) -> None:
    """The route does not take it for a proof."""
    row, former = sent(db)
    say(db, former, "aborted", 402)
    latter = only(claim_of(db, SECOND))
    say(db, former, "failed", 60)

    release(db, latter)

    assert taken_by_others(db) == []
    assert column(db, "status", row) == "failed"


@pytest.mark.parametrize("doubt", ["a second batch", "handed on", "accepted after all"])
def test_retry_of_a_failure_in_doubt_takes_force(db: Connection, doubt: str) -> None:
    """Its last request failed or was refused, and another one may have arrived."""
    row, former = sent(db)
    if doubt == "a second batch":
        accept(db, former, "B-again")
        say(db, former, "failed", 60)
    else:
        say(db, former, "aborted", 402)
        refuse(db, only(claim_of(db, SECOND)))
        latter = only(claim_of(db, THIRD))
        if doubt == "handed on":
            say(db, former, "dispatched")
        refuse(db, latter)
        if doubt == "accepted after all":
            accept(db, latter, "B3")
    assert column(db, "status", row) == "failed"

    assert retries(db, row) == ["may_have_arrived", "retried"]


@pytest.mark.parametrize("code", [405, 257])
def test_retry_of_a_stopped_message_takes_no_force(db: Connection, code: int) -> None:
    """Nothing contradicts the one report, although it moves nothing."""
    row, dispatch = sent(db)
    say(db, dispatch, "aborted", code)

    assert retries(db, row) == ["retried", "not_final"]


@pytest.mark.parametrize("heard", [None, "dispatched", "failed"])
def test_repeated_request_ends_an_operators_retry(db: Connection, heard: str | None) -> None:
    """The second batch of the former request is found while the new one is open, which comes to nothing."""
    row, former = sent(db)
    say(db, former, "failed", 60)
    assert retries(db, row) == ["retried", "not_final"]
    again = only(claim_of(db, FIRST))
    accept(db, former, "B-again")
    if heard:
        report(db, "B-again", former["recipients"][0], heard, reference=former["dispatch_id"])

    release(db, again)

    assert claim_of(db, FIRST) + taken_by_others(db) == []
    assert (column(db, "status", row), column(db, "batch_id", row)) == (heard or "sent", "B-again")


def test_wait_ends_as_reported_since_the_retry(db: Connection) -> None:
    """What was heard before an operator had it sent again had a higher rank."""
    row, former = sent(db)
    say(db, former, "failed", 60)
    assert retries(db, row) == ["retried", "not_final"]
    accept(db, only(claim_of(db, FIRST)), "B2")
    report(db, "B2", number(0), "aborted", 402)
    latter = only(claim_of(db, SECOND))
    report(db, "B2", number(0), "dispatched")

    release(db, latter)

    assert column(db, "error", row) == "reported aborted with code 402: message unroutable"
    assert column(db, "status", row) == "aborted"
