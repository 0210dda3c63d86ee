"""Messages that are deleted, and members that are removed, agree with what really went out."""

import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sandbox.local.binaries import postgres_bin
from sandbox.local.stack import LocalStack
from tests.calls import accept, claim, look_up, mark_ambiguous, report
from tests.campaigns import campaign, member, reasons, rows, template
from tests.engine import Clocks, Rig, history, insert, later, number, statuses
from tests.stack import Connection

NOW = "2026-11-24 12:00+00"
UPKEEP = "select public.outbox_upkeep(90, null, 1000)"


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    template(db)


async def one_message(db: Connection, rig: Rig) -> None:
    campaign(db, schedule="once", starts_at=NOW, late_limit="5 hours")
    member(db)
    await rig.tick("campaigns")


def campaign_report(db: Connection) -> dict[str, Any]:
    answer: Any = db.execute("select public.outbox_campaign_report('c')").fetchone()
    return dict(answer[0])


def counts(db: Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Messages by status, and skipped times by reason, as the campaign's report shows them."""
    shown = campaign_report(db)
    return shown["statuses"], {one["reason"]: one["messages"] for one in shown["skipped"]}


@pytest.mark.parametrize("found_by", ["answer", "lookup"])
async def test_message_sent_despite_removal_has_no_reason(db: Connection, rig: Rig, found_by: str) -> None:
    await one_message(db, rig)
    dispatch = claim(db)
    if found_by == "lookup":
        mark_ambiguous(db, dispatch)
    db.execute("delete from public.outbox_campaign_members")

    if found_by == "answer":
        accept(db, dispatch, "B1")
    else:
        look_up(db, dispatch, ["B1"])
    report(db, "B1", number(1), "delivered")

    assert rows(db, "status, error") == [("delivered", None)]
    assert reasons(db) == [None]


async def test_unknown_outcome_after_removal_has_no_reason(db: Connection, rig: Rig, clocks: Clocks) -> None:
    await one_message(db, rig)
    mark_ambiguous(db, claim(db))
    db.execute("delete from public.outbox_campaign_members")

    clocks.move("14 days")
    await rig.tick("upkeep")

    assert rows(db) == [("unknown",)]
    assert reasons(db) == [None]


async def test_removed_member_whose_message_returns_has_reason(db: Connection, rig: Rig) -> None:
    await one_message(db, rig)
    dispatch = claim(db)
    db.execute("delete from public.outbox_campaign_members")

    db.execute("select public.outbox_release(array[%s::uuid], array[%s])", [dispatch["dispatch_id"], dispatch["lease_token"]])

    assert rows(db) == [("cancelled",)]
    assert reasons(db) == ["the member was removed from the campaign"]


async def test_emptied_members_are_withdrawn_as_deleted_ones(db: Connection, rig: Rig) -> None:
    await one_message(db, rig)

    db.execute("truncate public.outbox_campaign_members")
    await rig.tick("campaigns")

    assert rows(db) == [("cancelled",)]
    assert db.execute("select member_count from public.outbox_campaigns").fetchall() == [(0,)]


@pytest.mark.parametrize("how", ["delete from public.outbox", "truncate public.outbox restart identity"])
def test_late_report_never_touches_another_message(db: Connection, how: str) -> None:
    insert(db, first=1)
    dispatch = claim(db)
    accept(db, dispatch, "B1")
    reference = dispatch["dispatch_id"]
    db.execute(how)
    (new,) = insert(db, first=1, send_at="2026-12-24")

    report(db, "B1", number(1), "delivered")
    report(db, "B2", number(1), "delivered", reference=reference)

    assert rows(db, "id, status, attempts, sent_at") == [(new, "scheduled", 0, None)]
    assert history(db, new) == []
    assert db.execute("select outbox_id from public.outbox_events").fetchall() == []


@pytest.mark.parametrize("tables", ["outbox", "outbox, public.outbox_events", "outbox_events, public.outbox"])
def test_emptied_outbox_forgets_but_repeats_no_id(db: Connection, tables: str) -> None:
    *_, last = insert(db, 3)
    accept(db, claim(db), "B1")

    db.execute(f"truncate public.{tables} restart identity")

    assert insert(db) == [last + 1]
    assert history(db, last) == []
    assert db.execute("select from outbox_engine.dispatch_members").fetchall() == []


def test_outcome_of_a_deleted_message_is_recorded(db: Connection) -> None:
    """The provider's batch stays known, so it is not taken for a batch of another database."""
    insert(db, 2)
    dispatch = claim(db)
    db.execute("delete from public.outbox")

    accept(db, dispatch, "B1")

    assert db.execute("select state, batch_id from outbox_engine.dispatches").fetchall() == [("accepted", "B1")]


def test_deleted_message_of_a_lost_request_stays_deleted(db: Connection) -> None:
    kept, deleted = insert(db, 2)
    dispatch = claim(db)
    mark_ambiguous(db, dispatch)
    db.execute("delete from public.outbox where id = %s", [deleted])

    for _ in range(2):
        later(db, "30 seconds")
        look_up(db, dispatch, [])

    assert rows(db, "id, status") == [(kept, "pending")]


@pytest.mark.parametrize(("days", "left"), [(14, 1), (15, 0)])
def test_dispatch_is_kept_while_provider_lists_it(db: Connection, days: int, left: int) -> None:
    insert(db)
    accept(db, claim(db), "B1")
    db.execute("delete from public.outbox")

    later(db, f"{days} days")
    db.execute(UPKEEP)

    assert len(db.execute("select from outbox_engine.dispatches").fetchall()) == left
    assert len(db.execute("select from outbox_engine.emptied_dispatches").fetchall()) == left


@pytest.mark.parametrize("how", ["delete from public.outbox", "truncate public.outbox"])
async def test_deleted_waiting_message_is_not_made_again(db: Connection, rig: Rig, how: str) -> None:
    await one_message(db, rig)

    db.execute(how)
    db.execute("update public.outbox_campaign_members set timezone = 'Europe/Berlin'")
    await rig.tick("campaigns")

    assert rows(db) == []
    assert reasons(db) == ["the message was deleted"]
    assert counts(db) == ({}, {"the message was deleted": 1})


@pytest.mark.parametrize("how", ["delete from public.outbox", "truncate public.outbox"])
@pytest.mark.parametrize(("reported", "counted"), [("delivered", "delivered"), (None, "unknown")])
async def test_deleted_sent_message_is_still_counted(
    db: Connection, rig: Rig, how: str, reported: str | None, counted: str
) -> None:
    await one_message(db, rig)
    accept(db, claim(db), "B1")
    if reported is not None:
        report(db, "B1", number(1), reported)

    db.execute(how)

    assert counts(db) == ({counted: 1}, {})


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"status": "sent"}, "the row brings its own status"),
        ({"status": "pending"}, "the row brings its own status"),
        ({"batch_id": "B1"}, "the row brings its own outcome"),
        ({"sent_at": NOW}, "the row brings its own outcome"),
    ],
)
def test_row_with_an_outcome_is_refused(db: Connection, columns: dict[str, Any], says: str) -> None:
    with pytest.raises(psycopg.errors.DatabaseError, match=says):
        insert(db, **columns)

    assert statuses(db) == {}


def test_restored_rows_keep_their_statuses(db: Connection) -> None:
    """A data-only restore as Supabase documents it: triggers are disabled for the session."""
    insert(db, 2)
    accept(db, claim(db), "B1")
    insert(db, first=5, send_at="2026-12-24")
    before = rows(db, "outbox")
    db.execute("create temporary table backup as table public.outbox")
    db.execute("delete from public.outbox")

    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute("insert into public.outbox overriding system value table backup")

    assert rows(db, "outbox") == before
    assert statuses(db) == {"sent": 2, "scheduled": 1}


def test_documented_restore_of_rows_works(db: Connection, stack: LocalStack, tmp_path: Path) -> None:
    """A new database has rows of its own, such as its installation: the dump's take their place."""
    insert(db, 2)
    accept(db, claim(db), "B1")
    before = rows(db, "outbox"), db.execute("select id from outbox_engine.installation").fetchall()
    data, empty = tmp_path / "data.sql", tmp_path / "empty.sql"
    schemas = "--schema=public", "--schema=outbox_engine"
    _run("pg_dump", stack.admin_url, "--data-only", *schemas, "--file", str(data))
    db.execute("delete from public.outbox")
    db.execute("update outbox_engine.installation set id = default")

    page = Path("docs/operating.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"<<'SQL'\n(.*?)^SQL$", page, re.DOTALL | re.MULTILINE)
    empty.write_text(script, encoding="utf-8")
    files = "--file", str(empty), "--file", str(data)
    _run("psql", stack.admin_url, "--quiet", "--single-transaction", "--variable", "ON_ERROR_STOP=1", *files)

    assert (rows(db, "outbox"), db.execute("select id from outbox_engine.installation").fetchall()) == before


def _run(program: str, *arguments: str) -> None:
    subprocess.run([str(postgres_bin() / program), *arguments], check=True, stdout=subprocess.DEVNULL)
