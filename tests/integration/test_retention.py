"""What is kept, for how long, and what is deleted together."""

from typing import Any

import pytest

from tests.calls import report
from tests.campaigns import campaign, template
from tests.engine import Clocks, Rig, column, insert, later, number, stand_still
from tests.integration.replies import text_in
from tests.races import overlap
from tests.stack import Connection, as_engine

UPKEEP = "select public.outbox_upkeep(%s, %s, 1000)"


async def finish(rig: Rig, db: Connection, row: int) -> None:
    """Send it, and say that it was delivered."""
    await rig.tick("dispatch")
    report(db, column(db, "batch_id", row), column(db, "recipient", row), "delivered")
    assert column(db, "status", row) == "delivered"


def left(db: Connection) -> dict[str, int]:
    tables = ("public.outbox", "public.outbox_events", "outbox_engine.dispatches", "outbox_engine.dispatch_members")
    counts = {}
    for table in tables:
        row = db.execute(f"select count(*) from {table}".encode()).fetchone()
        assert row is not None
        counts[table] = int(str(row[0]))
    return counts


async def test_pruning_removes_history_and_dispatch_of_old_rows(rig: Rig, db: Connection, clocks: Clocks) -> None:
    """Younger rows keep theirs."""
    (old,) = insert(db, 1)
    await finish(rig, db, old)
    clocks.move("60 days")
    (young,) = insert(db, 1, first=1)
    await finish(rig, db, young)
    clocks.move("31 days")

    db.execute(UPKEEP, [90, None])

    assert db.execute("select id from public.outbox").fetchall() == [(young,)]
    assert left(db) == {
        "public.outbox": 1,
        "public.outbox_events": 2,
        "outbox_engine.dispatches": 1,
        "outbox_engine.dispatch_members": 1,
    }


def test_row_that_ends_late_is_pruned_too(db: Connection) -> None:
    """Retention has passed it before, when it still waited."""
    stand_still(db)
    late, *_ = insert(db, 1, send_at="2100-01-01")
    cancelled(db, 3, first=1)
    later(db, "91 days")
    db.execute(UPKEEP, [90, None])
    assert db.execute("select id from public.outbox").fetchall() == [(late,)]

    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [late])
    later(db, "91 days")
    for _ in range(2):
        db.execute(UPKEEP, [90, None])

    assert db.execute("select id from public.outbox").fetchall() == []


@pytest.mark.parametrize(("days", "blank"), [(6, False), (8, True)])
async def test_a_text_is_blanked_before_its_row_goes(rig: Rig, db: Connection, days: int, blank: bool) -> None:
    (row,) = insert(db, 1)
    await finish(rig, db, row)
    later(db, f"{days} days")

    db.execute(UPKEEP, [90, 7])

    assert (column(db, "status", row), column(db, "body", row) is None) == ("delivered", blank)


def test_every_text_is_blanked_across_several_stretches(db: Connection) -> None:
    """Each call reads two rows."""
    cancelled(db, 5)
    later(db, "8 days")

    assert texts(db, stretch=2) == 0


def test_a_text_that_ends_late_is_blanked_later(db: Connection) -> None:
    """An earlier call has passed the row, when the row was not final yet."""
    stand_still(db)
    cancelled(db, 3)
    late, *_ = insert(db, 1, first=3, send_at="2100-01-01")
    cancelled(db, 3, first=4)
    later(db, "8 days")
    assert texts(db, stretch=2) == 1

    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [late])
    later(db, "6 days 23 hours")
    assert texts(db, stretch=2) == 1
    later(db, "1 day")
    assert texts(db, stretch=2) == 0


def test_a_long_table_is_walked_once_a_day(db: Connection) -> None:
    stand_still(db)
    cancelled(db, 3)
    later(db, "2 hours")
    cancelled(db, 3, first=3)

    left = []
    for interval in ("6 days 23 hours", "2 hours", "21 hours 59 minutes", "1 minute"):
        later(db, interval)
        left.append(texts(db, stretch=2))

    assert left == [3, 3, 3, 0]


def test_row_is_pruned_after_its_text_was_blanked(db: Connection) -> None:
    cancelled(db, 5)
    later(db, "8 days")
    assert texts(db, stretch=2) == 0
    young = cancelled(db, 3, first=5)
    later(db, "83 days")

    assert texts(db, stretch=2) == 0
    assert [row for (row,) in db.execute("select id from public.outbox order by id")] == young


def cancelled(db: Connection, count: int, *, first: int = 0) -> list[int]:
    rows = insert(db, count, first=first)
    db.execute("select public.outbox_cancel(%s, false)", [rows])
    return rows


def texts(db: Connection, *, stretch: int) -> int:
    """How many rows have a text when upkeep has no more work. Texts are kept for 7 days and rows for 90."""
    while True:
        answer: Any = db.execute("select public.outbox_upkeep(90, 7, %s)", [stretch]).fetchone()
        if not answer[0]["more"]:
            found: Any = db.execute("select count(body) from public.outbox").fetchone()
            return int(found[0])


@pytest.mark.parametrize(("days", "kept"), [(89, 1), (91, 0)])
def test_replies_are_kept_from_when_they_came(db: Connection, days: int, kept: int) -> None:
    """However old a reply was when polling found it."""
    text_in(db, "hello", ago=80 * 86_400)
    later(db, f"{days} days")

    db.execute(UPKEEP, [90, None])

    assert db.execute("select count(*) from public.outbox_inbound").fetchone() == (kept,)


@pytest.mark.parametrize(("days", "kept"), [(89, 1), (91, 0)])
def test_unreadable_callbacks_are_kept_as_long_as_rows(db: Connection, days: int, kept: int) -> None:
    db.execute("select public.outbox_keep_callbacks(array['new type'], array['e30='])")
    later(db, f"{days} days")

    db.execute(UPKEEP, [90, None])

    assert db.execute("select count(*) from outbox_engine.kept_callbacks").fetchone() == (kept,)


@pytest.mark.parametrize(("days", "kept"), [(30, 1), (31, 0)])
def test_acknowledged_alarms_are_kept_thirty_days(db: Connection, days: int, kept: int) -> None:
    """One that no process has logged stays."""
    stand_still(db)
    for kind in ("logged", "waiting"):
        db.execute("select outbox_engine.alarm(%s, '{}')", [kind])
    db.execute("select public.outbox_acknowledge_alarms(array_agg(id::text)) from outbox_engine.alarms where kind = 'logged'")
    later(db, f"{days} days")

    db.execute(UPKEEP, [90, None])

    found = db.execute("select kind from outbox_engine.alarms order by id").fetchall()
    assert found == [("logged",)] * kept + [("waiting",)]


@pytest.mark.parametrize(("hours", "kept"), [(24, 1), (25, 0)])
def test_unfinished_imports_are_kept_a_day(db: Connection, hours: int, kept: int) -> None:
    stand_still(db)
    template(db)
    campaign(db, offsets=["-1 hour"])
    db.execute(
        "select public.outbox_stage_members(gen_random_uuid(), 'c', '{1}', '{m}', %s, '{UTC}', '{2026-11-30 12:00Z}', %s)",
        [[number(1)], ['{"name": "Ada"}']],
    )
    later(db, f"{hours} hours")

    db.execute(UPKEEP, [90, None])

    assert db.execute("select count(*) from outbox_engine.campaign_import_lines").fetchone() == (kept,)


async def test_row_retried_during_pruning_is_kept(rig: Rig, db: Connection, clocks: Clocks, other: Connection) -> None:
    (row,) = insert(db, 1)
    db.execute("select public.outbox_cancel(array[%s::bigint], false)", [row])
    clocks.move("91 days")

    overlap(
        db,
        lambda: as_engine(
            db, "update public.outbox set status = 'pending', queue = 'r', finalized_at = null where id = %s", [row]
        ),
        lambda: other.execute(UPKEEP, [90, None]),
    )

    assert column(db, "status", row) == "pending"


async def test_report_during_pruning_leaves_nothing_behind(rig: Rig, db: Connection, other: Connection, clocks: Clocks) -> None:
    (row,) = insert(db, 1)
    await finish(rig, db, row)
    batch = column(db, "batch_id", row)
    clocks.move("91 days")
    report(db, "another", number(1), "dispatched")  # or its tick would be as old, and gone

    overlap(db, lambda: db.execute(UPKEEP, [90, None]), lambda: report(other, batch, number(0), "dispatched", 401))

    assert set(left(db).values()) == {0}
