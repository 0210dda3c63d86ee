"""A message that its plan refused, or cannot send, goes to another plan of its route, once for each."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.attempts import left_without_proof
from tests.calls import accept, cancel, claim_all, expire, refuse, sent_to, suppress
from tests.engine import column, history, insert, later, number, statuses
from tests.moving import THIRD, alarms, begin, claim_of, moves, only, upkeep
from tests.shares import FIRST, SECOND, Named, weigh
from tests.stack import Connection


@pytest.fixture(autouse=True)
def _two_plans(db: Connection) -> Iterator[None]:
    begin(db)
    yield
    assert left_without_proof(db) == []


@pytest.mark.parametrize("why", ["recipient", "shared"])
@pytest.mark.parametrize("named", [FIRST, SECOND])
def test_refused_message_goes_to_the_other_plan(db: Connection, why: str, named: Named) -> None:
    other = SECOND if named == FIRST else FIRST
    if named == SECOND:
        db.execute("select outbox_engine.pause_plan('sinch', 'p', 'operator', 'c', 'maintenance', 60)")
    (row,) = insert(db)
    refuse(db, only(claim_of(db, named)), why, "HTTP 400 no")

    db.execute("delete from outbox_engine.plan_pauses")
    assert claim_of(db, named) == []
    assert sent_to(claim_of(db, other)) == {number(0)}
    assert moves(db, row) == [f"{' '.join(named)} refused it (HTTP 400 no): goes on without that plan"]


def test_each_plan_refuses_once(db: Connection) -> None:
    claim_of(db, THIRD)
    (row,) = insert(db)

    for named, said in ((FIRST, "HTTP 400 one"), (SECOND, "HTTP 422 two"), (THIRD, "HTTP 400 three")):
        refuse(db, only(claim_of(db, named)), "recipient", said)

    assert (column(db, "status", row), column(db, "error", row)) == ("failed", "HTTP 400 three")
    assert column(db, "attempts", row) == 3
    assert history(db, row) == ["moved", "moved", "refused"]
    assert [claim_of(db, named) for named in (FIRST, SECOND, THIRD)] == [[], [], []]


def test_refused_message_keeps_what_is_its_own(db: Connection) -> None:
    (row,) = insert(db, idempotency_key="order 7", priority=50)
    before = [column(db, name, row) for name in ("expires_at", "idempotency_key", "priority", "due_at", "created_at")]

    refuse(db, only(claim_of(db, FIRST)))

    assert [column(db, name, row) for name in ("expires_at", "idempotency_key", "priority", "due_at", "created_at")] == before


def test_processes_of_one_account_share_a_queue(db: Connection) -> None:
    """Without routes none of them stands by. What one refuses goes to the other, which was idle all the time."""
    db.execute("delete from outbox_engine.plans")
    alone = [{"provider": provider, "plan": plan} for provider, plan in (FIRST, SECOND)]
    assert [claim_all(db, **one) for one in alone] == [[], []]
    first, *_ = insert(db, 4)

    refuse(db, only(claim_all(db, **alone[0], rows=1)))

    assert len(moves(db, first)) == 1
    assert sent_to(claim_all(db, **alone[1], rows=2)) == {number(0), number(1)}
    assert sent_to(claim_all(db, **alone[0], rows=1)) == {number(2)}
    assert sent_to(claim_all(db, **alone[1])) == {number(3)}


def test_plan_without_a_process_today_gets_nothing(db: Connection) -> None:
    """The message would wait for nobody. A shorter absence counts as none."""
    one, two = insert(db, 2)
    later(db, "23 hours")
    refuse(db, only(claim_of(db, FIRST, rows=1)))
    assert column(db, "status", one) == "pending"

    later(db, "2 hours")
    refuse(db, only(claim_of(db, FIRST, rows=1)))
    assert column(db, "status", two) == "failed"


def test_provider_that_is_not_listed_moves_nothing(db: Connection) -> None:
    (row,) = insert(db)
    dispatch = only(claim_of(db, FIRST))
    db.execute("delete from outbox_engine.move_proofs where outcome = 'refused'")

    refuse(db, dispatch)

    assert column(db, "status", row) == "failed"


@pytest.mark.parametrize(("happens", "ends"), [(cancel, "cancelled"), (expire, "expired"), (suppress, "suppressed")])
def test_message_that_must_not_go_does_not_move(db: Connection, happens: Any, ends: str) -> None:
    (row,) = insert(db)
    dispatch = only(claim_of(db, FIRST))
    happens(db, row)

    refuse(db, dispatch)
    claim_of(db, FIRST)

    assert claim_of(db, SECOND) == []
    assert column(db, "status", row) == ends


def test_bad_number_of_a_batch_moves_alone(db: Connection) -> None:
    insert(db, 4)
    one, other = refuse(db, only(claim_of(db, FIRST)), "shared")
    accept(db, one, "B1")
    bad, good = refuse(db, other, "shared")
    accept(db, good, "B2")
    refuse(db, bad, "shared")

    assert sent_to(claim_of(db, SECOND)) == set(bad["recipients"])
    assert statuses(db) == {"sent": 3, "sending": 1}


def test_refused_content_goes_to_the_other_plan(db: Connection) -> None:
    """Once three messages were refused alone, all others, and those to come, go without being tried here."""
    rows = insert(db, 20)
    halves = refuse(db, only(claim_of(db, FIRST)), "shared")
    singles = [single for half in halves for single in refuse(db, half, "shared")]
    for single in singles:
        assert refuse(db, single, "shared") == []
    assert len(singles) == 3

    late = insert(db, 5, first=50)
    assert claim_of(db, FIRST) == []

    assert sent_to(claim_of(db, SECOND)) == {column(db, "recipient", row) for row in rows + late}
    assert moves(db, late[0]) == ["sinch p refuses its sender or text (HTTP 400 no): goes on without that plan"]
    assert db.execute("select count(*) from outbox_engine.held_messages").fetchone() == (0,)


def hold(db: Connection) -> None:
    """The first plan refuses a content three times, and its messages move."""
    insert(db, 3)
    for dispatch in [only(claim_of(db, FIRST, rows=1)) for _ in range(3)]:
        refuse(db, dispatch, "shared")
    assert len(sent_to(claim_of(db, SECOND))) == 3


def test_content_is_probed_again_at_its_plan(db: Connection) -> None:
    """One message at a time; it moves too if it is refused."""
    hold(db)
    later(db, "61 seconds")
    probe, other = insert(db, 2, first=10)
    dispatch = only(claim_of(db, FIRST))
    assert dispatch["recipients"] == [column(db, "recipient", probe)]

    refuse(db, dispatch, "shared")

    claim_of(db, FIRST)
    assert sent_to(claim_of(db, SECOND)) == {column(db, "recipient", row) for row in (probe, other)}


def test_accepted_probe_brings_the_content_back(db: Connection) -> None:
    hold(db)
    later(db, "61 seconds")
    insert(db, 1, first=10)
    accept(db, only(claim_of(db, FIRST)), "B1")

    insert(db, 2, first=20)

    assert len(sent_to(claim_of(db, FIRST))) == 2


def test_held_messages_move_once_they_may(db: Connection) -> None:
    """They were held while no other plan had a process."""
    db.execute("delete from outbox_engine.heartbeats where provider = 'vonage'")
    rows = insert(db, 5)
    for dispatch in [only(claim_of(db, FIRST, rows=1)) for _ in range(3)]:
        refuse(db, dispatch, "shared")
    claim_of(db, FIRST)
    assert statuses(db) == {"failed": 3, "scheduled": 2}

    later(db, "61 seconds")
    claim_of(db, SECOND)
    claim_of(db, FIRST)

    assert sent_to(claim_of(db, SECOND)) == {column(db, "recipient", row) for row in rows[3:]}


@pytest.mark.parametrize("then", ["another plan", "the probe", "the end of the hold"])
def test_held_message_goes_at_its_new_time(db: Connection, then: str) -> None:
    """Its app puts it off while it is held. Neither another plan nor the end of the hold sends it before."""
    db.execute("delete from outbox_engine.heartbeats where provider = 'vonage'")
    *_, row = insert(db, 4)
    for dispatch in [only(claim_of(db, FIRST, rows=1)) for _ in range(3)]:
        refuse(db, dispatch, "shared")
    claim_of(db, FIRST)
    assert db.execute("select outbox_id from outbox_engine.held_messages").fetchall() == [(row,)]
    db.execute("select public.outbox_reschedule(%s, p_send_at => outbox_engine.now() + interval '1 day')", [row])

    later(db, "61 seconds")
    if then == "another plan":
        claim_of(db, SECOND)
    elif then == "the end of the hold":
        db.execute("update outbox_engine.refused_contents set held_since = null, probe_at = null, is_lifted = true")

    assert claim_of(db, FIRST) + claim_of(db, SECOND) == []
    later(db, "1 day")
    assert sent_to(claim_of(db, FIRST)) == {column(db, "recipient", row)}


@pytest.mark.parametrize("why", ["unreachable", "throttled", "account"])
def test_refused_probe_waits_only_for_its_plan(db: Connection, why: str) -> None:
    (row,) = insert(db)
    refuse(db, only(claim_of(db, FIRST)), why)
    later(db, "11 minutes")
    probe = only(claim_of(db, FIRST))
    assert claim_of(db, SECOND) == []

    refuse(db, probe, why, retry_after=60)

    assert (column(db, "queue", row), moves(db, row)) == ("r", [])
    assert sent_to(claim_of(db, SECOND)) == {number(0)}


def test_messages_without_a_plan_end_with_the_reason(db: Connection) -> None:
    """All plans of the route but the one that refused it were taken out of the configuration."""
    weigh(db, {FIRST: 100, SECOND: 0})
    row, waits = insert(db, 2)
    refuse(db, only(claim_all(db, rows=1)))

    db.execute("delete from public.outbox_route_plans where provider = 'vonage'")
    upkeep(db)

    assert column(db, "error", row) == "no plan is left to send it: sinch p refused it (HTTP 400 no): goes on without that plan"
    assert (column(db, "status", row), column(db, "status", waits)) == ("failed", "pending")


@pytest.mark.parametrize("downtime", [True, False])
def test_plan_away_for_a_day_is_none(db: Connection, downtime: bool) -> None:
    """After a downtime of everything, its processes have an hour to come back."""
    (row,) = insert(db)
    refuse(db, only(claim_of(db, FIRST)))
    upkeep(db)

    later(db, "25 hours")
    upkeep(db)
    assert column(db, "status", row) == "pending"
    if downtime:
        claim_of(db, SECOND)
    else:
        later(db, "61 minutes")
    upkeep(db)

    assert column(db, "status", row) == ("sending" if downtime else "failed")


def test_route_without_plans_raises_an_alarm(db: Connection) -> None:
    """Once an hour, and once messages have waited for a minute."""
    insert(db)
    refuse(db, only(claim_of(db, FIRST)))
    later(db, "50 seconds")
    claim_of(db, FIRST)
    upkeep(db)
    assert alarms(db, "route.without_plans") == []

    for _ in range(2):
        later(db, "30 seconds")
        claim_of(db, FIRST)
        upkeep(db)

    assert alarms(db, "route.without_plans") == [{"route": "default without sinch p", "plans": ["vonage app"]}]


# What a provider cannot send


@pytest.mark.parametrize(
    ("recipient", "named", "ends"),
    [("+61491570006", SECOND, "sending"), ("+493023125000", FIRST, "failed"), ("+12025550123", FIRST, "sending")],
)
def test_picture_goes_where_its_provider_sends_it(db: Connection, recipient: str, named: Named, ends: str) -> None:
    """Vonage sends no MMS to Australia, and neither provider sends any to Germany."""
    weigh(db, {SECOND: 100, FIRST: 0})
    found = db.execute(
        "insert into public.outbox (recipient, body, media_url) values (%s, 'look', 'https://example.com/a.png') returning id",
        [recipient],
    ).fetchone()
    assert found is not None
    row = int(str(found[0]))

    taken = claim_of(db, SECOND)
    if taken == []:
        claim_of(db, FIRST)

    assert column(db, "status", row) == ends
    assert (taken == []) == (recipient != "+12025550123")
    assert len(moves(db, row)) == int(named == SECOND)


def test_trace_tells_each_attempt_and_why(db: Connection) -> None:
    (row,) = insert(db)
    refuse(db, only(claim_of(db, FIRST)), "recipient", "HTTP 400 no")
    later(db, "1 second")
    accept(db, only(claim_of(db, SECOND)), "B2")

    found: Any = db.execute("select public.outbox_trace(%s, false)", [row]).fetchone()

    trace = found[0]
    assert trace["message"]["route"] == "default without sinch p"
    assert [
        f"{event['event']}: {event['detail']}" for event in trace["timeline"] if event["event"] in ("claimed", "moved")
    ] == [
        "claimed: by w, plan sinch p, 1 recipient",
        "moved: sinch p refused it (HTTP 400 no): goes on without that plan",
        "claimed: by w, plan vonage app, 1 recipient",
    ]


def test_operator_has_it_sent_by_any_plan(db: Connection) -> None:
    """What all plans refused may be fixed by now, such as a sender."""
    (row,) = insert(db)
    refuse(db, only(claim_of(db, FIRST)))
    refuse(db, only(claim_of(db, SECOND)))
    assert column(db, "status", row) == "failed"

    db.execute("select public.outbox_retry(array[%s::bigint], false, null, false)", [row])

    assert sent_to(claim_of(db, FIRST)) == {number(0)}
