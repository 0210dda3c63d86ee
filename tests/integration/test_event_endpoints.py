"""Endpoints of events: their secrets and settings, replays, lists, and what retention and erasure leave."""

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from sandbox.local.stack import LocalStack
from tests.calls import report
from tests.engine import later, number, stand_still
from tests.outgoing import add, call, cancelled, deliveries, delivery, endpoints, record, sent, take, told
from tests.races import overlap
from tests.stack import Connection


@pytest.fixture(autouse=True)
def still(db: Connection) -> None:
    stand_still(db)


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


def test_replay_leaves_the_follower_its_rows(db: Connection) -> None:
    add(db)
    first = cancelled(db)
    told(db)
    second = cancelled(db, first=1)

    assert call(db, "replay_events", "app", ["evt_1", "evt_2"])["count"] == 1

    assert sorted(data["id"] for _, data in told(db)) == [first, second]
    # While it is disabled nobody follows for it, and a replay has everything.
    call(db, "set_event_endpoint", "app", p_enabled=False)
    third = cancelled(db, first=2)
    assert call(db, "replay_events", "app", p_since=datetime(2020, 1, 1, tzinfo=UTC))["count"] == 3
    call(db, "set_event_endpoint", "app", p_enabled=True)
    assert sorted(data["id"] for _, data in told(db)) == [first, second, third]


def test_replay_and_deletion_take_turns(db: Connection, other: Connection) -> None:
    add(db)
    row = cancelled(db)
    told(db)
    # So that the replay makes a new one, which nobody else sees yet.
    db.execute("delete from public.outbox_event_deliveries")

    overlap(
        other,
        lambda: call(other, "replay_events", "app", ["evt_1"]),
        lambda: db.execute("delete from public.outbox where id = %s", [row]),
    )

    assert call(db, "list_event_deliveries") == []


def test_restored_database_uses_no_event_id_twice(db: Connection) -> None:
    """A server that remembers the ids would take a new event for one that it has."""
    add(db)
    cancelled(db)
    (before,) = deliveries(db)
    record(db, before)

    db.execute("select outbox_engine.pause_restored('sinch', 'p', 'restored')")
    cancelled(db, first=1)

    after = [(one["type"], one["event_id"]) for _ in range(2) for one in deliveries(db)]
    assert {kind for kind, _ in after} == {"plan.paused", "alarm.raised", "message.cancelled"}
    assert all(int(event_id.removeprefix("evt_").removeprefix("n")) > 1_000_000_000 for _, event_id in after)


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
