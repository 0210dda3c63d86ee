"""Messages that were sent again before, by an operator or for a code, and of which something else is heard then."""

import pytest

from tests.calls import accept, cancel, claim_lookups, mark_ambiguous, record_lookup, refuse, release, report
from tests.engine import column, insert, later, number
from tests.moving import begin, claim_of, moves, only, say, sent
from tests.shares import FIRST, SECOND, pause
from tests.stack import Connection


@pytest.mark.parametrize("then", ["released", "stopped", "not found"])
@pytest.mark.parametrize("said", ["before", "after"])
def test_failure_of_the_former_request_ends_a_retry(db: Connection, said: str, then: str) -> None:
    """As it does where no other request came between: one of the two reports is wrong."""
    begin(db)
    row, former = sent(db)
    say(db, former, "dispatched")
    say(db, former, "aborted", 404)
    later(db, "5 minutes")
    latter = only(claim_of(db, FIRST))

    if said == "before":
        say(db, former, "failed", 60)
    if then == "released":
        release(db, latter)
    elif then == "stopped":
        accept(db, latter, "B2")
        report(db, "B2", number(0), "aborted", 404)
    else:
        mark_ambiguous(db, latter)
        for _ in range(2):
            later(db, "30 seconds")
            (lookup,) = claim_lookups(db)
            record_lookup(db, lookup, [], [])
    if said == "after":
        say(db, former, "failed", 60)

    ended = ("aborted", "404: temporary delivery failure") if then == "stopped" else ("failed", "60: sender blocked")
    assert column(db, "status || ' with code ' || split_part(error, 'with code ', 2)", row) == " with code ".join(ended)
    assert column(db, "queue", row) is None


def test_doubt_ends_a_second_move_of_one_request(db: Connection) -> None:
    """It was said to be refused, and the message sent again by an operator, before it turned up."""
    begin(db)
    pause(db, FIRST, "operator", 3600)
    (row,) = insert(db)
    refused = only(claim_of(db, SECOND))
    refuse(db, refused)
    cancel(db, row)
    db.execute("select public.outbox_retry(array[%s::bigint], true, null, false)", [row])
    say(db, refused, "aborted", 1100, reference=refused["dispatch_id"])
    assert (column(db, "status", row), len(moves(db, row))) == ("pending", 2)

    say(db, refused, "unknown", 1330)

    db.execute("delete from outbox_engine.plan_pauses")
    assert claim_of(db, FIRST) == []
    assert column(db, "status", row) == "aborted"
