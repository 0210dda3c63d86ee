"""A message that the provider took goes to another plan only if a report proves that nothing came of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.providers.vonage.codes import CODES, Stage
from tests.attempts import left_without_proof
from tests.calls import SentReport, accept, cancel, expire, report, report_all, sent_to, suppress
from tests.engine import column, history, insert, later, number
from tests.moving import THIRD, allow_network, batch_of, begin, claim_of, moves, only, say, sent, upkeep
from tests.routes import route
from tests.shares import FIRST, SECOND, Named, pause, weigh
from tests.stack import Connection, as_engine


@pytest.fixture(autouse=True)
def _two_plans(db: Connection) -> Iterator[None]:
    begin(db)
    yield
    assert left_without_proof(db) == []


STOPPED_AT_SINCH = [402, 403, 404, 406, 408, 410, 411, 412, 413]
STOPPED_AT_VONAGE = [code for code, known in CODES.items() if known.stage is Stage.STOPPED and code < 1470]
REFUSED_AT_VONAGE = [1180, 1200, 1210, 1220, 1230, 1250, 1251, 1260, 1280, 1282, 1290, 1460, 1480, 1481, 1482, 1484]
MOVED = [
    *((FIRST, "aborted", code) for code in STOPPED_AT_SINCH),
    *((SECOND, "aborted", code) for code in STOPPED_AT_VONAGE),
]
MOVED_WHERE_THE_ROUTE_SAYS_SO = [
    *((FIRST, status, 1) for status in ("failed", "rejected", "deleted", "expired")),
    *((SECOND, "failed", code) for code in REFUSED_AT_VONAGE),
]
NEVER = [
    *((FIRST, status, code) for status, code in [("aborted", 405), ("cancelled", 407), ("aborted", 414), ("unknown", 0)]),
    *((FIRST, status, 257) for status in ("failed", "rejected", "aborted")),
    *((SECOND, "rejected", code) for code in (1050, 1240)),
    *((SECOND, "unknown", code) for code in (1030, 1320, 1330, 1331, 1490, 9999)),
    *((SECOND, "aborted", code) for code in (1470, 1472, 1473, 1474, 1475, 1476)),
    *((SECOND, "failed", code) for code in (0, 1170, 1190, 1241, 1270, 1300, 1310, 1461, 1483)),
    (SECOND, "expired", 1360),
]


def test_every_code_of_vonage_is_decided() -> None:
    decided = {code for named, _, code in [*MOVED, *MOVED_WHERE_THE_ROUTE_SAYS_SO, *NEVER] if named == SECOND}

    assert set(CODES) <= decided


def moved_by(db: Connection, cases: list[tuple[Named, str, int]]) -> list[tuple[Named, str, int]]:
    """Those of these reports that send their message to another plan."""
    found = []
    for case in cases:
        named, status, code = case
        row, dispatch = sent(db, named)
        say(db, dispatch, status, code)
        db.execute("delete from outbox_engine.plan_pauses")
        if moves(db, row):
            found.append(case)
            claim_of(db, SECOND if named == FIRST else FIRST)
            assert column(db, "status", row) == "sending"
        else:
            assert column(db, "status", row) in (status, "suppressed")
    return found


@pytest.mark.parametrize("after_network_failure", [True, False])
def test_only_listed_reports_move(db: Connection, after_network_failure: bool) -> None:
    if after_network_failure:
        allow_network(db)

    assert moved_by(db, [*MOVED, *MOVED_WHERE_THE_ROUTE_SAYS_SO, *NEVER]) == [
        *MOVED,
        *(MOVED_WHERE_THE_ROUTE_SAYS_SO if after_network_failure else []),
    ]


def test_report_moves_at_once_with_its_reason(db: Connection) -> None:
    row, dispatch = sent(db)

    say(db, dispatch, "aborted", 404)

    assert moves(db, row) == ["sinch p reported aborted with code 404: temporary delivery failure; goes on without that plan"]
    assert column(db, "due_at <= outbox_engine.now()", row)
    assert claim_of(db, FIRST) == []
    again = only(claim_of(db, SECOND))
    accept(db, again, "B2")
    report(db, "B2", number(0), "delivered")
    assert (column(db, "status", row), column(db, "attempts", row)) == ("delivered", 2)
    assert history(db, row) == ["accepted", "report", "moved", "accepted", "report"]


def test_projects_own_proof_moves(db: Connection) -> None:
    db.execute("insert into outbox_engine.move_proofs values ('sinch', 'unknown', 0, 'stopped')")
    row, dispatch = sent(db)

    say(db, dispatch, "unknown")

    assert only(claim_of(db, SECOND))["recipients"] == [column(db, "recipient", row)]


def test_last_plan_tries_again_as_without_others(db: Connection) -> None:
    """A code that asks for another attempt is of use where no other plan is left."""
    row, dispatch = sent(db)
    say(db, dispatch, "aborted", 404)
    again = only(claim_of(db, SECOND))
    accept(db, again, "B2")

    report(db, "B2", number(0), "aborted", 1000)

    assert (column(db, "status", row), len(moves(db, row))) == ("pending", 1)
    assert column(db, "due_at > outbox_engine.now() + interval '1 minute'", row)
    later(db, "5 minutes")
    claim_of(db, FIRST)
    assert sent_to(claim_of(db, SECOND)) == {number(0)}


@pytest.mark.parametrize("other", ["paused", "away"])
def test_temporary_failure_waits_for_no_other_plan(db: Connection, other: str) -> None:
    """One that cannot send now may not come back for days. A failure for good waits for it all the same."""
    rows, taken = zip(*(sent(db) for _ in range(2)), strict=True)
    if other == "paused":
        pause(db, SECOND, "account", 3 * 86400)
    else:
        later(db, "1 hour")

    for dispatch, code in zip(taken, (404, 402), strict=True):
        say(db, dispatch, "aborted", code)

    assert [len(moves(db, row)) for row in rows] == [0, 1]
    later(db, "5 minutes")
    assert sent_to(claim_of(db, FIRST)) == {column(db, "recipient", rows[0])}


def test_fifth_attempt_moves_as_the_first(db: Connection) -> None:
    """Attempts are counted for a plan that is asked again and again, and each move leaves one plan less."""
    (row,) = insert(db)
    db.execute("update public.outbox set attempts = 4")
    dispatch = only(claim_of(db, FIRST))
    accept(db, dispatch, batch_of(dispatch))

    say(db, dispatch, "aborted", 404)

    assert (column(db, "attempts", row), sent_to(claim_of(db, SECOND))) == (5, {number(0)})


@pytest.mark.parametrize("code", [1000, 1100])
@pytest.mark.parametrize(
    "order",
    [
        ("dispatched", "aborted"),
        ("aborted", "dispatched"),
        ("aborted", "dispatched", "aborted"),
        # What the network says of it shows that it has it.
        ("unknown", "aborted"),
        ("aborted", "expired"),
    ],
)
def test_text_that_was_handed_on_does_not_move(db: Connection, code: int, order: tuple[str, ...]) -> None:
    row, dispatch = sent(db, SECOND)

    for place, status in enumerate(order):
        say(db, dispatch, status, code if status == "aborted" else 0, at=f"2026-01-01T00:0{9 - place}:00Z")

    assert column(db, "status", row) == "aborted"
    assert claim_of(db, FIRST) == []


def test_text_handed_on_meanwhile_does_not_move(db: Connection) -> None:
    row, dispatch = sent(db)
    both = [("aborted", 402), ("dispatched", 0)]

    report_all(
        db,
        *(
            SentReport(batch=batch_of(dispatch), recipient=dispatch["recipients"][0], status=status, code=code)
            for status, code in both
        ),
    )

    assert (column(db, "status", row), moves(db, row)) == ("aborted", [])


def test_network_failure_moves_once(db: Connection) -> None:
    allow_network(db)
    claim_of(db, THIRD)
    row, dispatch = sent(db)
    say(db, dispatch, "failed", 1)
    again = only(claim_of(db, SECOND))
    accept(db, again, "B2")

    report(db, "B2", number(0), "failed", 1210)

    assert (column(db, "status", row), column(db, "error", row)) == (
        "failed",
        "reported failed with code 1210: taken for spam by the carrier",
    )


def test_move_stays_on_its_retired_route(db: Connection) -> None:
    """Its route takes no new message, and the one that it matches now has only the plan at which it failed."""
    weigh(db, {FIRST: 100})
    codes = route(db, "codes", priority_below=50, after_network_failure=True)
    db.execute("insert into public.outbox_route_plans values (%s, %s, %s, 0, 2)", [codes, *SECOND])
    row, dispatch = sent(db, priority=10)
    db.execute("select public.outbox_remove_route('codes')")

    say(db, dispatch, "failed", 1)

    assert len(moves(db, row)) == 1
    later(db, "5 minutes")
    assert (claim_of(db, FIRST), sent_to(claim_of(db, SECOND))) == ([], {number(0)})


def test_message_of_a_deleted_route_moves_on(db: Connection) -> None:
    """By the route that it matches now: its own is gone with its plans."""
    route(db, "codes", priority_below=50)
    row, dispatch = sent(db, priority=10)
    db.execute("select public.outbox_remove_route('codes')")
    later(db, "61 minutes")
    claim_of(db, SECOND)
    upkeep(db)
    assert db.execute("select from public.outbox_routes").fetchall() == []

    say(db, dispatch, "aborted", 402)

    assert len(moves(db, row)) == 1
    assert sent_to(claim_of(db, SECOND)) == {number(0)}


def test_long_text_stays_failed_in_the_network(db: Connection) -> None:
    """Its parts may have arrived."""
    allow_network(db)
    row, dispatch = sent(db, body="x" * 200)

    say(db, dispatch, "failed", 1)

    assert column(db, "status", row) == "failed"


AGAINST_A_NETWORK_FAILURE = [
    (FIRST, ("failed", 1), ("unknown", 0)),
    (FIRST, ("expired", 1), ("cancelled", 407)),
    (SECOND, ("failed", 1210), ("unknown", 1330)),
    (SECOND, ("failed", 1210), ("expired", 1360)),
    # These have the rank of the proof, or more.
    (SECOND, ("failed", 1210), ("failed", 1190)),
    (SECOND, ("failed", 1210), ("undeliverable", 1260)),
    (FIRST, ("deleted", 1), ("aborted", 414)),
    # The recipient opted out, or the provider bars the number.
    (SECOND, ("failed", 1210), ("rejected", 1240)),
    (SECOND, ("failed", 1210), ("rejected", 1050)),
]
AGAINST_A_STOP = [
    (FIRST, ("aborted", 402), ("cancelled", 407)),
    (FIRST, ("aborted", 402), ("aborted", 414)),
    (SECOND, ("aborted", 1100), ("aborted", 1470)),
]


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize(("named", "proof", "other"), [*AGAINST_A_NETWORK_FAILURE, *AGAINST_A_STOP])
def test_report_without_proof_stops_a_move(
    db: Connection, named: Named, proof: tuple[str, int], other: tuple[str, int], order: str
) -> None:
    """One of the two is wrong, and nobody knows which. It stops the move in either order, whatever their times are."""
    allow_network(db)
    row, dispatch = sent(db, named)
    both = [proof, other] if order == "after" else [other, proof]

    for minute, (status, code) in enumerate(both):
        word = {"status": "undeliverable"} if status == "undeliverable" else {}
        say(db, dispatch, "failed" if word else status, code, at=f"2026-01-01T00:0{minute}:00Z", raw=json.dumps(word))

    assert claim_of(db, SECOND if named == FIRST else FIRST) == []
    assert column(db, "finalized_at is not null", row)
    known = [status for status, _ in both if status != "undeliverable"]
    assert column(db, "status", row) in (*known, "suppressed")


@pytest.mark.parametrize(("happens", "ends"), [(cancel, "aborted"), (expire, "aborted"), (suppress, "suppressed")])
def test_what_stops_a_message_stops_its_move(db: Connection, happens: Any, ends: str) -> None:
    (row,) = insert(db)
    dispatch = only(claim_of(db, FIRST))
    happens(db, row)
    accept(db, dispatch, batch_of(dispatch))

    say(db, dispatch, "aborted", 402)

    assert claim_of(db, SECOND) == []
    assert column(db, "status", row) == ends


def test_secret_text_moves_within_a_minute_only(db: Connection) -> None:
    """A code that comes later has been asked for again."""
    soon, first = sent(db, secret=True)
    late, other = sent(db, secret=True)

    say(db, first, "aborted", 402)
    later(db, "61 seconds")
    say(db, other, "aborted", 402)

    assert (column(db, "status", soon), column(db, "status", late)) == ("pending", "aborted")


def test_final_status_of_the_engine_stays(db: Connection) -> None:
    """It ended as unknown, because no report came."""
    row, dispatch = sent(db)
    as_engine(db, "update public.outbox set status = 'unknown', finalized_at = outbox_engine.now() where id = %s", [row])

    say(db, dispatch, "aborted", 402)

    assert (column(db, "status", row), moves(db, row)) == ("unknown", [])


def test_waiting_reports_move_too(db: Connection) -> None:
    """A report that came before the acceptance was recorded."""
    (row,) = insert(db)
    dispatch = only(claim_of(db, FIRST))
    say(db, dispatch, "aborted", 402)
    assert column(db, "status", row) == "sending"

    accept(db, dispatch, batch_of(dispatch))

    assert sent_to(claim_of(db, SECOND)) == {number(0)}
