"""What lowers the weight of a plan, what raises it again, and what an operator pins."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import calls
from tests.engine import insert, later, stand_still
from tests.shares import FIRST, SECOND, Named, both_alive, pause, tick, took, weigh
from tests.stack import Connection


def fail(db: Connection, requests: int, named: Named = FIRST, *, of: int = 1000) -> None:
    """So many of the requests that the plan made failed."""
    ask(db, of)
    db.execute("select outbox_engine.count_failed_requests(%s, %s, %s, outbox_engine.now())", [*named, requests])


def upkeep(db: Connection) -> None:
    db.execute("select public.outbox_run_upkeep('{}', 100)")


def lost(db: Connection, country: str = "") -> int | None:
    row = db.execute("select lost from outbox_engine.plan_health where country = %s", [country]).fetchone()
    return None if row is None else int(str(row[0]))


def test_fifty_failed_requests_are_let_pass(db: Connection) -> None:
    both_alive(db)
    fail(db, 50)
    assert lost(db) is None

    fail(db, 1)
    assert lost(db) == 10


def test_weight_falls_once_a_minute(db: Connection) -> None:
    both_alive(db)
    fail(db, 60)
    fail(db, 60)
    assert lost(db) == 10

    later(db, "61 seconds")
    fail(db, 60)
    assert lost(db) == 20


def test_failures_of_an_hour_count_a_minute(db: Connection) -> None:
    both_alive(db)
    for _ in range(10):
        fail(db, 40)
        later(db, "61 seconds")
    assert lost(db) is None


@pytest.mark.parametrize(("why", "counts"), [("throttled", 1), ("unreachable", 1), ("account", 0), ("shared", 0)])
def test_refusal_counts_where_no_message_is_to_blame(db: Connection, why: str, counts: int) -> None:
    both_alive(db)
    insert(db, 1)
    calls.refuse(db, calls.claim(db, position=0), why)

    assert db.execute("select coalesce(sum(requests), 0)::integer from outbox_engine.failed_requests").fetchone() == (counts,)


def test_ambiguous_request_counts(db: Connection) -> None:
    both_alive(db)
    insert(db, 1)
    calls.mark_ambiguous(db, calls.claim(db, position=0))

    assert db.execute("select sum(requests)::integer from outbox_engine.failed_requests").fetchone() == (1,)


def ask(db: Connection, requests: int) -> None:
    """The first plan made so many requests just now."""
    db.execute("select outbox_engine.count_requests('sinch', 'p', 'send', %s, outbox_engine.now())", [requests])


def lose_answer(db: Connection) -> None:
    """The first plan claims a message or more, and hears nothing of the request."""
    calls.mark_ambiguous(db, calls.claim(db, position=0, rows=1))


def test_one_lost_answer_moves_nothing(db: Connection) -> None:
    """The next request is accepted, so the plan can send."""
    both_alive(db)
    insert(db, 10)
    lose_answer(db)
    calls.accept(db, calls.claim(db, position=0, rows=1), "01-batch")

    tick(db, FIRST, SECOND, seconds=5)
    assert took(db, SECOND, position=1) == 0


def test_plan_that_does_not_answer_hands_over(db: Connection) -> None:
    """Two ticks after the first lost answer, also where few large requests are made."""
    both_alive(db)
    insert(db, 10)
    lose_answer(db)
    tick(db, FIRST, SECOND, seconds=1)
    assert took(db, SECOND, position=1) == 0

    tick(db, FIRST, SECOND, seconds=1)
    assert took(db, SECOND, position=1, rows=4) == 4
    assert took(db, FIRST, position=0) == 1
    reason = "through vonage app, because sinch p is paused (unreachable): no answer: timeout"
    assert db.execute("select distinct detail from public.outbox_events where event = 'routed'").fetchall() == [(reason,)]


def test_tries_of_a_silent_provider_become_rare(db: Connection) -> None:
    """Each may cost a message whose outcome nobody learns."""
    both_alive(db)
    insert(db, 60)
    lose_answer(db)
    later(db, "1 second")
    lost_messages = 0
    for _ in range(60):
        tick(db, FIRST, SECOND, seconds=1)
        for dispatch in calls.claim_all(db, position=0):
            lost_messages += len(dispatch["recipients"])
            calls.mark_ambiguous(db, dispatch)

    assert 3 <= lost_messages <= 8


def test_silent_stand_by_is_given_no_message(db: Connection) -> None:
    """It stood in and did not answer. Where the first plan sends again, each try could lose a message for nothing."""
    both_alive(db)
    pause(db, FIRST, "operator", 3600)
    insert(db)
    calls.mark_ambiguous(db, calls.claim(db, provider="vonage", plan="app", position=1))
    db.execute("delete from outbox_engine.plan_pauses where kind = 'operator'")
    insert(db, 100, first=1)

    for _ in range(3):
        tick(db, FIRST, seconds=40)
        assert took(db, SECOND, position=1) == 0

    pause(db, FIRST, "operator", 3600)
    assert took(db, SECOND, position=1) == 100


@pytest.mark.parametrize(("requests", "is_paused"), [(102, True), (103, False)])
def test_provider_that_never_answers_is_paused(db: Connection, requests: int, is_paused: bool) -> None:
    """Where half of the requests come to nothing, others send meanwhile, and one message at a time finds out."""
    both_alive(db)
    insert(db, 10)
    fail(db, 51, of=requests)

    later(db, "2 seconds")
    pauses = db.execute("select kind, reason from outbox_engine.plan_pauses").fetchall()
    assert pauses == [("unreachable", "51 requests in a minute came to nothing, or were never answered")] * is_paused
    assert took(db, FIRST, position=0) == (1 if is_paused else 10)


def test_weight_loss_among_carriers_is_no_news(db: Connection) -> None:
    """The history tells only of messages that went another way than usual."""
    weigh(db, {FIRST: 50, SECOND: 50})
    both_alive(db)
    insert(db, 60)
    fail(db, 51)

    assert (took(db, SECOND, rows=30), took(db, FIRST, rows=30)) == (30, 30)
    assert db.execute("select count(*) from public.outbox_events where event = 'routed'").fetchone() == (0,)


def test_single_plan_counts_nothing(db: Connection) -> None:
    insert(db, 1)
    calls.mark_ambiguous(db, calls.claim(db))

    assert db.execute("select count(*) from outbox_engine.failed_requests").fetchone() == (0,)


def test_lost_weight_goes_to_the_next_plan(db: Connection) -> None:
    """A tenth of the messages, within the hundred that a share may be passed by."""
    both_alive(db)
    insert(db, 2000)
    fail(db, 51)

    assert took(db, SECOND, position=1, rows=2000) == 111
    assert took(db, FIRST, position=0, rows=2000) == 1889


def test_weight_comes_back_after_quiet_minutes(db: Connection) -> None:
    both_alive(db)
    for _ in range(2):
        fail(db, 51)
        later(db, "61 seconds")
    assert lost(db) == 20

    seen = []
    for _ in range(5):
        later(db, "8 minutes")
        upkeep(db)
        seen.append(lost(db))
    assert seen == [20, 10, 10, 0, 0]


def test_trouble_keeps_the_weight_down(db: Connection) -> None:
    both_alive(db)
    fail(db, 51)
    later(db, "14 minutes")
    fail(db, 51)
    later(db, "14 minutes")
    upkeep(db)

    assert lost(db) == 20


def test_pinned_weight_stays(db: Connection) -> None:
    both_alive(db)
    db.execute("select public.outbox_pin_plan('sinch', 'p', null, 30::smallint, true)")
    fail(db, 51)
    assert lost(db) == 30

    later(db, "1 hour")
    upkeep(db)
    assert lost(db) == 30

    db.execute("select public.outbox_pin_plan('sinch', 'p', null, null, false)")
    fail(db, 51)
    later(db, "61 seconds")
    fail(db, 51)
    assert lost(db) == 40


# Slowness


def deliver(
    db: Connection, *, slow: int, quick: int, named: Named = FIRST, ago: str = "10 minutes", source: str = "webhook"
) -> None:
    """Messages that a plan took so long ago: ``slow`` ones that are open, ``quick`` ones delivered within seconds."""
    provider, plan = named
    at = db.execute("select outbox_engine.now() - %s::interval", [ago]).fetchone()
    assert at is not None
    db.execute(
        """
        with made as (
          insert into outbox_engine.dispatches (id, claim_id, worker, provider, plan, host, credential, expires_at, recipients,
            state, lease_token, lease_until, deadline, claimed_at, accepted_at, batch_id)
          values (gen_random_uuid(), gen_random_uuid(), 'w', %(provider)s, %(plan)s, 'h', 'c', now(), 1, 'accepted',
            nextval('outbox_engine.lease_tokens'), now(), '1 second', %(at)s, %(at)s, gen_random_uuid()::text)
          returning id, batch_id
        ),
        messages as (
          select o.id, row_number() over (order by o.id) as n from public.outbox o where o.dispatch_id is null
            and o.queue is not null order by o.id limit %(all)s
        ),
        sent as (
          update public.outbox o set status = 'sent', queue = null,
            dispatch_id = made.id, batch_id = made.batch_id, sent_at = %(at)s
          from messages, made where o.id = messages.id
        ),
        accepted as (
          insert into public.outbox_events (outbox_id, at, source, event, status, dispatch_id)
          select m.id, %(at)s, 'engine', 'accepted', 'sent', made.id from messages m, made order by m.id
        )
        insert into public.outbox_events (outbox_id, at, source, event, status, dispatch_id, occurred_at)
        select m.id, %(at)s, %(source)s, 'report', 'delivered', made.id, %(at)s::timestamptz + interval '3 seconds'
        from messages m, made where m.n > %(slow)s order by m.id
        """,
        {"provider": provider, "plan": plan, "at": at[0], "all": slow + quick, "slow": slow, "source": source},
    )


@pytest.fixture
def delivering(db: Connection) -> Iterator[Connection]:
    """Both plans carry half; yesterday nine of ten texts of the first were delivered."""
    stand_still(db)
    weigh(db, {FIRST: 50, SECOND: 50})
    took(db, FIRST)
    took(db, SECOND)
    db.execute("select set_config('session_replication_role', 'replica', false)")
    db.execute(
        "insert into public.outbox"
        " (recipient, body, send_at, expires_at, priority, status, attempts, created_at, queue, due_at)"
        " select '+4477009' || 10000 + n, 'hello', now(), now() + '1 day', 100, 'pending', 0, now(), 'w', now() + '1 day'"
        " from generate_series(1, 1000) n"
    )
    deliver(db, slow=10, quick=90, ago="30 hours")
    yield db
    db.execute("reset session_replication_role")


def alive(db: Connection) -> None:
    tick(db, FIRST, SECOND, seconds=0)


def test_slow_plan_loses_weight_in_that_country(delivering: Connection) -> None:
    db = delivering
    deliver(db, slow=15, quick=85)
    alive(db)
    upkeep(db)

    assert lost(db, "GB") == 10
    assert lost(db) is None
    assert db.execute("select reason from outbox_engine.plan_health").fetchone() == (
        "15 of 100 texts to GB were not delivered within 5 minutes",
    )
    assert db.execute("select route, without, country from outbox_engine.detours").fetchall() == [(0, [], "GB")]


@pytest.mark.parametrize(
    "case",
    [
        {"slow": 14, "quick": 86},
        {"slow": 99, "quick": 0},
        {"slow": 15, "quick": 85, "source": "reconcile"},
        {"slow": 15, "quick": 85, "ago": "25 minutes"},
        {"slow": 15, "quick": 85, "ago": "4 minutes"},
    ],
    ids=["quick enough", "too few", "no callbacks", "long ago", "too early to say"],
)
def test_plan_is_not_called_slow(delivering: Connection, case: dict[str, Any]) -> None:
    deliver(delivering, **case)
    alive(delivering)
    upkeep(delivering)

    assert delivering.execute("select count(*) from outbox_engine.plan_health").fetchone() == (0,)


def test_nobody_loses_where_all_are_slow(delivering: Connection) -> None:
    deliver(delivering, slow=50, quick=60)
    deliver(delivering, slow=50, quick=60, named=SECOND)
    alive(delivering)
    upkeep(delivering)

    assert delivering.execute("select count(*) from outbox_engine.plan_health").fetchone() == (0,)


def test_country_with_few_receipts_is_not_judged(delivering: Connection) -> None:
    deliver(delivering, slow=90, quick=10, ago="31 hours")
    deliver(delivering, slow=50, quick=60)
    alive(delivering)
    upkeep(delivering)

    assert delivering.execute("select count(*) from outbox_engine.plan_health").fetchone() == (0,)


def test_clock_that_is_off_makes_nobody_slow(delivering: Connection) -> None:
    db = delivering
    deliver(db, slow=5, quick=105)
    db.execute("update public.outbox_events set occurred_at = occurred_at + interval '1 hour' where event = 'report'")
    db.execute("select outbox_engine.record_clock('provider', 'sinch p', 3600)")
    alive(db)
    upkeep(db)

    assert db.execute("select count(*) from outbox_engine.plan_health").fetchone() == (0,)


def test_health_is_judged_once_a_minute(delivering: Connection) -> None:
    deliver(delivering, slow=50, quick=60)
    alive(delivering)
    due = "select outbox_engine.health_due(outbox_engine.now())"
    assert delivering.execute(due).fetchone() == (True,)
    upkeep(delivering)

    assert delivering.execute(due).fetchone() == (False,)
    later(delivering, "61 seconds")
    assert delivering.execute(due).fetchone() == (True,)
