"""Statuses change by transitions only, and only the engine makes them."""

import re
from collections.abc import Iterator

import psycopg
import pytest

from tests.calls import claim
from tests.engine import insert, statuses
from tests.stack import Connection, as_engine

MARK = "select set_config('outbox.writer', '0', false)"


STARTS = """
    select * from (values
      ('sent', null::smallint, null::timestamptz), ('pending', null, null), ('scheduled', null, null),
      ('suppressed', null, now()), ('failed', null, now()), ('expired', null, now()), ('cancelled', null, now()),
      ('unknown', null, now()), ('unknown', outbox_engine.rank_of('unknown'), now())
    ) s (status, reported_rank, finalized_at)
"""
REPORTS = """
    select status, code from unnest(array[
      'dispatched', 'unknown', 'expired', 'cancelled', 'deleted', 'aborted', 'rejected', 'failed', 'delivered'
    ]) status, unnest(array[402, 404]) code
"""
REPORT = """
    select outbox_engine.advance_statuses(array_agg(o.id order by o.id), array_agg(o.dispatch_id order by o.id),
      array_agg('sinch'::text), array_agg(c.{0}_status order by o.id), array_agg(c.{0}_code order by o.id),
      array_agg(c.{0}_at order by o.id), null, null, outbox_engine.now())
    from cases c join public.outbox o on o.id = c.id
"""


@pytest.fixture
def backend(db: Connection) -> Iterator[Connection]:
    """The connection, and a role of the project's that may update the table."""
    db.execute("create role project_backend")
    db.execute("grant usage on schema public, outbox_engine to project_backend")
    db.execute("grant all on public.outbox to project_backend")
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


@pytest.mark.parametrize("changed", ["", ", cancel_requested_at = now()", ", expires_at = now()"])
def test_any_two_reports_pass_the_guard(db: Connection, changed: str) -> None:
    """Of the same request, in either order of their times, whatever the engine made of the message before."""
    db.execute(f"""
        create temporary table cases as
        select row_number() over () as id, s.*, one.status as one_status, one.code as one_code, now() as one_at,
          two.status as two_status, two.code as two_code, now() + two_at.later as two_at
        from ({STARTS}) s, ({REPORTS}) one, ({REPORTS}) two, (values ('1 s'::interval), ('-1 s'), ('0')) two_at (later)
    """)
    db.execute("insert into public.outbox (recipient, body) select '+14155550123', 'text' from cases")
    db.execute("update cases set id = id + (select min(id) from public.outbox) - 1")
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(f"""
            update public.outbox o
            set status = c.status, reported_rank = c.reported_rank, finalized_at = c.finalized_at, attempts = 1,
              queue = case c.status when 'pending' then 'r' when 'scheduled' then 'w' end::"char",
              dispatch_id = gen_random_uuid() {changed}
            from cases c where c.id = o.id
        """)

    db.execute(REPORT.format("one").encode())
    db.execute(REPORT.format("two").encode())

    delivered = """
        select bool_and(o.status = 'delivered') from cases c join public.outbox o using (id)
        where 'delivered' in (c.one_status, c.two_status)
    """
    assert db.execute(delivered).fetchone() == (True,)
    db.execute("drop table cases")


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
