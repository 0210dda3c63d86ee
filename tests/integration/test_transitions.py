"""Statuses change by transitions only, and only the engine makes them."""

import re
from collections.abc import Iterator

import psycopg
import pytest

from tests.calls import claim
from tests.engine import insert, statuses
from tests.stack import Connection, as_engine

MARK = "select set_config('outbox.writer', '0', false)"


@pytest.fixture
def backend(db: Connection) -> Iterator[Connection]:
    """The connection, and a role of the project's that may update the table."""
    db.execute("create role project_backend")
    db.execute("grant usage on schema public, outbox_engine to project_backend")
    db.execute("grant select, update on public.outbox to project_backend")
    db.execute("create policy project_backend on public.outbox for all to project_backend using (true)")
    yield db
    db.execute("reset role")
    db.execute("drop policy project_backend on public.outbox")
    db.execute("drop owned by project_backend")
    db.execute("drop role project_backend")


@pytest.mark.parametrize("role", ["service_role", "project_backend"])
def test_other_roles_cannot_mark_their_writes(backend: Connection, role: str) -> None:
    insert(backend, 1)
    backend.execute(MARK)
    backend.execute(f"set role {role}")

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="written by the engine"):
        backend.execute("update public.outbox set status = 'sending'")

    backend.execute("reset role")
    backend.execute("reset outbox.writer")
    assert statuses(backend) == {"pending": 1}


def test_mark_ends_with_the_call(db: Connection) -> None:
    """A function of the project's calls one of ours and then writes."""
    one, other = insert(db, 2)

    with db.transaction():
        db.execute("select public.outbox_cancel(array[%s::bigint], false)", [one])
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="written by the engine"), db.transaction():
            db.execute("update public.outbox set status = 'delivered' where id = %s", [other])
        claim(db)
        assert db.execute("select current_setting('outbox.writer', true)").fetchone() == ("",)


def test_mark_ends_with_a_failed_call(db: Connection) -> None:
    """What fails in a block of its own leaves no mark to the rest of the transaction."""
    insert(db, 1)

    with db.transaction():
        with pytest.raises(psycopg.errors.RaiseException), db.transaction():
            change(db, "refused")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("update public.outbox set status = 'delivered'")


def test_triggers_of_the_project_write_as_apps(db: Connection) -> None:
    """A trigger that runs within a statement of the engine's has no part in its mark."""
    one, other = insert(db, 2)
    db.execute(f"""
        create function public.cancel_other() returns trigger language plpgsql security definer as $$
        begin update public.outbox set status = 'cancelled' where id = {other}; return null; end $$;
        create trigger z_project after update on public.outbox for each row
        when (old.id = {one} and new.status <> old.status) execute function public.cancel_other()
    """)
    try:
        change(db, "expired", one)
    finally:
        db.execute("drop function public.cancel_other() cascade")

    assert statuses(db) == {"expired": 1, "cancelled": 1}
    events = db.execute("select outbox_id, source, event from public.outbox_events order by outbox_id").fetchall()
    assert events == [(one, "engine", "expired"), (other, "app", "cancelled")]


@pytest.mark.parametrize(("was", "becomes"), [("sending", "scheduled"), ("sent", "suppressed"), ("delivered", "sent")])
def test_guard_refuses_what_no_transition_allows(db: Connection, was: str, becomes: str) -> None:
    insert(db, 1)
    for status in ("sending", "sent", "delivered"):
        as_engine(db, "update public.outbox set status = %s", [status])
        if status == was:
            break

    with pytest.raises(psycopg.errors.RaiseException, match=f"cannot turn from {was} into {becomes}"):
        as_engine(db, "update public.outbox set status = %s", [becomes])


def test_an_impossible_event_changes_nothing(db: Connection) -> None:
    one, other = insert(db, 2)
    claim(db)
    as_engine(db, "update public.outbox set status = 'sent', queue = null where id = %s", [other])

    with pytest.raises(psycopg.errors.RaiseException, match="only 1 of these messages may have this event"):
        change(db, "refused", one, other)

    assert statuses(db) == {"sending": 1, "sent": 1}


def test_guard_lets_pass_what_is_a_transition(db: Connection) -> None:
    """For speed the trigger does not ask about the usual changes: each of them has to be one."""
    row = db.execute("select pg_get_triggerdef(oid) from pg_trigger where tgname = 'outbox_8_transition'").fetchone()
    assert row is not None
    unasked = set(re.findall(r"[a-z]+>[a-z]+", str(row[0])))

    allowed = {pair for (pair,) in db.execute("select status || '>' || becomes from outbox_engine.transitions")}

    assert unasked
    assert unasked <= allowed


def change(db: Connection, event: str, *ids: int) -> None:
    db.execute(
        "select outbox_engine.change_statuses(array_agg(row(id, %s, null, null, null, null)::outbox_engine.status_change),"
        " 'engine', outbox_engine.now()) from public.outbox where id = any (%s) or %s",
        [event, list(ids), not ids],
    )
