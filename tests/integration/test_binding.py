"""A database sends from the project that it is bound to. A copy under another host sends nothing."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from scheduler.cli import run_command_line
from tests.calls import pauses, plan_claim
from tests.engine import MakeRig, Rig, insert, statuses
from tests.snapshots import Snapshot
from tests.stack import Connection

Captured = pytest.CaptureFixture[str]
PRODUCTION = "abc.supabase.co"


def bound(db: Connection) -> dict[str, Any]:
    row = db.execute("select to_jsonb(i) from outbox_engine.installation i").fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return row[0]


def bind_to(db: Connection, *hosts: str) -> None:
    db.execute("update outbox_engine.installation set hosts = %s", [list(hosts)])


def test_first_claim_binds_the_database(db: Connection) -> None:
    insert(db)
    plan_claim(db)
    assert bound(db)["hosts"] == []

    assert len(plan_claim(db, project=PRODUCTION)["dispatches"]) == 0
    assert bound(db)["hosts"] == [PRODUCTION]
    insert(db, first=10)
    assert plan_claim(db, project="copy.supabase.co")["unbound"] == [PRODUCTION]
    assert len(plan_claim(db, project=PRODUCTION)["dispatches"]) == 1


def test_copy_neither_pauses_nor_wakes_rows(db: Connection) -> None:
    bind_to(db, PRODUCTION)
    insert(db)

    answer = plan_claim(db, project="copy.supabase.co", highest_lease_token="1000000000")

    assert (answer["dispatches"], answer["due"], pauses(db)) == ([], None, [])
    assert statuses(db) == {"pending": 1}


async def test_process_of_a_copy_sends_nothing(rig: Rig, db: Connection) -> None:
    bind_to(db, PRODUCTION)
    insert(db, 2)

    with capture_logs() as logs:
        await rig.tick("dispatch", "dispatch")
        assert rig.dispatcher.stopped
        bind_to(db, PRODUCTION, "localhost")
        await rig.tick("dispatch")

    warnings = [entry for entry in logs if entry["event"] == "project.unbound" and entry["log_level"] == "warning"]
    assert len(warnings) == 1
    for words in (PRODUCTION, "outbox bind", "ALLOWED_RECIPIENTS"):
        assert words in warnings[0]["meaning"]
    assert [entry["project"] for entry in logs if entry["event"] == "project.bound"] == ["localhost"]
    assert statuses(db) == {"sent": 2}
    assert not rig.dispatcher.stopped


@pytest.mark.usefixtures("project")
def test_bind_moves_a_copy_to_its_own_project(db: Connection, capsys: Captured) -> None:
    bind_to(db, PRODUCTION, "api.example.com")
    before = bound(db)["id"]

    assert run_command_line(["bind"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert run_command_line(["bind", "--yes", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {"hosts": ["localhost"], "moved": True}
    after = bound(db)
    assert (after["hosts"], after["earlier_ids"]) == (["localhost"], [before])
    assert after["id"] != before
    earlier = f"{before[:8]}-{before[8:]}-8000-8000-000000000000"
    own = db.execute(
        "select outbox_engine.is_own_reference(%(r)s), outbox_engine.is_own_reference(%(r)s, true)", {"r": earlier}
    )
    assert own.fetchone() == (False, True)


async def test_bind_before_adoption_sends_nothing_twice(make_rig: MakeRig, db: Connection) -> None:
    """A restore into another project looks like a copy. A real copy goes on once an operator has said so."""
    rig = await make_rig()
    insert(db, 2)
    await rig.tick("dispatch")
    insert(db, 3, first=10)
    backup = Snapshot(db)
    await rig.tick("dispatch")
    backup.restore()
    bind_to(db, PRODUCTION)
    rig = await make_rig(is_checked=False)
    await rig.tick("dispatch")

    db.execute("select public.outbox_bind('localhost', false)")
    await rig.tick("dispatch")
    assert (pauses(db), rig.simulator.summary().messages) == (["restored"], 5)

    db.execute("select outbox_engine.lift_restored(provider, plan) from outbox_engine.plan_pauses")
    await rig.tick("dispatch", "reconcile")
    assert (pauses(db), rig.simulator.summary().messages) == ([], 8)


@pytest.mark.usefixtures("project")
def test_bind_also_keeps_the_installation(db: Connection, capsys: Captured) -> None:
    before = bound(db)
    assert run_command_line(["bind", "--list"]) == 0
    assert "not bound" in capsys.readouterr().out

    assert run_command_line(["bind", "--also", "API.Example.com"]) == 0
    assert run_command_line(["bind", "--also", "http://kong:8000", "--yes"]) == 0
    assert run_command_line(["bind", "--also", "kong:8000", "--yes"]) == 0
    assert bound(db)["hosts"] == ["localhost", "api.example.com", "kong:8000"]
    assert run_command_line(["bind", "--yes"]) == 0

    assert bound(db) == {**before, "hosts": ["localhost"]}


@pytest.mark.usefixtures("project")
def test_status_names_another_project(db: Connection, capsys: Captured) -> None:
    bind_to(db, PRODUCTION)

    assert run_command_line(["status", "--days", "0"]) == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert f"project {PRODUCTION}: a process with SUPABASE_URL at localhost sends nothing" in shown
    assert "paused all plans, unbound: a process with SUPABASE_URL at localhost sends nothing, until `outbox bind`" in shown


@pytest.mark.usefixtures("project")
def test_bind_counts_what_a_copy_would_send(db: Connection, capsys: Captured) -> None:
    bind_to(db, PRODUCTION)
    insert(db, 2)
    insert(db, first=2, send_at="2099-01-01Z")

    assert run_command_line(["bind"]) == 2
    assert "Messages in this database: 2 due, 1 scheduled." in capsys.readouterr().out
    assert run_command_line(["cancel", "--all"]) == 2
    assert run_command_line(["cancel", "--all", "--yes"]) == 0
    assert statuses(db) == {"cancelled": 3}
    assert run_command_line(["bind", "--yes"]) == 0
    assert "Messages in this database: 0 due, 0 scheduled." in capsys.readouterr().out


@pytest.mark.usefixtures("project")
def test_status_and_resume_name_the_adoption(db: Connection, capsys: Captured) -> None:
    plan_claim(db, highest_lease_token="1000000000")

    assert run_command_line(["status", "--days", "0"]) == 0
    assert "until `outbox adopt --since TIME` has adopted" in " ".join(capsys.readouterr().out.split())
    assert run_command_line(["resume", "--force"]) == 0
    assert "outbox adopt" in capsys.readouterr().out
    assert pauses(db) == ["restored"]
    assert run_command_line(["resume", "--restored"]) == 2
    assert run_command_line(["resume", "--restored", "--yes"]) == 0

    assert "resumed" in capsys.readouterr().out
    assert pauses(db) == []


@pytest.mark.usefixtures("project")
def test_resume_without_a_restore_says_so(db: Connection, capsys: Captured) -> None:
    """No question, because nothing would be sent again. An operator's pause ends as without the option."""
    assert run_command_line(["pause", "--provider", "sinch", "--plan", "p"]) == 0
    capsys.readouterr()

    assert run_command_line(["resume", "--restored"]) == 0

    said = capsys.readouterr().out
    assert said.startswith("no plan is paused because of a restore\nresumed: ")
    assert pauses(db) == []
