"""The audit: every change of an operator is recorded with its actor, in its own transaction, and stays."""

import asyncio
import json
from typing import Any

import psycopg
import pytest

from jobs.gateway.operating import Operating, Suppression
from sandbox.local.stack import LocalStack
from tests.engine import insert, supabase_settings
from tests.outgoing import call
from tests.plans import fresh_plans, touched
from tests.stack import Connection

__all__ = ["fresh_plans"]

NOT_AUDITED = {
    "outbox_acknowledge_alarms": "a process logs alarms",
    "outbox_stage_members": "staged lines change nothing; their commit is audited",
    "outbox_discard_import": "staged lines change nothing",
    "outbox_match_again": "goes on with a change of routes, which is audited",
    "outbox_reschedule": "apps call it",
    "outbox_preview_bulk": "changes nothing",
    "outbox_take_test_report": "deletes the doctor's own test callback",
    "outbox_try_auth_hook": "rolls back what it tries",
    "outbox_tend_dashboard": "the figures job calls it",
    "outbox_continue_bulk": "goes on with an action, which is audited; so are the calls that it makes",
}
ENGINE = {
    "outbox_accept",
    "outbox_adopted_batches",
    "outbox_check_references",
    "outbox_claim_due",
    "outbox_claim_events",
    "outbox_claim_inbound_window",
    "outbox_claim_lookups",
    "outbox_claim_reconciliation",
    "outbox_draw_requests",
    "outbox_end_process",
    "outbox_expand_campaigns",
    "outbox_find_overlooked",
    "outbox_finish_inbound_window",
    "outbox_finish_reconciliation",
    "outbox_keep_callbacks",
    "outbox_mark_ambiguous",
    "outbox_note_waiting",
    "outbox_pause_plan",
    "outbox_postpone_lookup",
    "outbox_reconcile_soon",
    "outbox_record_clocks",
    "outbox_record_event_results",
    "outbox_record_failed_lookup",
    "outbox_record_inbounds",
    "outbox_record_lookup",
    "outbox_record_missed_lookup",
    "outbox_record_rejected_callbacks",
    "outbox_record_reports",
    "outbox_refuse",
    "outbox_release",
    "outbox_renew",
    "outbox_run_upkeep",
    "outbox_send_sms",
    "outbox_send_sms_over_http",
    "outbox_take_alarms",
    "outbox_take_reports",
    "outbox_upkeep",
}
"""Calls of processes and of the Auth hook."""
READING = {"outbox_status", "outbox_metrics", "outbox_daily_figures", "outbox_preview_campaign", "outbox_ping"}
"""They change nothing, and are not marked stable because they plan queries or raise errors on purpose."""


def entries(db: Connection) -> list[tuple[Any, ...]]:
    return db.execute("select actor, via, action, target, detail from outbox_engine.audit order by id").fetchall()


def test_every_volatile_function_audits(db: Connection) -> None:
    """A new function is found here: audit it, or say why it needs no audit."""
    rows = db.execute(
        "select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace and proname like 'outbox\\_%'"
        " and provolatile = 'v' and prorettype <> 'trigger'::regtype"
    ).fetchall()
    silent = {str(name) for name, source in rows if "outbox_engine.audit_" not in str(source)}
    known = NOT_AUDITED.keys() | READING | ENGINE

    assert silent - known == set()


def test_command_is_recorded_with_its_actor(db: Connection, stack: LocalStack) -> None:
    (message,) = insert(db, 1)

    async def work() -> None:
        operating = await Operating.connect(supabase_settings(stack), actor="Zoë +14155550123", via="command")
        await operating.cancel([message], dry_run=True)
        await operating.cancel([message])
        await operating.acting_as("ops@example.com", "dashboard").import_suppressions(
            [Suppression("+14155550123", "asked for it", replied=False)]
        )
        await operating.aclose()

    asyncio.run(work())

    assert entries(db) == [
        ("Zoë …23", "command", "cancel", str(message), {"cancelled": 1}),
        ("ops@example.com", "dashboard", "import_suppressions", None, {"added": 1, "lines": 1}),
    ]


def test_sql_is_recorded_with_its_role(db: Connection) -> None:
    db.execute("select public.outbox_pause('sinch', 'plan', null, null, 'call +14155550123')")

    (entry,) = entries(db)
    assert entry[1:4] == ("sql", "pause", "sinch:plan")
    assert entry[4]["reason"] == "call …23"


def test_refused_change_leaves_no_entry(db: Connection) -> None:
    with pytest.raises(psycopg.DataError):
        db.execute("select public.outbox_switch_campaign('none', 'paused', 10)")

    assert entries(db) == []


@pytest.mark.parametrize("change", ["update outbox_engine.audit set actor = 'me'", "delete from outbox_engine.audit"])
def test_audit_cannot_be_changed(db: Connection, change: str) -> None:
    db.execute("select public.outbox_pause(null, null, null, null, null)")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(change.encode())


def test_retention_removes_old_entries(db: Connection) -> None:
    db.execute("select public.outbox_pause(null, null, null, null, null)")
    db.execute("update outbox_engine.clock set shift = '11 days'")
    db.execute("select public.outbox_resume(null, null, false)")

    db.execute("select public.outbox_tend_dashboard(%s, 100)", [json.dumps({"audit": 10})])

    assert [entry[2] for entry in entries(db)] == ["resume"]


def test_headers_are_cleaned(db: Connection) -> None:
    def caller(**headers: str) -> tuple[Any, ...] | None:
        with db.transaction():
            db.execute("select set_config('request.headers', %s, true)", [json.dumps(headers)])
            return db.execute("select * from outbox_engine.caller()").fetchone()

    assert caller(**{"x-outbox-actor": "a%0Ab%07", "x-outbox-via": "<b>"}) == ("a b", "api")
    assert caller(**{"x-outbox-actor": "%FF%", "x-outbox-via": "dashboard"}) == ("%FF%", "dashboard")
    assert caller(**{"x-outbox-actor": "é" * 300, "x-outbox-via": "x"}) == ("é" * 100, "x")


def test_list_is_filtered_and_paged(db: Connection) -> None:
    for provider in ("sinch", "vonage", "sinch"):
        db.execute("select public.outbox_pause(%s, 'plan', null, null, null)", [provider])

    def page(wanted: dict[str, Any], before: int | None, most: int) -> Any:
        row = db.execute("select public.outbox_list_audit(%s, %s, %s)", [json.dumps(wanted), before, most]).fetchone()
        assert row is not None
        return row[0]

    first = page({"target": "sinch"}, None, 1)
    second = page({"target": "sinch"}, first["before"], 1)
    assert len(first["entries"]) == len(second["entries"]) == 1
    assert first["entries"][0]["id"] > second["entries"][0]["id"]
    assert second["before"] is None


def test_rare_entry_is_found_in_bounded_steps(db: Connection) -> None:
    db.execute("select public.outbox_pause(null, null, null, null, null)")
    db.execute(
        "insert into outbox_engine.audit (at, actor, via, action, detail)"
        " select now() + n * interval '1 second', 'Zoë', 'dashboard', 'show_text', '{}' from generate_series(1, 20010) n"
    )
    with touched(db) as rows:
        page = call(db, "list_audit", {"action": "pause"}, None, 50)
    assert (page["entries"], rows["audit"] < 45_000) == ([], True)
    assert page["read_to"] is not None

    page = call(db, "list_audit", {"action": "pause"}, page["before"], 50)
    assert ([entry["action"] for entry in page["entries"]], page["before"]) == (["pause"], None)
    with touched(db) as rows:
        assert len(call(db, "list_audit", {}, None, 50)["entries"]) == 50
    assert rows["audit"] < 60
    # An hour in which nothing happened is not a walk through all before it.
    with touched(db) as rows:
        assert call(db, "list_audit", {"since": "2100-01-01T00:00:00+00:00"}, None, 50)["entries"] == []
    assert rows["audit"] < 10
