"""A database that was restored from a backup: nothing is sent before `outbox adopt`, and nothing twice after it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest

from jobs.dispatching.requests import _submission
from jobs.gateway.adopting import Counts
from jobs.gateway.errors import GatewayUnavailable
from jobs.providers.base import ProviderError
from jobs.runtime.clocks import Clocks
from sandbox.simulator import control as faults
from sandbox.simulator.behaviour import Fault
from tests.adoptions import AN_HOUR, adopt
from tests.campaigns import campaign, member, template
from tests.engine import MakeRig, column, history, insert, later, number, statuses
from tests.snapshots import Snapshot
from tests.stack import Connection

_WITH_TEMPLATE = """
    insert into public.outbox (recipient, template, parameters) values (%s, 'hi', '{"name": "Ada"}') returning id
"""


def pauses(db: Connection) -> list[Any]:
    return [kind for (kind,) in db.execute("select kind from outbox_engine.plan_pauses").fetchall()]


def everything(db: Connection) -> list[Any]:
    tables = "public.outbox", "public.outbox_events", "outbox_engine.dispatches", "outbox_engine.adopted_messages"
    return [db.execute(f"select * from {table} order by 1, 2").fetchall() for table in tables]


def held(db: Connection) -> list[Any]:
    (answer,) = db.execute("select public.outbox_list_held(0, 100)").fetchone() or ([],)
    assert isinstance(answer, list)
    return [(one["id"], one["has_same_text"]) for one in answer]


async def test_restored_database_sends_nothing_twice(make_rig: MakeRig, db: Connection) -> None:
    """Single messages and batches; one text twice to one number; texts that differ and shared a request."""
    rig = await make_rig()
    insert(db, 3)
    await rig.tick("dispatch")
    insert(db, 100, first=100)
    for n in range(40):
        insert(db, 1, body=f"code ${{n}} {n}", first=n)
    ids = insert(db, 1, body="twice", first=7) + insert(db, 1, body="twice", first=7)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    insert(db, 5, body="after the backup", first=50)
    await rig.tick("dispatch")
    accepted = rig.simulator.summary().messages
    backup.restore()

    rig = await make_rig(is_checked=False)
    await rig.tick("dispatch")
    assert (rig.simulator.summary().messages, pauses(db)) == (accepted, ["restored"])
    before = everything(db)
    trial = await adopt(rig, dry_run=True)
    assert everything(db) == before
    done = await adopt(rig)
    repeated = await adopt(rig)
    await rig.tick("dispatch")

    assert (done.counts.adopted, done.counts.remembered, trial.counts) == (142, 5, done.counts)
    assert repeated.counts == Counts(known=done.counts.known + done.counts.unknown)
    assert (rig.simulator.summary().messages, statuses(db), pauses(db)) == (accepted, {"sent": 145}, [])
    assert history(db, ids[0]) == ["accepted"]
    assert column(db, "batch_id", ids[0]) != column(db, "batch_id", ids[1])
    assert rig.simulator.settle()
    later(db, "10 minutes")
    await rig.tick("reconcile")
    assert statuses(db) == {"delivered": 145}


async def test_messages_in_requests_at_backup_are_adopted(make_rig: MakeRig, db: Connection) -> None:
    """One request arrived. The other one was given back, and its message went out in a third."""
    rig = await make_rig()
    (arrived,) = insert(db, sender="One")
    (given_back,) = insert(db, first=1, sender="Two")
    first, second = await rig.claim()
    backup = Snapshot(db)
    await rig.engine.served[0].provider.submit(_submission(first, rig.engine.served[0].provider, Clocks()), deadline=10)
    await rig.engine.gateway.release([second])
    await rig.tick("dispatch")
    backup.restore()

    done = await adopt(rig)

    assert (done.counts.accepted, done.counts.adopted, statuses(db)) == (1, 1, {"sent": 2})
    assert (history(db, arrived), history(db, given_back)) == (["accepted"], ["accepted"])


async def test_process_that_slept_through_adoption_goes_on(make_rig: MakeRig, db: Connection) -> None:
    asleep, operator = await make_rig(), await make_rig()
    await asleep.tick("dispatch")
    insert(db)
    backup = Snapshot(db)
    insert(db, first=1)
    await asleep.tick("dispatch")
    backup.restore()
    await adopt(operator)

    insert(db, first=2)
    await asleep.tick("dispatch", "dispatch")

    assert (pauses(db), statuses(db), asleep.dispatcher.stopped) == ([], {"sent": 2}, False)
    assert asleep.simulator.summary().messages == 3


async def test_idle_process_reads_the_list_after_an_outage(
    make_rig: MakeRig, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It made no request since the backup, and its heartbeat is in it: another process sent the message."""
    idle, busy = await make_rig(), await make_rig()
    await idle.tick("dispatch")
    insert(db)
    backup = Snapshot(db)
    await busy.tick("dispatch")
    with monkeypatch.context() as away:
        away.setattr(idle.dispatcher, "_call", AsyncMock(side_effect=GatewayUnavailable("away")))
        with pytest.raises(GatewayUnavailable):
            await idle.tick("dispatch")
    backup.restore()

    await idle.tick("dispatch", "dispatch")

    assert (pauses(db), idle.simulator.summary().messages) == (["restored"], 1)


async def test_edited_template_holds_the_message(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    template(db)
    unchanged = insert(db, body="plain", first=2)
    rows = [
        int(str(row))
        for n in (0, 1)
        for (row,) in db.execute(
            _WITH_TEMPLATE,
            [f"+1202555010{n}"],
        )
    ]
    backup = Snapshot(db)
    await rig.tick("dispatch")
    backup.restore()
    rig = await make_rig()
    db.execute("update public.outbox_templates set body = 'Good day {{name}}'")

    done = await adopt(rig)
    await rig.tick("dispatch")

    assert (done.counts.adopted, done.counts.remembered, done.counts.held) == (1, 2, 2)
    assert (column(db, "status", unchanged[0]), rig.simulator.summary().messages) == ("sent", 3)
    assert held(db) == [(row, False) for row in rows]
    assert history(db, rows[0]) == ["held"]
    db.execute("select public.outbox_cancel(%s, false)", [rows[:1]])
    db.execute("select public.outbox_send_held(%s, false)", [rows])
    await rig.tick("dispatch")
    assert (statuses(db), held(db)) == ({"sent": 2, "cancelled": 1}, [])
    assert history(db, rows[1]) == ["held", "released", "accepted"]


@pytest.mark.parametrize("hours", [-3, 3])
async def test_adoption_corrects_the_providers_clock(make_rig: MakeRig, db: Connection, hours: int) -> None:
    """What was due then is adopted, or held for its template. A message for later with the same text is not."""
    rig = await make_rig(is_checked=False)
    template(db)
    rig.simulator.advance(hours * 3600)
    (sent,) = insert(db)
    db.execute(_WITH_TEMPLATE, [number(1)])
    backup = Snapshot(db)
    insert(db, first=2)
    await rig.tick("dispatch", "dispatch")
    assert rig.simulator.summary().messages == 3
    backup.restore()
    db.execute("update public.outbox_templates set body = 'Good day {{name}}'")
    (for_later,) = insert(db, first=2, send_at=datetime.now(UTC) + AN_HOUR)

    done = await adopt(rig, before=4 * AN_HOUR)
    await rig.tick("dispatch")

    assert (done.counts.adopted, column(db, "status", sent), column(db, "status", for_later)) == (1, "sent", "scheduled")
    assert rig.simulator.summary().messages == 3


async def test_repeated_insert_is_held_once(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    backup = Snapshot(db)
    insert(db)
    await rig.tick("dispatch")
    backup.restore()
    rig = await make_rig()
    await adopt(rig)

    (again,) = insert(db, expires_at=datetime.now(UTC) + AN_HOUR)
    (meant,) = insert(db)
    insert(db, body="other")
    await rig.tick("dispatch")
    assert (held(db), column(db, "status", meant)) == ([(again, True)], "sent")
    assert db.execute("select detail from outbox_engine.alarms where kind = 'message.held'").fetchall() == [
        ({"outbox_ids": [again]},)
    ]
    later(db, "61 minutes")
    await rig.tick("dispatch", "upkeep")

    assert column(db, "status", again) == "expired"
    assert rig.simulator.summary().messages == 3


async def test_campaign_messages_are_adopted_and_counted(make_rig: MakeRig, db: Connection) -> None:
    """One has its row in the backup. The campaign makes one again before the adoption; one after it, which is held."""
    rig = await make_rig()
    template(db)
    campaign(db, schedule="once", starts_at=datetime.now(UTC), late_limit="1 day")
    member(db, "a", n=1)
    await rig.tick("campaigns")
    backup = Snapshot(db)
    member(db, "b", n=2)
    member(db, "c", n=3)
    await rig.tick("campaigns", "dispatch")
    assert rig.simulator.summary().messages == 3
    backup.restore()
    later(db, "1 hour")

    rig = await make_rig()
    member(db, "b", n=2)
    await rig.tick("campaigns")
    await adopt(rig)
    member(db, "c", n=3)
    await rig.tick("campaigns", "dispatch")

    assert (statuses(db), len(held(db))) == ({"sent": 2, "scheduled": 1}, 1)
    assert rig.simulator.summary().messages == 3
    assert db.execute("select campaign, parts from outbox_engine.campaign_spend").fetchall() == [("c", 2)]


async def test_request_repeated_on_its_way_is_reported(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    (row,) = insert(db)
    backup = Snapshot(db)
    (dispatch,) = await rig.claim()
    for _ in range(2):
        await rig.engine.served[0].provider.submit(_submission(dispatch, rig.engine.served[0].provider, Clocks()), deadline=10)
    backup.restore()

    await adopt(rig)

    assert (statuses(db), history(db, row)) == ({"sent": 1}, ["accepted", "duplicate_send"])


async def test_too_late_since_keeps_sending_stopped(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    insert(db)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    backup.restore()

    done = await adopt(rig, before=timedelta(minutes=-20))
    await rig.tick("dispatch")

    assert (done.earlier, done.is_complete, pauses(db)) == (1, False, ["restored"])
    assert rig.simulator.summary().messages == 1


async def test_ids_of_version_1_are_adopted_on_request(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    insert(db)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    backup.restore()
    db.execute("update outbox_engine.installation set id = '0123456789ab'")

    without = await adopt(rig, dry_run=True)
    done = await adopt(rig, all_references=True)

    assert (without.counts, done.counts.adopted) == (Counts(other=1), 1)
    assert statuses(db) == {"sent": 1}


async def test_other_plans_wait_for_their_adoption(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    insert(db)
    await rig.tick("dispatch")
    db.execute(
        "insert into outbox_engine.plans (provider, plan, host, requests_per_minute, tokens, refilled_at)"
        " values ('sinch', 'second', 'h', 600, 1, now())"
    )

    done = await adopt(rig)
    insert(db, first=1)
    await rig.tick("dispatch")

    assert (done.remaining, statuses(db)) == (("second",), {"sent": 1, "pending": 1})


async def test_unreadable_list_allows_no_claim(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig(is_checked=False)
    insert(db)
    rig.simulator.add(faults.unavailable_page(on="list"))

    await rig.tick("dispatch")
    assert (statuses(db), rig.dispatcher.stopped) == ({"pending": 1}, True)
    rig.engine.served[0].restores._again_at = 0
    await rig.tick("dispatch")

    assert (statuses(db), rig.dispatcher.stopped) == ({"sent": 1}, False)


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_account_ends_the_adoption(make_rig: MakeRig, db: Connection, status: int) -> None:
    rig = await make_rig()
    rig.simulator.add(faults.account_error(status))

    with pytest.raises(ProviderError, match=str(status)):
        await adopt(rig)

    assert [one.kind for one in rig.simulator.asked()].count("list") == 1


@pytest.mark.parametrize("fault", [faults.list_with_other_numbers(times=None), faults.list_without_references(times=None)])
async def test_rewritten_batches_are_held(make_rig: MakeRig, db: Connection, fault: Fault) -> None:
    rig = await make_rig()
    ids = insert(db, 2)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    backup.restore()
    rig.simulator.add(fault)

    await adopt(rig)
    await rig.tick("dispatch")

    assert (held(db), rig.simulator.summary().messages) == ([(row, True) for row in ids], 2)


async def test_unreadable_item_is_kept(make_rig: MakeRig, db: Connection) -> None:
    """What was read is adopted. Where the item stays unreadable, an operator can end the pause."""
    rig = await make_rig()
    insert(db)
    backup = Snapshot(db)
    insert(db, first=1)
    await rig.tick("dispatch")
    backup.restore()
    rig.simulator.add(faults.list_with_an_unreadable_item(times=None))

    done = await adopt(rig)

    assert (done.unread, done.is_complete, pauses(db)) == (1, False, ["restored"])
    assert (done.counts.adopted, done.counts.remembered, statuses(db)) == (1, 1, {"sent": 1})
    assert db.execute("select raw from outbox_engine.kept_callbacks").fetchall() == [(b'{"id": nonsense}',)]

    db.execute("select public.outbox_resume_restored(null, null)")
    insert(db, first=2)
    await (await make_rig(is_checked=False)).tick("dispatch")
    assert (statuses(db), pauses(db)) == ({"sent": 2}, [])


async def test_dismissed_restore_pauses_once(make_rig: MakeRig, db: Connection) -> None:
    """An operator has the messages sent again. A later restore is noticed all the same."""
    rig = await make_rig()
    insert(db)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    backup.restore()
    await rig.tick("reconcile")
    assert pauses(db) == ["restored"]
    db.execute("select public.outbox_resume_restored('sinch', null)")

    await rig.tick("reconcile", "dispatch", "reconcile")
    assert (pauses(db), rig.simulator.summary().messages) == ([], 2)

    backup = Snapshot(db)
    insert(db, first=1)
    await rig.tick("dispatch")
    backup.restore()
    await rig.tick("reconcile")
    assert pauses(db) == ["restored"]


async def test_reconcile_notices_a_restore(make_rig: MakeRig, db: Connection) -> None:
    rig = await make_rig()
    insert(db)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    backup.restore()

    await rig.tick("reconcile", "dispatch")

    assert (pauses(db), rig.simulator.summary().messages) == (["restored"], 1)
