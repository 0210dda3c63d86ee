"""Which plan takes what: weights, plans that stand by, failover of waiting rows, and the way back."""

from collections import Counter

import pytest

from tests import calls
from tests.engine import insert, later
from tests.shares import FIRST, SECOND, Named, both_alive, pause, tick, tick_of, took, weigh
from tests.stack import Connection


def events(db: Connection, event: str) -> Counter[str]:
    return Counter(str(detail) for (detail,) in db.execute("select detail from public.outbox_events where event = %s", [event]))


def test_second_account_stands_by(db: Connection) -> None:
    both_alive(db)
    insert(db, 10)

    assert took(db, SECOND, position=1) == 0
    assert took(db, FIRST, position=0) == 10


def test_single_account_notes_nothing(db: Connection) -> None:
    """A project with one plan pays nothing."""
    insert(db, 3)

    assert took(db, FIRST) == 3
    assert db.execute("select asked_at, spent_since, position from outbox_engine.plans").fetchall() == [(None, None, None)]
    assert db.execute("select count(*) from outbox_engine.route_sends").fetchone() == (0,)


@pytest.mark.parametrize("kind", ["account", "unreachable", "throttled"])
def test_waiting_rows_go_to_the_next_plan(db: Connection, kind: str) -> None:
    """At the next claim: a pause of a minute is long enough to count at once."""
    both_alive(db)
    insert(db, 10)
    pause(db, FIRST, kind)

    assert took(db, SECOND, position=1) == 10
    assert events(db, "routed") == {f"through vonage app, because sinch p is paused ({kind}): HTTP 503 away": 10}


def test_short_pause_moves_nothing_at_first(db: Connection) -> None:
    """A provider that answers 429 pauses its plan for a second. After two ticks of that, the other one helps."""
    both_alive(db)
    insert(db, 10)
    pause(db, FIRST, "throttled", 1)
    assert took(db, SECOND, position=1) == 0

    tick(db, FIRST, SECOND, seconds=1)
    pause(db, FIRST, "throttled", 1)
    assert took(db, SECOND, position=1) == 10


def test_plan_at_its_rate_is_helped(db: Connection) -> None:
    """After two ticks in which it left rows behind."""
    both_alive(db, rate=10)
    insert(db, 100)
    assert took(db, FIRST, position=0, rate=10) == 10
    assert took(db, SECOND, position=1) == 0

    tick(db, FIRST, SECOND, seconds=2)
    assert took(db, SECOND, position=1, rows=40) == 40
    assert took(db, FIRST, position=0, rate=10) == 10
    assert next(iter(events(db, "routed"))).endswith("because sinch p is at the limit of its rate")


def test_plan_that_keeps_up_is_not_helped(db: Connection) -> None:
    both_alive(db, rate=10)
    insert(db, 10)
    assert took(db, FIRST, position=0, rate=10) == 10

    tick(db, FIRST, SECOND, seconds=2)
    insert(db, 5, first=20)
    assert took(db, SECOND, position=1) == 0


def test_plan_that_caught_up_is_helped_no_more(db: Connection) -> None:
    """Others took what its rate left behind, so none of its own claims found anything more."""
    both_alive(db, rate=10)
    insert(db, 30)
    assert took(db, FIRST, position=0, rate=10) == 10
    tick(db, FIRST, SECOND, seconds=2)
    assert took(db, SECOND, position=1) == 20
    assert took(db, FIRST, position=0, rate=10) == 0

    insert(db, 5, first=50)
    assert took(db, SECOND, position=1) == 0


def test_clock_set_back_shows_no_process(db: Connection) -> None:
    """The latest claim of a plan whose process has ended lies in the future."""
    both_alive(db)
    insert(db, 10)
    later(db, "-3 hours")

    assert [tick_of(db, SECOND) for _ in range(4)] == [0, 0, 0, 10]


def test_silent_plan_gives_up_its_turn(db: Connection) -> None:
    both_alive(db)
    insert(db, 10)

    db.execute("select public.outbox_end_process('w')")
    assert [tick_of(db, SECOND) for _ in range(3)] == [0, 0, 10]
    assert next(iter(events(db, "routed"))).endswith("because sinch p has no running process")


def test_plan_comes_back_with_one_message(db: Connection) -> None:
    """Its pause has run, but nothing was accepted since: a whole claim would be refused again."""
    both_alive(db)
    pause(db, FIRST, "unreachable", 3)
    tick(db, FIRST, SECOND, seconds=4)
    insert(db, 10)

    dispatch = calls.claim(db, position=0)
    assert len(dispatch["recipients"]) == 1
    assert took(db, SECOND, position=1, rows=5) == 5

    calls.accept(db, dispatch, "01-batch")
    assert took(db, SECOND, position=1) == 0
    assert took(db, FIRST, position=0) == 4


def test_weights_divide_the_load(db: Connection) -> None:
    """Each stays within 100 of its share, whoever claims more often."""
    weigh(db, {FIRST: 75, SECOND: 25})
    both_alive(db)
    insert(db, 2000)

    taken: Counter[Named] = Counter()
    for named in (SECOND, SECOND, FIRST) * 30:
        taken[named] += took(db, named, rows=100)
        assert taken[SECOND] <= 0.25 * taken.total() + 100
        assert taken[FIRST] <= 0.75 * taken.total() + 100
    assert taken.total() > 1500


def test_held_back_by_its_weight_says_so(db: Connection) -> None:
    weigh(db, {FIRST: 50, SECOND: 50})
    both_alive(db)
    insert(db, 500)
    assert took(db, SECOND, rows=500) == 200

    answer = calls.claim_answer(db, provider="vonage", plan="app")

    assert (answer["dispatches"], answer["limited"], answer["more"]) == ([], "weight", True)
    assert 0 < answer["wait_seconds"] <= 1


def test_share_is_of_plans_that_can_send(db: Connection) -> None:
    """What a plan took before it stopped makes room for no other."""
    both_alive(db)
    third = ("sinch", "q")
    weigh(db, {FIRST: 50, SECOND: 25, third: 25})
    assert took(db, third, position=2) == 0
    insert(db, 1000)
    for named in (FIRST, FIRST, SECOND, third):
        db.execute(
            "insert into outbox_engine.route_sends values (0, date_trunc('minute', outbox_engine.now()), %s, %s, 400)"
            " on conflict (route, minute, provider, plan) do update set messages = 800",
            [*named],
        )
    pause(db, FIRST, "operator")

    assert (took(db, SECOND, position=1, rows=1000), took(db, third, position=2, rows=1000)) == (200, 400)


def test_plan_left_alone_is_not_held_back(db: Connection) -> None:
    weigh(db, {FIRST: 50, SECOND: 50})
    both_alive(db)
    insert(db, 500)
    pause(db, FIRST, "operator")

    assert took(db, SECOND, rows=500) == 500


def test_weight_change_moves_waiting_rows(db: Connection) -> None:
    weigh(db, {FIRST: 100, SECOND: 0})
    both_alive(db)
    insert(db, 300)
    assert took(db, SECOND) == 0

    db.execute("update public.outbox_route_plans set weight = 100 - weight")

    assert took(db, FIRST) == 0
    assert took(db, SECOND, rows=300) == 300


def test_first_plan_that_can_send_stands_in(db: Connection) -> None:
    """Of those with weight 0, in their order."""
    third = ("sinch", "q")
    weigh(db, {FIRST: 100, SECOND: 0, third: 0})
    both_alive(db)
    took(db, third)
    insert(db, 10)
    pause(db, FIRST, "operator")

    assert took(db, third) == 0
    assert took(db, SECOND, rows=5) == 5
    pause(db, SECOND, "operator")
    assert took(db, third) == 5


def test_plan_takes_only_its_routes(db: Connection) -> None:
    weigh(db, {FIRST: 100})
    weigh(db, {SECOND: 100}, route=7)
    both_alive(db)
    insert(db, 3, priority=0)
    insert(db, 5, first=10)

    assert took(db, SECOND) == 3
    assert took(db, FIRST) == 5


def test_detour_leaves_a_plan_out(db: Connection) -> None:
    both_alive(db)
    refused = insert(db, 3)
    db.execute("update public.outbox set route = outbox_engine.make_detour(0::smallint, '{sinch p}', null)")
    insert(db, 5, first=10)

    assert took(db, FIRST, position=0) == 5
    assert took(db, SECOND, position=1) == 3
    assert db.execute(
        "select count(*) from public.outbox where dispatch_id is null and id = any (%s)", [refused]
    ).fetchone() == (0,)


def test_share_is_taken_in_large_steps(db: Connection) -> None:
    """A plan that is ahead waits until it may take fifty, so that requests do not shrink to a few messages."""
    weigh(db, {FIRST: 50, SECOND: 50})
    both_alive(db)
    insert(db, 600)
    assert took(db, SECOND, rows=500) == 200

    assert took(db, FIRST, rows=90) == 90
    assert took(db, SECOND) == 0
    assert took(db, FIRST, rows=20) == 20
    assert took(db, SECOND, rows=500) == 110


def test_plan_that_just_woke_up_waits(db: Connection) -> None:
    """All may have been away together, as in an outage of the database. After two ticks and a second it knows better."""
    both_alive(db)
    insert(db, 10)

    later(db, "1 hour")
    assert took(db, SECOND, position=1) == 0
    assert [tick_of(db, SECOND) for _ in range(3)] == [0, 0, 10]


def test_single_run_waits_for_no_silent_plan(db: Connection) -> None:
    both_alive(db)
    insert(db, 10)

    later(db, "1 hour")
    assert took(db, SECOND, position=1, tick=None) == 10


def test_rows_in_another_claim_are_waited_for(db: Connection, other: Connection) -> None:
    """They may be left by it, so the tick must not end."""
    weigh(db, {FIRST: 50, SECOND: 50})
    both_alive(db)
    insert(db, 3)
    with other.transaction():
        other.execute("select from public.outbox for update")
        answer = calls.claim_answer(db)

    assert (answer["dispatches"], answer["more"], answer["limited"]) == ([], True, "weight")


def test_small_claims_leave_a_plan_at_its_rate(db: Connection) -> None:
    """Its free slots were few, so it took less than its rate allows, and rows are left all the same."""
    weigh(db, {FIRST: 50, SECOND: 50})
    both_alive(db, rate=30)
    insert(db, 2000)
    assert took(db, FIRST, rate=30) == 30
    for _ in range(2):
        tick(db, FIRST, SECOND, seconds=1)
        assert took(db, FIRST, rate=30, rows=20) == 20
        assert took(db, FIRST, rate=30, rows=20) == 10

    assert took(db, SECOND, rows=1000) == 1000


def test_busy_plan_is_not_called_dead(db: Connection) -> None:
    """All its requests are open, so it claims nothing. Its heartbeat is young."""
    both_alive(db)
    insert(db, 10)
    assert [tick_of(db, SECOND) for _ in range(3)] == [0, 0, 10]

    assert next(iter(events(db, "routed"))).endswith("because sinch p has claimed nothing for two ticks")
