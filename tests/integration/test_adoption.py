"""A database that was restored from a backup: nothing is sent before `outbox adopt`, and nothing twice after it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.adoption import Adopted, Adoption
from tests.engine import MakeRig, Rig, insert, statuses
from tests.snapshots import Snapshot
from tests.stack import Connection

BEGAN = timedelta(hours=1)


async def adopt(rig: Rig, *, dry_run: bool = False, since: datetime | None = None, all_references: bool = False) -> Adopted:
    engine = rig.engine
    adoption = Adoption(
        gateway=engine.gateway,
        provider=engine.provider,
        plan=engine.plan,
        deadline=10,
        all_references=all_references,
        show=lambda *_: None,
    )
    return await adoption.run(since or datetime.now(UTC) - BEGAN, dry_run=dry_run)


def sent_twice(rig: Rig) -> int:
    return rig.simulator.summary().sent_twice


def pauses(db: Connection) -> list[Any]:
    return [kind for (kind,) in db.execute("select kind from outbox_engine.plan_pauses").fetchall()]


def everything(db: Connection) -> list[Any]:
    tables = "public.outbox", "public.outbox_events", "outbox_engine.dispatches", "outbox_engine.adopted_messages"
    return [db.execute(f"select * from {table} order by 1, 2").fetchall() for table in tables]


async def test_restored_database_sends_nothing_twice(make_rig: MakeRig, db: Connection) -> None:
    """Single messages and batches; one text twice to one number; typed texts that shared a request."""
    rig = await make_rig()
    insert(db, 3)
    await rig.tick("dispatch")
    insert(db, 100, first=100)
    for n in range(40):
        insert(db, 1, body=f"code {n}", first=n)
    insert(db, 1, body="twice", first=7)
    insert(db, 1, body="twice", first=7)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    insert(db, 5, body="after the backup", first=50)
    await rig.tick("dispatch")
    accepted = rig.simulator.summary().messages
    backup.restore()

    rig = await make_rig(is_checked=False)
    await rig.tick("dispatch")
    assert rig.simulator.summary().messages == accepted
    assert pauses(db) == ["restored"]
    before = everything(db)
    trial = await adopt(rig, dry_run=True)
    assert everything(db) == before
    done = await adopt(rig)
    await rig.tick("dispatch")

    assert (done.counts.adopted, done.counts.remembered, trial.counts) == (142, 5, done.counts)
    assert (rig.simulator.summary().messages, sent_twice(rig)) == (accepted, 1)
    assert statuses(db) == {"sent": 145}
    assert pauses(db) == []
