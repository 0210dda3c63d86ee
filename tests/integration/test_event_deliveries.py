"""Deliveries to endpoints: leases, the schedule of repeats, endpoints that fail, replays, lists."""

import json
from datetime import datetime, timedelta

import pytest

from tests.engine import later, stand_still
from tests.outgoing import add, call, cancelled, deliveries, delivery, endpoints, record, take
from tests.plans import fresh_plans
from tests.races import overlap
from tests.stack import Connection

__all__ = ["fresh_plans"]

WAITS = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]


@pytest.fixture(autouse=True)
def still(db: Connection) -> None:
    stand_still(db)


def seconds_until(db: Connection, at: str) -> float:
    row = db.execute("select outbox_engine.now()").fetchone()
    assert row is not None
    assert isinstance(row[0], datetime)
    return (datetime.fromisoformat(at) - row[0]).total_seconds()


def test_failed_requests_are_repeated_by_schedule(db: Connection) -> None:
    add(db)
    cancelled(db)
    for attempt, wait in enumerate(WAITS, 1):
        (one,) = deliveries(db)
        assert (one["attempt"], one["event_id"]) == (attempt, "evt_1")
        record(db, one, status=500)
        kept = delivery(db, one["id"])
        assert (kept["status"], kept["last_error"], kept["payload"]) == ("pending", "HTTP 500", one["payload"])
        assert 0.9 * wait <= seconds_until(db, kept["next_at"]) <= 1.1 * wait
        later(db, f"{wait * 1.1} seconds")
        # A new success keeps the endpoint from being disabled.
        db.execute("update public.outbox_event_endpoints set failing_since = null")
    (last,) = deliveries(db)
    record(db, last, status=None, error="timeout after 15 s")

    kept = delivery(db, last["id"])
    assert (kept["status"], kept["attempts"], kept["next_at"], kept["payload"]) == ("failed", 10, None, None)
    assert (kept["last_status"], kept["last_error"]) == (None, "timeout after 15 s")
    assert call(db, "list_event_deliveries", "app", "failed")[0]["event_id"] == "evt_1"


@pytest.mark.parametrize(
    ("status", "asked", "least", "most"),
    [(429, 3600, 3600, 3600), (503, 10**7, 86400, 86400), (500, 3600, 4.5, 5.5), (429, None, 4.5, 5.5), (503, 1, 4.5, 5.5)],
)
def test_wait_that_a_server_asks_for(db: Connection, status: int, asked: float | None, least: float, most: float) -> None:
    add(db)
    cancelled(db)
    (one,) = deliveries(db)

    record(db, one, status=status, retry_after_seconds=asked)

    assert least <= seconds_until(db, delivery(db, one["id"])["next_at"]) <= most


def test_lost_process_leaves_its_deliveries_to_others(db: Connection) -> None:
    add(db)
    cancelled(db)
    (lost,) = deliveries(db)
    later(db, "59 seconds")
    assert deliveries(db) == []
    later(db, "1 second")

    (again,) = deliveries(db)

    assert (again["id"], again["payload"], again["attempt"]) == (lost["id"], lost["payload"], 1)
    # A failure of the first one no longer counts, a success does.
    record(db, lost, status=500)
    assert delivery(db, lost["id"])["attempts"] == 0
    record(db, lost)
    assert delivery(db, lost["id"])["status"] == "delivered"
    record(db, again, status=500)
    assert (delivery(db, lost["id"])["status"], delivery(db, lost["id"])["attempts"]) == ("delivered", 1)
    assert db.execute("select from outbox_engine.event_leases").fetchall() == []


def test_clock_set_back_strands_no_delivery(db: Connection) -> None:
    add(db)
    for n in range(2):
        cancelled(db, first=n)
    later(db, "1 year")
    leased, failed = deliveries(db)
    record(db, failed, status=500)
    later(db, "-1 year")

    call(db, "run_upkeep", "{}", 100)

    assert {one["id"] for one in deliveries(db)} == {leased["id"], failed["id"]}


def test_gone_endpoint_is_disabled_at_once(db: Connection) -> None:
    add(db)
    for n in range(3):
        cancelled(db, first=n)
    first, *rest = deliveries(db)

    assert record(db, first, status=410) == {"disabled": [{"endpoint": "app", "reason": "gone"}]}

    assert delivery(db, first["id"])["status"] == "gone"
    assert (endpoints(db)["app"]["disabled_reason"], endpoints(db)["app"]["failed"]) == ("gone", 1)
    assert take(db)["endpoints"] == 0
    alarm = db.execute("select kind, detail from outbox_engine.alarms").fetchone()
    assert alarm == ("event_endpoint.disabled", {"endpoint": "app", "reason": "gone", "error": "HTTP 410"})
    # What waits goes out once somebody enables it.
    later(db, "2 minutes")
    call(db, "set_event_endpoint", "app", p_enabled=True)
    assert [one["id"] for one in deliveries(db)] == [one["id"] for one in rest]


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("by_operator", [False, True])
def test_disabled_endpoint_keeps_unread_events(db: Connection, by_operator: bool, at_once: bool, others: int) -> None:
    """Those of before, which the follower had not come to. Enabled at once, it also gets what happened in between."""
    for name in ("app", "other")[: 1 + others]:
        add(db, name)
    before = [cancelled(db, first=n) for n in range(4)]
    (first,) = [one for one in deliveries(db, most=1 + others) if one["endpoint"] == "app"]
    record(db, first, status=200 if by_operator else 410)
    if by_operator:
        call(db, "set_event_endpoint", "app", p_enabled=False)
    between = cancelled(db, first=4)
    if not at_once:
        while taken := take(db):
            assert {one["endpoint"] for one in taken["deliveries"]} <= {"other"}
            record(db, *taken["deliveries"])
            if not (taken["deliveries"] or taken["more"]):
                break
        assert endpoints(db)["app"]["waiting"] == 3

    call(db, "set_event_endpoint", "app", p_enabled=True)

    found = []
    while leased := deliveries(db):
        record(db, *leased)
        mine = [one for one in leased if one["endpoint"] == "app" and one["type"] == "message.cancelled"]
        found += [json.loads(one["payload"])["data"]["id"] for one in mine]
    assert found == before[1:] + [between] * at_once


def test_endpoint_is_disabled_after_three_days(db: Connection) -> None:
    add(db)
    cancelled(db)
    (one,) = deliveries(db)
    record(db, one, status=500)
    later(db, "71 hours")
    (one,) = deliveries(db)
    assert record(db, one, status=500) == {"disabled": []}
    later(db, "2 hours")
    (one,) = deliveries(db)
    assert record(db, one, status=500) == {"disabled": [{"endpoint": "app", "reason": "failing"}]}


def test_one_success_ends_the_three_days(db: Connection) -> None:
    add(db)
    for n in range(2):
        cancelled(db, first=n)
    one, other = deliveries(db)
    record(db, one, status=500)
    assert endpoints(db)["app"]["failing_since"] is not None
    later(db, "50 seconds")
    record(db, other)
    assert endpoints(db)["app"]["failing_since"] is None
    later(db, "73 hours")
    (one,) = deliveries(db)
    assert record(db, one, status=500) == {"disabled": []}


def test_failing_endpoint_gets_single_probes(db: Connection) -> None:
    add(db)
    for n in range(8):
        cancelled(db, first=n)
    record(db, *deliveries(db, most=3), status=500)
    assert deliveries(db) == []
    later(db, "6 seconds")

    (probe,) = deliveries(db)
    assert deliveries(db) == []
    record(db, probe)

    # Well again: everything that is due goes.
    assert len(deliveries(db)) == 7
    assert endpoints(db)["app"]["probe_at"] is None


def test_test_of_failing_endpoint_goes_first(db: Connection) -> None:
    """It is what an operator sends once the server works again."""
    add(db)
    for n in range(5):
        cancelled(db, first=n)
    record(db, *deliveries(db), status=500)
    later(db, "10 seconds")
    (probe,) = deliveries(db)
    record(db, probe, status=500)
    assert deliveries(db) == []

    event_id = call(db, "test_event", "app")["event_id"]

    assert [one["event_id"] for one in deliveries(db)] == [event_id]


def test_new_endpoint_gets_no_older_notice(db: Connection) -> None:
    add(db)
    db.execute("select outbox_engine.alarm('a.kind', '{}')")
    call(db, "set_event_endpoint", "app", p_enabled=False)
    add(db, "young")
    call(db, "set_event_endpoint", "app", p_enabled=True)

    assert [(one["endpoint"], one["type"]) for one in deliveries(db)] == [("app", "alarm.raised")]


def test_endpoint_that_hangs_does_not_starve_another(db: Connection) -> None:
    add(db, "hangs")
    add(db, "well")
    for n in range(40):
        cancelled(db, first=n)
    heard = 0
    for _ in range(50):
        answer = take(db, most=4)
        assert len(answer["deliveries"]) <= 4
        well = [one for one in answer["deliveries"] if one["endpoint"] == "well"]
        record(db, *well)
        heard += len(well)
        if heard == 40:
            break

    assert heard == 40
    assert endpoints(db)["well"]["waiting"] == 0


def test_claim_shares_what_it_may_take(db: Connection) -> None:
    for name in ("a", "b", "c"):
        add(db, name)
    for n in range(5):
        cancelled(db, first=n)

    first = take(db, most=2)
    assert (len(first["deliveries"]), first["more"]) == (2, True)
    rest = first["deliveries"]
    while found := deliveries(db, most=2):
        assert len(found) <= 2
        rest += found

    assert sorted((one["endpoint"], one["event_id"]) for one in rest) == [
        (name, f"evt_{n}") for name in ("a", "b", "c") for n in range(1, 6)
    ]
    assert take(db, most=2)["more"] is False


def test_endpoints_take_turns_in_small_claims(db: Connection) -> None:
    for name in ("a", "b", "c"):
        add(db, name)
    for n in range(3):
        cancelled(db, first=n)
    record(db, *deliveries(db), status=500)
    db.execute("update outbox_engine.event_lanes set failures = 0")
    later(db, "10 seconds")

    assert {one["endpoint"] for _ in range(3) for one in deliveries(db, most=1)} == {"a", "b", "c"}


def test_two_processes_share_what_is_due(db: Connection, other: Connection) -> None:
    add(db)
    for n in range(6):
        cancelled(db, first=n)
    record(db, *deliveries(db), status=None, error="-")
    db.execute("update outbox_engine.event_lanes set failures = 0")
    later(db, "6 seconds")

    first, second = overlap(other, lambda: deliveries(other, most=4), lambda: deliveries(db, most=4))

    assert sorted(one["id"] for one in first + second) == [1, 2, 3, 4, 5, 6]


def updates(db: Connection) -> list[int]:
    """How many deliveries this transaction updated, and how many of them in place."""
    table = "'public.outbox_event_deliveries'::regclass"
    counts = f"select pg_stat_get_xact_tuples_updated({table}), pg_stat_get_xact_tuples_hot_updated({table})"
    row = db.execute(counts.encode()).fetchone()
    assert row is not None
    return [int(str(count)) for count in row]


def test_arrived_delivery_is_updated_in_place(db: Connection) -> None:
    add(db)
    for n in range(20):
        cancelled(db, first=n)
    taken = deliveries(db)

    with db.transaction():
        # Updates that the session has not reported yet are included.
        before = updates(db)
        record(db, *taken)
        after = updates(db)
    assert [now - earlier for now, earlier in zip(after, before, strict=True)] == [20, 20]
    assert db.execute("select count(*) from public.outbox_event_deliveries where payload is null").fetchone() == (20,)


def test_long_error_is_cut(db: Connection) -> None:
    add(db)
    cancelled(db)
    (one,) = deliveries(db)
    record(db, one, status=None, error="x" * 1000)

    assert len(delivery(db, one["id"])["last_error"]) == 200
    assert timedelta(seconds=seconds_until(db, delivery(db, one["id"])["next_at"])) < timedelta(seconds=6)
