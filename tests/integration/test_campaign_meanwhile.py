"""Members who are added at the moment in which their campaign is edited or stopped."""

from collections.abc import Callable
from uuid import UUID, uuid4

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


def stage(db: Connection, *, import_id: UUID | None = None, zone: str = "UTC", parameters: str = '{"name": "Ada"}') -> UUID:
    """One line of an import that is not at its end. Answers the import's id."""
    import_id = import_id or uuid4()
    refused = db.execute(
        "select public.outbox_stage_members(%s, 'c', '{1}', '{m}', %s, %s, '{2026-11-30 12:00+00:00}', %s)",
        [import_id, [number(1)], [zone], [parameters]],
    ).fetchone()
    assert refused == ([],)
    return import_id


def import_member(db: Connection) -> None:
    """As from a file, which takes long where it has many lines."""
    db.execute("select public.outbox_commit_import(%s, false)", [stage(db)])
    assert db.execute("select count(*) from public.outbox_campaign_members").fetchone() == (1,)


@pytest.mark.parametrize(
    "edit",
    [
        "update public.outbox_templates set defaults = '{}'",
        "update public.outbox_templates set body = 'Hello {{name}}, {{place}}'",
        "update public.outbox_campaigns set offsets = '{-1 day}'",
    ],
)
def test_import_checked_against_something_else_is_refused(db: Connection, edit: str) -> None:
    """The member needs the default, and has neither a place nor a zone."""
    db.execute("update public.outbox_templates set defaults = jsonb_build_object('name', 'there')")
    campaign(db, offsets=["-1 hour"])
    import_id = stage(db, zone="", parameters="{}")
    db.execute(edit.encode())

    with pytest.raises(psycopg.DataError, match="was changed during the import"):
        db.execute("select public.outbox_commit_import(%s, false)", [import_id])


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


def test_chunk_of_an_import_may_be_repeated(db: Connection) -> None:
    """A command that got no answer calls again."""
    campaign(db, offsets=["-1 hour"])
    import_id = stage(db)
    stage(db, import_id=import_id)

    answer = db.execute("select public.outbox_commit_import(%s, false)", [import_id]).fetchone()

    assert answer == ({"added": 1, "changed": 0, "unchanged": 0},)


def test_finished_import_is_not_discarded(db: Connection) -> None:
    """A command that got no answer gives up, and is started again."""
    campaign(db, offsets=["-1 hour"])
    import_id = stage(db)
    commit = "select public.outbox_commit_import(%s, false)"
    answer = db.execute(commit, [import_id]).fetchone()

    db.execute("select public.outbox_discard_import(%s)", [import_id])

    assert db.execute(commit, [import_id]).fetchone() == answer == ({"added": 1, "changed": 0, "unchanged": 0},)
