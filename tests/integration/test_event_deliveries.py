"""Deliveries to endpoints: leases, the schedule of repeats, endpoints that fail, replays, lists."""

import json
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from sandbox.local.stack import LocalStack
from tests.calls import report
from tests.engine import later, number, stand_still
from tests.outgoing import add, call, cancelled, deliveries, delivery, record, sent, take, told
from tests.races import overlap
from tests.stack import Connection

WAITS = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]


@pytest.fixture(autouse=True)
def still(db: Connection) -> None:
    stand_still(db)


def endpoints(db: Connection) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in call(db, "event_endpoints_status")}


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


def test_two_processes_share_what_is_due(db: Connection, other: Connection) -> None:
    add(db)
    for n in range(6):
        cancelled(db, first=n)
    record(db, *deliveries(db), status=None, error="-")
    db.execute("update outbox_engine.event_lanes set failures = 0")
    later(db, "6 seconds")

    first, second = overlap(other, lambda: deliveries(other, most=4), lambda: deliveries(db, most=4))

    assert sorted(one["id"] for one in first + second) == [1, 2, 3, 4, 5, 6]


def test_arrived_delivery_is_updated_in_place(db: Connection) -> None:
    add(db)
    for n in range(20):
        cancelled(db, first=n)
    taken = deliveries(db)

    with db.transaction():
        record(db, *taken)
        table = "'public.outbox_event_deliveries'::regclass"
        counts = f"select pg_stat_get_xact_tuples_updated({table}), pg_stat_get_xact_tuples_hot_updated({table})"
        assert db.execute(counts.encode()).fetchone() == (20, 20)
    assert db.execute("select count(*) from public.outbox_event_deliveries where payload is null").fetchone() == (20,)


def test_secret_rotates_without_a_gap(db: Connection) -> None:
    old = add(db)["secret"]
    new = call(db, "rotate_event_secret", "app", 3600)["secret"]
    assert old.startswith("whsec_")
    assert old != new
    cancelled(db)
    (one,) = deliveries(db)
    assert one["secrets"] == [new, old]
    later(db, "1 hour")
    (one,) = deliveries(db)
    assert one["secrets"] == [new]
    last = call(db, "rotate_event_secret", "app", 0)["secret"]
    later(db, "1 hour")
    (one,) = deliveries(db)
    assert one["secrets"] == [last]
    api = "select count(*) from information_schema.columns where table_schema = 'public' and column_name like '%secret%'"
    assert db.execute(f"{api} and table_name like 'outbox_event%'".encode()).fetchone() == (0,)


@pytest.mark.parametrize(
    ("function", "named", "says"),
    [
        ("add_event_endpoint", {"p_name": "a b", "p_url": "https://a.example"}, "no name"),
        ("add_event_endpoint", {"p_name": "app", "p_url": "https://a.example"}, "already"),
        ("add_event_endpoint", {"p_name": "b", "p_url": "ftp://a.example"}, "https://"),
        ("add_event_endpoint", {"p_name": "b", "p_url": "https://u:p@a.example"}, "without user"),
        ("add_event_endpoint", {"p_name": "b", "p_url": "https://a.example/#x"}, "fragment"),
        ("add_event_endpoint", {"p_name": "b", "p_url": "https://a.example", "p_event_types": ["x"]}, "type: x"),
        ("set_event_endpoint", {"p_name": "nobody"}, "no endpoint"),
        ("set_event_endpoint", {"p_name": "app", "p_url": "https://"}, "https://"),
        ("remove_event_endpoint", {"p_name": "nobody"}, "no endpoint"),
        ("rotate_event_secret", {"p_name": "nobody"}, "no endpoint"),
        ("replay_events", {"p_name": "app"}, "either"),
    ],
)
def test_refusals_say_why(db: Connection, function: str, named: dict[str, Any], says: str) -> None:
    add(db)

    with pytest.raises(psycopg.errors.InvalidParameterValue, match=says):
        call(db, function, **named)


def test_settings_of_an_endpoint_change(db: Connection) -> None:
    add(db, p_event_types=["message.cancelled"])
    call(db, "set_event_endpoint", "app", "https://b.example.com", ["message.failed"], True)
    shown = endpoints(db)["app"]
    assert (shown["url"], shown["event_types"], shown["include_recipient"]) == (
        "https://b.example.com",
        ["message.failed"],
        True,
    )
    assert call(db, "set_event_endpoint", "app", p_event_types=[])["event_types"] is None
    assert endpoints(db)["app"]["include_recipient"] is True
    event_id = call(db, "test_event", "app")["event_id"]
    (one,) = deliveries(db)
    assert (one["type"], one["event_id"], one["url"]) == ("webhook.test", event_id, "https://b.example.com")


def test_removed_endpoint_takes_its_deliveries_along(db: Connection) -> None:
    add(db, "a")
    add(db, "b")
    cancelled(db)
    deliveries(db)
    call(db, "remove_event_endpoint", "a")
    assert db.execute("select count(*) from outbox_engine.event_secrets").fetchone() == (1,)
    call(db, "run_upkeep", "{}", 100)

    assert db.execute("select count(*) from public.outbox_event_deliveries").fetchone() == (1,)
    assert list(endpoints(db)) == ["b"]


def test_replay_by_ids_sends_again(db: Connection) -> None:
    add(db)
    row = sent(db)
    report(db, "B1", number(0), "failed", 1)
    told(db)
    report(db, "B1", number(0), "delivered")
    told(db)
    call(db, "test_event", "app")
    waiting = deliveries(db)[0]["event_id"]
    ids = [one["event_id"] for one in call(db, "list_event_deliveries")]

    dry = call(db, "replay_events", "app", [*ids, "evt_999", "nonsense"], p_dry_run=True)
    assert dry == {"count": 2, "left_out": {"waiting": 1, "unknown": 2}, "dry_run": True}
    assert deliveries(db) == []
    call(db, "replay_events", "app", ids)

    again = deliveries(db)
    assert waiting not in {one["event_id"] for one in again}
    # Each tells what it told, although the message is delivered by now.
    found = [(one["event_id"], json.loads(one["payload"])["data"]) for one in again]
    assert [(data["id"], data["status"]) for _, data in found] == [(row, "failed"), (row, "delivered")]
    record(db, *again)
    assert call(db, "list_event_deliveries", "app", "delivered", None, None, 1)[0]["attempts"] == 1


def test_replay_of_a_time_reads_the_history(db: Connection) -> None:
    old = cancelled(db)
    later(db, "1 hour")
    add(db)
    kept = cancelled(db, first=1)
    later(db, "1 hour")
    for n in range(2, 5):
        cancelled(db, first=n)
    told(db)
    db.execute("delete from public.outbox_event_deliveries where outbox_id > %s", [kept])
    since = "select outbox_engine.now() - %s::interval"

    def replay(hours: str, **named: object) -> list[int]:
        at = db.execute(since.encode(), [hours]).fetchone()
        answer = call(db, "replay_events", "app", None, at[0] if at else None, **named)
        ids = sorted(data["id"] for _, data in told(db))
        assert answer["count"] == len(ids)
        return ids

    assert replay("10 minutes") == [kept + 1, kept + 2, kept + 3]
    assert replay("90 minutes") == [kept, kept + 1, kept + 2, kept + 3]
    assert replay("3 hours", p_until=db.execute(since.encode(), ["30 minutes"]).fetchone()[0]) == [old, kept]  # type: ignore[index]
    cancelled(db, first=9)
    (one,) = deliveries(db)
    record(db, one, status=410)
    call(db, "set_event_endpoint", "app", p_enabled=True)
    assert replay("3 hours", p_failed_only=True) == [kept + 4]


def test_lists_page_and_filter(db: Connection) -> None:
    for name in ("a", "b"):
        add(db, name)
    for n in range(3):
        cancelled(db, first=n)
    taken = deliveries(db)
    record(db, *[one for one in taken if one["endpoint"] == "a"])

    assert [one["id"] for one in call(db, "list_event_deliveries", p_most=4)] == [6, 5, 4, 3]
    assert [one["id"] for one in call(db, "list_event_deliveries", p_before=3)] == [2, 1]
    assert {one["endpoint"] for one in call(db, "list_event_deliveries", "a")} == {"a"}
    assert {one["status"] for one in call(db, "list_event_deliveries", "a")} == {"delivered"}
    assert len(call(db, "list_event_deliveries", p_status="pending")) == 3
    assert [one["endpoint"] for one in call(db, "list_event_deliveries", p_event_id="evt_2")] == ["b", "a"]
    assert call(db, "list_event_deliveries", "nobody") == []
    assert call(db, "list_event_deliveries", p_event_id="evt_x") == []


def test_old_deliveries_are_deleted(db: Connection) -> None:
    add(db)
    for n in range(4):
        cancelled(db, first=n)
    arrived, gone, *_ = deliveries(db)
    record(db, arrived)
    record(db, gone, status=410)
    assert [one["id"] for one in call(db, "list_event_deliveries")] == [4, 3, 2, 1]
    later(db, "4 days")
    call(db, "run_upkeep", "{}", 100)
    assert [one["id"] for one in call(db, "list_event_deliveries")] == [4, 3, 2]

    # What waits as long as metadata is kept is given up, with its payload.
    later(db, "2 minutes")
    take(db)
    db.execute("update public.outbox_event_deliveries set next_at = created_at where id > 2")
    call(db, "run_upkeep", json.dumps({"metadata": 3}), 100)
    assert delivery(db, 3)["status"] == delivery(db, 4)["status"] == "failed"
    assert delivery(db, 3)["payload"] is None
    later(db, "31 days")
    call(db, "run_upkeep", "{}", 100)
    assert call(db, "list_event_deliveries") == []


def test_deliveries_go_with_their_message(db: Connection, other: Connection, stack: LocalStack) -> None:
    add(db, p_include_recipient=True)
    rows = [cancelled(db, first=n) for n in range(3)]
    deliveries(db)

    # Deleted while the follower has made a delivery that nobody else can see yet.
    new = cancelled(db, first=3)
    with closing(psycopg.connect(stack.admin_url, autocommit=True)) as owner:
        overlap(other, lambda: deliveries(other), lambda: owner.execute("delete from public.outbox where id = %s", [new]))
    assert [one["outbox_id"] for one in call(db, "list_event_deliveries")] == rows[::-1]

    db.execute("delete from public.outbox where id = %s", [rows[0]])
    assert [one["outbox_id"] for one in call(db, "list_event_deliveries")] == rows[:0:-1]
    db.execute("truncate public.outbox")
    assert call(db, "list_event_deliveries") == []


def test_erasing_a_person_leaves_no_event(db: Connection) -> None:
    add(db, p_include_recipient=True)
    row = cancelled(db)
    call(
        db, "record_inbounds", "webhook", ["sinch"], ["i"], ["sms"], [number(0)], ["+12025550100"], ["STOP"], [""], [""], ["{}"]
    )
    assert len(deliveries(db)) == 3
    shown = db.execute("select public.outbox_person_messages(array[%s::bigint], array[%s], true)", [row, number(0)]).fetchone()
    assert shown is not None
    assert any(one["table"] == "outbox_event_deliveries" and "payload" in one["row"] for one in shown[0])  # type: ignore[attr-defined]

    db.execute("select public.outbox_erase_messages(array[%s::bigint], array[%s])", [row, number(0)])
    call(db, "erase_records", [number(0)], "records", "", 100)

    assert call(db, "list_event_deliveries") == []
    assert db.execute("select count(*) from outbox_engine.notices").fetchone() == (0,)


def test_event_of_a_former_number_goes_with_it(db: Connection) -> None:
    add(db, p_include_recipient=True)
    row = cancelled(db)
    deliveries(db)

    db.execute("select outbox_engine.remove_events_showing(array[%s::bigint], array['+12025550199'])", [row])
    assert len(call(db, "list_event_deliveries")) == 1
    db.execute("select outbox_engine.remove_events_showing(array[%s::bigint], array[%s])", [row, number(0)])

    assert call(db, "list_event_deliveries") == []


def test_long_error_is_cut(db: Connection) -> None:
    add(db)
    cancelled(db)
    (one,) = deliveries(db)
    record(db, one, status=None, error="x" * 1000)

    assert len(delivery(db, one["id"])["last_error"]) == 200
    assert timedelta(seconds=seconds_until(db, delivery(db, one["id"])["next_at"])) < timedelta(seconds=6)
