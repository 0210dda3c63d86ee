"""Members who are added at the moment in which their campaign is edited or stopped."""

from collections.abc import Callable

import psycopg
import pytest

from tests.campaigns import campaign, member, template
from tests.engine import Clocks, number
from tests.races import overlap
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    template(db)


@pytest.mark.parametrize("member_first", [True, False])
def test_edit_that_needs_zones_sees_concurrent_members(db: Connection, other: Connection, member_first: bool) -> None:
    campaign(db, offsets=["-1 hour"])

    def add(on: Connection) -> None:
        member(on, zone=None, event_at="2026-11-30 12:00+00")

    def edit(on: Connection) -> None:
        on.execute("update public.outbox_campaigns set daily_cap = 1")

    first, second = (add, edit) if member_first else (edit, add)
    with pytest.raises(psycopg.DataError, match="its daily_cap needs one"):
        overlap(db, lambda: first(db), lambda: second(other))


def insert_member(db: Connection) -> None:
    member(db, event_at="2026-11-30 12:00+00")


def import_member(db: Connection) -> None:
    """Members from a file, which takes long for many lines."""
    (import_id,) = db.execute("select gen_random_uuid()").fetchone() or (None,)
    db.execute(
        "select public.outbox_stage_members(%s, 'c', '{1}', '{m}', %s, '{UTC}', '{2026-11-30 12:00Z}', %s)",
        [import_id, [number(1)], ['{"name": "Ada"}']],
    )
    db.execute("select public.outbox_commit_import(%s, false)", [import_id])
    assert db.execute("select count(*) from public.outbox_campaign_members").fetchone() == (1,)


@pytest.mark.parametrize("add", [insert_member, import_member])
@pytest.mark.parametrize("status", ["paused", "ended"])
def test_campaign_can_be_stopped_during_an_import(
    db: Connection, other: Connection, status: str, add: Callable[[Connection], None]
) -> None:
    """Adding many members takes long."""
    campaign(db, offsets=["-1 hour"])
    other.execute("set lock_timeout = '1s'")
    try:
        with db.transaction():
            add(db)
            other.execute("select public.outbox_switch_campaign('c', %s, 100)", [status])
    finally:
        other.execute("reset lock_timeout")

    assert db.execute("select status from public.outbox_campaigns").fetchone() == (status,)
