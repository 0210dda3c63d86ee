"""Bulk actions: on all that match, each message once, whatever happens to their drivers."""

from typing import Any

import psycopg
import pytest

from tests.engine import insert, later
from tests.outgoing import call
from tests.stack import Connection


def statuses(db: Connection) -> list[str]:
    return [str(status) for (status,) in db.execute("select status from public.outbox order by id").fetchall()]


def cancellations(db: Connection) -> int:
    return len(db.execute("select from public.outbox_events where event = 'cancelled'").fetchall())


def test_action_takes_what_matches_at_its_start(db: Connection) -> None:
    insert(db, 5, metadata='{"order": 1}')
    insert(db, 2, first=5)
    bulk = call(db, "start_bulk", "cancel", {"metadata": {"order": 1}}, {})
    insert(db, 1, first=7, metadata='{"order": 1}')

    states = []
    while bulk["state"] == "running":
        bulk = call(db, "continue_bulk", bulk["id"], 2)
        states.append((bulk["state"], sum(one["messages"] for one in bulk["counts"])))

    assert states == [("running", 2), ("running", 4), ("finished", 5)]
    assert statuses(db) == ["cancelled"] * 5 + ["pending"] * 3
    assert bulk["counts"] == [{"outcome": "cancelled", "done": True, "messages": 5}]
    assert bulk["filter"] == {}
    assert call(db, "continue_bulk", bulk["id"], 2) == bulk


def test_preview_changes_nothing_and_says_why(db: Connection) -> None:
    ids = insert(db, 3)
    call(db, "cancel", ids[:1], False)

    preview = call(db, "preview_bulk", "retry", {}, {}, None, 100)

    assert preview == {
        "counts": [
            {"outcome": "not_final", "done": False, "messages": 2},
            {"outcome": "cancelled_on_request", "done": False, "messages": 1},
        ],
        "before": None,
        "share": 1,
    }
    assert call(db, "preview_bulk", "retry", {}, {"force": True}, None, 100)["counts"][-1]["outcome"] == "retried"
    assert statuses(db) == ["cancelled", "pending", "pending"]


def test_reschedule_moves_what_waits(db: Connection) -> None:
    ids = insert(db, 2)
    call(db, "cancel", ids[:1], False)
    bulk = call(db, "start_bulk", "reschedule", {}, {"send_at": "2150-01-01T00:00:00+00:00"})

    bulk = call(db, "continue_bulk", bulk["id"], 100)

    assert {one["outcome"]: one["done"] for one in bulk["counts"]} == {"changed": True, "cancelled": False}
    assert statuses(db) == ["cancelled", "scheduled"]


def test_driver_that_dies_repeats_nothing(db: Connection, other: Connection) -> None:
    insert(db, 4)
    bulk = call(db, "start_bulk", "cancel", {}, {})
    call(db, "continue_bulk", bulk["id"], 2)
    with other.transaction(force_rollback=True):
        # While one driver works, another one finds nothing to do.
        call(other, "continue_bulk", bulk["id"], 2)
        assert call(db, "continue_bulk", bulk["id"], 2)["state"] == "running"
    assert cancellations(db) == 2

    assert call(db, "tend_dashboard", "{}", 100) == {"bulk": False, "figures": False}
    assert cancellations(db) == 2
    later(db, "31 seconds")
    while call(db, "tend_dashboard", "{}", 2)["bulk"]:
        pass

    assert cancellations(db) == 4
    (listed,) = call(db, "list_bulk", None, 10)
    assert listed["state"] == "finished"


def test_stopped_action_stays_stopped(db: Connection) -> None:
    insert(db, 4)
    bulk = call(db, "start_bulk", "cancel", {}, {})
    call(db, "continue_bulk", bulk["id"], 1)

    assert call(db, "stop_bulk", bulk["id"])["state"] == "stopped"
    assert call(db, "continue_bulk", bulk["id"], 10)["state"] == "stopped"
    later(db, "1 minute")
    call(db, "tend_dashboard", "{}", 100)
    assert statuses(db).count("cancelled") == 1


def test_erased_person_leaves_running_filters(db: Connection) -> None:
    insert(db, 2)
    one, two = ["+14155550123"], ["+14155550123", "+447700900123"]
    filters = [{"recipients": one}, {"recipients": two}, {"last_digits": "550123"}, {"recipients": ["+447700900123"]}]
    for wanted in filters:
        call(db, "start_bulk", "cancel", wanted, {})

    assert call(db, "erase_bulk_filters", one) == {"bulk_actions": 3}
    assert call(db, "erase_bulk_filters", one) == {"bulk_actions": 0}
    found = [(bulk["filter"], bulk["state"]) for bulk in reversed(call(db, "list_bulk", None, 10))]
    left = {"recipients": ["+447700900123"]}
    assert found == [({}, "stopped"), (left, "running"), ({}, "stopped"), (left, "running")]


def test_audit_names_who_started_it(db: Connection) -> None:
    insert(db, 1)
    with db.transaction():
        db.execute("""select set_config('request.headers', '{"x-outbox-actor": "Ada", "x-outbox-via": "dashboard"}', true)""")
        bulk = call(db, "start_bulk", "cancel", {"recipients": ["+14155550123"]}, {})
        call(db, "stop_bulk", bulk["id"])
        call(db, "start_bulk", "cancel", {}, {})
    later(db, "31 seconds")
    call(db, "tend_dashboard", "{}", 100)

    found = db.execute("select actor, via, action, detail::text from outbox_engine.audit order by id").fetchall()
    assert [entry[:3] for entry in found] == [
        ("Ada", "dashboard", action) for action in ("start_bulk", "stop_bulk", "start_bulk", "cancel")
    ]
    assert "4155550123" not in str(found)


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ("send", {}),
        ("cancel", {"force": True}),
        ("retry", {"expires_in": -1}),
        ("reschedule", {}),
        ("reschedule", {"send_at": "x"}),
    ],
)
def test_impossible_action_is_refused(db: Connection, action: str, options: dict[str, Any]) -> None:
    with pytest.raises(psycopg.DataError):
        call(db, "start_bulk", action, {}, options)


def test_conversation_goes_back_page_by_page(db: Connection) -> None:
    recipient = "+14155550123"
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(
            "insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, secret)"
            " select %s, 'out ' || n, t, t, 100, 'sent', 1, t, n = 2 from generate_series(1, 5) n"
            " cross join lateral (select timestamptz '2027-01-01 00:00+00' + n * interval '2 minutes') x (t)",
            [recipient],
        )
        db.execute(
            "insert into public.outbox_inbound (id, provider, kind, sender, recipient, body, received_at, recorded_at, raw)"
            " select 'r' || n, 'sinch', 'mo_text', %s, '+12025550100', 'in ' || n, t, t, '{}' from generate_series(1, 3) n"
            " cross join lateral (select timestamptz '2027-01-01 00:01+00' + n * interval '4 minutes') x (t)",
            [recipient],
        )
    seen, before = [], None
    while True:
        page = call(db, "conversation", recipient, before, 3, True)
        seen += [entry["text"] for entry in page["entries"]]
        before = page["before"]
        if before is None:
            break

    assert seen == ["in 3", "out 5", "in 2", "out 4", "out 3", "in 1", None, "out 1"]
    entries = call(db, "conversation", recipient, None, 3, False)["entries"]
    assert [entry["text"] for entry in entries] == [None] * 3
    assert db.execute("select distinct action, target from outbox_engine.audit").fetchall() == [("conversation", "…23")]


def test_text_is_shown_and_recorded(db: Connection) -> None:
    (message,) = insert(db, 1)
    (secret,) = insert(db, 1, secret=True)

    assert call(db, "show_text", message)["body"] == "hello"
    assert call(db, "show_text", 10**12) is None
    with pytest.raises(psycopg.DataError):
        call(db, "show_text", secret)
    assert db.execute("select action, target from outbox_engine.audit").fetchall() == [("show_text", str(message))]


def test_suppressions_are_searched(db: Connection) -> None:
    db.execute(
        "insert into public.outbox_suppressions (recipient, reason) values ('+447700900001', 'asked by mail'),"
        " ('+447700900002', 'imported'), ('+14155550102', 'imported')"
    )

    def found(wanted: dict[str, Any], after: str = "", most: int = 10) -> list[str]:
        return [one["recipient"] for one in call(db, "list_suppressions", wanted, after, most)["suppressions"]]

    assert found({"number": "+44"}) == ["+447700900001", "+447700900002"]
    assert found({"number": "02"}) == ["+14155550102", "+447700900002"]
    assert found({"reason": "MAIL"}) == ["+447700900001"]
    assert found({"replied": True}) == []
    page = call(db, "list_suppressions", {"reason": "imported"}, "", 1)
    assert found({"reason": "imported"}, page["after"]) == ["+447700900002"]
    with pytest.raises(psycopg.DataError):
        found({"number": "12%"})
