"""What proves that a request never arrived, and what happens to a row whose request arrived after all."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from jobs.providers.answers import Answer
from jobs.providers.sinch.client import SinchClient
from sandbox.simulator import control as faults
from sandbox.simulator.behaviour import Fault
from tests.calls import (
    DEADLINE_SECONDS,
    LEASE_SECONDS,
    accept,
    claim,
    claim_all,
    claim_answer,
    claim_lookups,
    find_nothing,
    look_up,
    mark_ambiguous,
    record_lookup,
    release,
    report,
)
from tests.engine import Clocks, MakeRig, column, history, insert, later, number, stand_still, statuses
from tests.stack import Connection

SETTLED = "21 seconds"


@pytest.mark.parametrize(
    "listing",
    [
        {"count": 1, "batches": []},
        {"count": 1, "batches": [{"id": "b", "client_reference": "OURS"}]},
        {"count": 1, "batches": [{"id": "b", "client_reference": "OURS", "to": ["?"]}]},
        {"count": 2, "batches": [{"id": "c", "client_reference": "other", "to": ["14155550123"]}]},
        {"count": 0, "batches": [{"id": "c", "client_reference": "other", "to": ["14155550123"]}]},
        {"count": "none", "batches": []},
        {"count": 1, "batches": [{"id": "d", "to": ["14155550123"]}]},
        {"count": 1, "batches": [{"id": "d", "client_reference": "", "to": ["14155550123"]}]},
        {"count": 1, "batches": [{"id": "d", "client_reference": "app/OURS"}]},
        {"count": 1, "batches": ["a batch"]},
    ],
)
async def test_incomplete_listing_is_no_lookup(
    make_rig: MakeRig, db: Connection, monkeypatch: pytest.MonkeyPatch, listing: Mapping[str, Any]
) -> None:
    rig = await make_rig()
    insert(db)
    rig.simulator.add(faults.reset_after_accepting())
    await rig.tick("dispatch")

    async def ask(_client: SinchClient, path: str, params: Mapping[str, str], _deadline: float) -> Answer:
        empty = {**listing, "batches": []} if params["page"] != "0" else listing
        return Answer(200, {}, json.dumps(empty).replace("OURS", params["client_reference"]).encode())

    monkeypatch.setattr(SinchClient, "_ask", ask)
    for _ in range(3):
        later(db, SETTLED)
        await rig.tick("recover", "dispatch")
    assert statuses(db) == {"sending": 1}
    assert db.execute("select lookup_misses from outbox_engine.dispatches").fetchone() == (0,)

    monkeypatch.undo()
    later(db, SETTLED)
    await rig.tick("recover")
    assert statuses(db) == {"sent": 1}
    assert rig.simulator.summary().sent_twice == 0


async def test_answer_to_another_request_is_not_believed(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    """The row would take the other's batch, and the provider would never have had it."""
    rig = await make_rig()
    (first,) = insert(db)
    await rig.tick("dispatch")
    (second,) = insert(db, 1, body="another")
    rig.simulator.add(faults.stale_answer())
    await rig.tick("dispatch")
    assert column(db, "status", second) == "sending"

    for _ in range(3):
        clocks.move(SETTLED)
        await rig.tick("recover", "dispatch")

    assert statuses(db) == {"sent": 2}
    assert column(db, "batch_id", first) != column(db, "batch_id", second)
    assert (rig.simulator.summary().messages, rig.simulator.summary().sent_twice) == (2, 0)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (faults.list_without_references(times=None), False),
        (faults.list_with_an_unreadable_item(times=None), True),
        (faults.list_with_other_numbers(times=None), True),
    ],
    ids=lambda value: getattr(value, "effect", None),
)
async def test_misleading_list_sends_nothing_twice(make_rig: MakeRig, db: Connection, fault: Fault, found: bool) -> None:
    rig = await make_rig()
    insert(db, 2)
    rig.simulator.add(faults.reset_after_accepting(), fault)
    await rig.tick("dispatch")

    for _ in range(3):
        later(db, SETTLED)
        await rig.tick("recover", "dispatch")
    assert statuses(db) == {"sent" if found else "sending": 2}

    rig.simulator.heal()
    later(db, SETTLED)
    await rig.tick("recover", "dispatch")
    assert statuses(db) == {"sent": 2}
    assert rig.simulator.summary().sent_twice == 0


async def test_unreadable_item_does_not_prove_absence(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    rig = await make_rig()
    insert(db)
    rig.simulator.add(faults.reset_before_accepting(), faults.list_with_an_unreadable_item(times=3))
    await rig.tick("dispatch")

    for _ in range(3):
        clocks.move(SETTLED)
        await rig.tick("recover", "dispatch")
    assert statuses(db) == {"sending": 1}
    assert db.execute("select kind from outbox_engine.alarms where kind <> 'clock.off'").fetchall() == [("callback.unusable",)]

    for _ in range(2):
        clocks.move(SETTLED)
        await rig.tick("recover", "dispatch")
    assert statuses(db) == {"sent": 1}


def test_silent_workers_dispatch_is_looked_up_late(db: Connection) -> None:
    """A request may begin at the end of the lease and take until its deadline."""
    stand_still(db)
    insert(db)
    dispatch = claim(db)

    later(db, f"{LEASE_SECONDS + DEADLINE_SECONDS - 0.001} seconds")
    assert "recover" not in claim_answer(db)["due"]
    assert claim_lookups(db) == []
    later(db, "1 millisecond")
    assert "recover" in claim_answer(db)["due"]
    assert [lookup["dispatch_id"] for lookup in claim_lookups(db)] == [dispatch["dispatch_id"]]


def test_returned_row_with_found_batch_is_not_resent(db: Connection) -> None:
    (row,) = insert(db)
    first = claim(db)
    for _ in range(2):
        later(db, "30 seconds")
        look_up(db, first, [])
    second = claim(db)

    look_up(db, first, ["B1"])
    release(db, second)

    assert claim_all(db) == []
    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", "B1")
    assert db.execute("select count(*) from outbox_engine.duplicate_sends").fetchone() == (0,)


def test_refused_row_takes_a_found_earlier_batch(db: Connection) -> None:
    """Also if the request before had a batch of its own, which the provider returned unsent."""
    (row,) = insert(db)
    sent_back = claim(db)
    accept(db, sent_back, "B1")
    db.execute(
        "select public.outbox_record_reports('webhook', array['B1'], %s::text[], array['aborted'], array['404'], array[''],"
        " array[''], array['{}'])",
        [sent_back["recipients"]],
    )
    later(db, "10 minutes")
    lost = claim(db)
    for _ in range(2):
        later(db, "30 seconds")
        look_up(db, lost, [])
    refused = claim(db)
    db.execute(
        "select public.outbox_refuse(%s::uuid, %s, 'recipient', 'HTTP 400', 400::smallint, null, 'w', 6)",
        [refused["dispatch_id"], refused["lease_token"]],
    )
    assert column(db, "status", row) == "failed"

    look_up(db, lost, ["B2"])
    db.execute("select public.outbox_upkeep(90, null, 1000)")

    assert (column(db, "status", row), column(db, "batch_id", row)) == ("sent", "B2")


def test_partial_lookup_takes_no_row_proved_by_report(db: Connection) -> None:
    insert(db, 2)
    dispatch = claim(db)
    later(db, "30 seconds")
    (lookup,) = claim_lookups(db)
    accept(db, dispatch, "B1")

    record_lookup(db, lookup, ["B1"], dispatch["recipients"][:1])

    assert db.execute("select count(*) from outbox_engine.dispatch_members").fetchone() == (2,)
    later(db, "10 days")
    for _ in range(2):
        db.execute("select public.outbox_claim_reconciliation('sinch', 'p', 100::smallint)")
        db.execute("select public.outbox_finish_reconciliation('sinch', 'p', array['B1'], true)")
        later(db, "10 minutes")
    assert statuses(db) == {"unknown": 2}


def test_repeated_lookup_result_counts_once(db: Connection) -> None:
    (row,) = insert(db)
    claim(db)
    later(db, "30 seconds")
    (lookup,) = claim_lookups(db)

    record_lookup(db, lookup, [], [])
    later(db, "30 seconds")
    record_lookup(db, lookup, [], [])

    assert column(db, "status", row) == "sending"
    find_nothing(db)
    assert column(db, "status", row) == "pending"


def test_request_found_after_a_retry_is_duplicate_send(db: Connection) -> None:
    """An operator retried the message, and its first request counted as lost."""
    (row,) = insert(db)
    lost = claim(db)
    find_nothing(db)
    second = claim(db)
    accept(db, second, "B2")
    report(db, "B2", number(0), "failed", 15)
    db.execute("select public.outbox_retry(array[%s::bigint], true, null, false)", [row])

    accept(db, lost, "B1")

    assert db.execute("select batch_id, confirmed_at is not null from outbox_engine.duplicate_sends").fetchall() == [
        ("B1", True)
    ]
    assert "duplicate_send" in history(db, row)


def test_ended_row_takes_its_last_attempts_batch(db: Connection) -> None:
    """Even where an earlier attempt had a batch too."""
    (row,) = insert(db)
    accept(db, claim(db), "B1")
    report(db, "B1", number(0), "aborted", 404)
    later(db, "2 minutes")
    last = claim(db)
    mark_ambiguous(db, last)
    db.execute("update public.outbox set cancel_requested_at = outbox_engine.now()")
    find_nothing(db)
    assert statuses(db) == {"cancelled": 1}

    look_up(db, last, ["B2"])

    assert column(db, "batch_id", row) == "B2"
    assert history(db, row)[-1] == "accepted"
    report(db, "B2", number(0), "delivered")
    assert statuses(db) == {"delivered": 1}


def test_rows_of_an_abandoned_plan_end_as_unknown(db: Connection) -> None:
    ambiguous, sent = insert(db, 1, body="one"), insert(db, 1, body="two", first=1)
    dispatches = {dispatch["body"]: dispatch for dispatch in claim_all(db, plan="gone")}
    accept(db, dispatches["two"], "B1")
    mark_ambiguous(db, dispatches["one"])

    later(db, "12 days 23 hours")
    db.execute("select public.outbox_upkeep(90, null, 1000)")
    assert column(db, "status", ambiguous[0]) == "sending"
    later(db, "2 hours")
    db.execute("select public.outbox_upkeep(90, null, 1000)")

    assert {column(db, "status", row) for row in ambiguous + sent} == {"unknown"}


def test_urgent_row_wakes_before_an_earlier_campaign(db: Connection) -> None:
    db.execute("update outbox_engine.clock set frozen_at = now()")
    db.execute(
        "insert into public.outbox (recipient, body, priority, send_at)"
        " select '+1555' || lpad(n::text, 7, '0'), 'campaign', 200, outbox_engine.now() + interval '1 minute'"
        " from generate_series(1, 12000) n"
    )
    (code,) = insert(db, 1, body="Your code is 1234", priority=0, send_at="2100-01-01", expires_at="2100-01-02")
    db.execute("update public.outbox set due_at = outbox_engine.now() + interval '61 seconds' where id = %s", [code])

    later(db, "62 seconds")
    dispatches = claim_all(db)

    assert dispatches[0]["body"] == "Your code is 1234"
