"""Rows that were claimed and not sent return to the queue."""

import pytest

from jobs.dispatching.leases import clock
from jobs.gateway.gateway import Gateway
from jobs.providers.base import Report
from sandbox.simulator import control as faults
from tests.engine import Clocks, MakeRig, Rig, column, history, insert, later, statuses
from tests.stack import Connection

SETTLED = "21 seconds"
CLAIM = """
    select public.outbox_claim_due(gen_random_uuid(), 'w', 'sinch', 'p', 'h', 'c', 60, 20, 1::smallint, 10::smallint, 10, null,
      600, null, true)
"""


async def test_drained_process_gives_back_unstarted_dispatches(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    insert(db, 3)
    since = clock()
    claimed = await rig.claim()

    rig.dispatcher._requests.drain()
    rig.dispatcher._requests.start(claimed, since=since)
    await rig.dispatcher.drain()

    assert statuses(db) == {"pending": 3}
    assert db.execute("select sum(attempts) from public.outbox").fetchone() == (0,)
    assert "send" not in rig.simulator.summary().requests


async def test_row_cancelled_while_waiting_stays_cancelled_when_returned(rig: Rig, db: Connection) -> None:
    """By a process that drained, or that had too little of its lease left."""
    kept, cancelled = insert(db, 2)
    db.execute(CLAIM)
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", (cancelled,))

    db.execute("select public.outbox_release(array[id], array[lease_token::text]) from outbox_engine.dispatches")

    assert (column(db, "status", kept), column(db, "status", cancelled)) == ("pending", "cancelled")
    assert history(db, cancelled)[-1] == "cancelled"


async def test_found_earlier_attempt_turns_failed_into_sent(make_rig: MakeRig, db: Connection, clocks: Clocks) -> None:
    """Otherwise the row would be failed, and an app that sends it again would send it twice."""
    rig = await make_rig(lease_seconds=3)
    (row,) = insert(db)
    rig.simulator.change(list_lag=3600)
    rig.simulator.add(faults.reset_after_accepting())
    await rig.tick("dispatch")
    clocks.move("2 seconds")
    await rig.tick("recover")
    clocks.move(SETTLED)
    rig.simulator.change(rules=[{"suffix": str(column(db, "recipient", row))[-7:], "refused": True}], requests=[])
    await rig.tick("recover", "dispatch")
    assert column(db, "status", row) == "failed"

    rig.simulator.advance(3601)
    clocks.move("2 minutes")
    await rig.tick("recover", "upkeep")

    assert (column(db, "status", row), column(db, "error", row)) == ("sent", None)
    assert column(db, "batch_id", row) == next(rig.simulator.accepted()).batch_id
    assert history(db, row) == ["not_found", "refused", "accepted"]
    assert db.execute("select count(*) from outbox_engine.duplicate_sends").fetchone() == (0,)


async def test_refused_half_returns_when_other_was_never_tried(rig: Rig, db: Connection) -> None:
    """The refusal may be about its number, or about what both halves share."""
    insert(db, 2)
    halves = split_claim(db)

    refuse(db, halves[0])
    db.execute(
        "select public.outbox_release(array[id], array[lease_token::text]) from outbox_engine.dispatches where id = %s",
        halves[1:],
    )

    assert dispatches(db, "awaiting_half") == []
    assert statuses(db) == {"pending": 2}
    assert db.execute("select count(*) from public.outbox where queue = 'r'").fetchone() == (2,)


@pytest.mark.parametrize("why", ["throttled", "account", "unreachable", "setting"])
@pytest.mark.parametrize("judged", [0, 1], ids=["the judged half first", "the judged half last"])
async def test_refused_half_returns_after_the_others_unrelated_refusal(rig: Rig, db: Connection, why: str, judged: int) -> None:
    """The other refusal pauses the plan and proves nothing about either half."""
    insert(db, 2)
    halves = split_claim(db)

    refuse(db, halves[0], "shared" if judged == 0 else why)
    refuse(db, halves[1], "shared" if judged == 1 else why)

    assert dispatches(db, "awaiting_half") == []
    assert statuses(db) == {"pending": 2}
    assert db.execute("select sum(attempts) from public.outbox").fetchone() == (0,)


async def test_half_resent_without_a_callback_continues_the_trial(rig: Rig, db: Connection) -> None:
    insert(db, 2)
    halves = split_claim(db)

    refuse(db, halves[0])
    (again,) = refuse(db, halves[1], "no_callback")
    assert statuses(db) == {"sending": 2}, "the other half is not known to go through"
    db.execute("select public.outbox_accept(array[%s::uuid], array['B1'], 'w', 60, 300)", (again,))

    assert statuses(db) == {"failed": 1, "sent": 1}


async def test_failed_resend_without_callback_returns_both_halves(rig: Rig, db: Connection) -> None:
    insert(db, 2)
    halves = split_claim(db)

    refuse(db, halves[0])
    (again,) = refuse(db, halves[1], "no_callback")
    refuse(db, again, "throttled")

    assert dispatches(db, "awaiting_half") == []
    assert statuses(db) == {"pending": 2}


async def test_halves_refused_alike_fail_also_without_a_callback(rig: Rig, db: Connection) -> None:
    """The refusals count against the text and the sender that both halves share."""
    insert(db, 2)
    halves = split_claim(db)

    refuse(db, halves[0])
    (again,) = refuse(db, halves[1], "no_callback")
    refuse(db, again)

    assert statuses(db) == {"failed": 2}
    counted = db.execute("select refusals from outbox_engine.refused_contents where not is_sender")
    assert counted.fetchone() == (2,)


async def test_refused_half_ends_when_other_stays_unknown(rig: Rig, db: Connection) -> None:
    """The provider's list reaches no further back, so no lookup can decide it any more."""
    rows = insert(db, 2)
    halves = split_claim(db)
    refuse(db, halves[0])
    mark_ambiguous(db, halves[1])

    later(db, "14 days")
    db.execute("select public.outbox_claim_lookups('sinch', 'p', 'h', 30, 10::smallint)")

    assert dispatches(db, "awaiting_half") == []
    assert sorted(column(db, "status", row) for row in rows) == ["expired", "unknown"]


async def test_report_on_one_half_decides_the_refused_half(rig: Rig, gateway: Gateway, db: Connection) -> None:
    """The process that sent that half may be dead by then, and no lookup is due for a request that was found."""
    refused, arrived = insert(db, 2)
    halves = split_claim(db)
    refuse(db, halves[0])
    mark_ambiguous(db, halves[1])

    report = Report("B1", column(db, "recipient", arrived), "dispatched", 401, None, str(halves[1]), "{}")
    await gateway.record_reports([report], source="webhook")

    assert dispatches(db, "awaiting_half") == []
    assert (column(db, "status", refused), column(db, "status", arrived)) == ("failed", "dispatched")


def dispatches(db: Connection, state: str) -> list[object]:
    return [
        row for (row,) in db.execute("select id from outbox_engine.dispatches where state = %s order by lease_token", (state,))
    ]


def split_claim(db: Connection) -> list[object]:
    """Claim the due rows, have the request refused once, and return the two halves."""
    db.execute(CLAIM)
    (parent,) = dispatches(db, "claimed")
    return refuse(db, parent)


def refuse(db: Connection, dispatch: object, why: str = "shared") -> list[object]:
    """Returns the dispatches that the worker may send after that."""
    db.execute(
        "select public.outbox_refuse(id, lease_token::text, %s, 'not allowed', 400::smallint, null, 'w', 60)"
        " from outbox_engine.dispatches where id = %s",
        (why, dispatch),
    )
    return dispatches(db, "claimed")


def mark_ambiguous(db: Connection, dispatch: object) -> None:
    db.execute(
        "select public.outbox_mark_ambiguous(array[id], array[lease_token::text], array['no answer'], 1)"
        " from outbox_engine.dispatches where id = %s",
        (dispatch,),
    )
