"""`outbox doctor` against the real parts, with one thing broken on purpose in each test."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobs.examining.findings import Mark
from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from scheduler.doctor import wakeups_check
from tests.engine import MakeRig, later, stand_still
from tests.integration.doctor_round import configure, failure, failures, findings, webhook_app
from tests.integration.test_wakeup import Between
from tests.integration.webhook_app import DELIVERY, SECRET
from tests.stack import Connection, squash

ALL = ("settings", "supabase", "schema", "wakeups", "provider", "callbacks", "sending", "auth", "storage")


@pytest.fixture
async def webhook(stack: LocalStack) -> AsyncIterator[str]:
    async with webhook_app(stack) as origin:
        yield origin


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch, stack: LocalStack, sinch: Running, webhook: str) -> None:
    configure(monkeypatch, stack, sinch, webhook)


@pytest.mark.usefixtures("healthy")
async def test_round_trip_leaves_nothing_behind(db: Connection, make_rig: MakeRig) -> None:
    """A healthy installation has no failures. The only one here is the tests' own: autovacuum is off for them."""
    rig = await make_rig()
    await rig.tick("dispatch", "upkeep")
    before = _kept(db)

    found = await findings(*ALL)

    assert [(one.check, one.found) for one in found if one.mark is Mark.FAILED] == [
        ("storage", "autovacuum is off in this database")
    ]
    assert any("went through" in one.found for one in found if one.check == "callbacks")
    assert _kept(db) == before


def _kept(db: Connection) -> object:
    row: Any = db.execute(
        "select (select count(*) from outbox_engine.waiting_reports), (select count(*) from outbox_engine.alarms),"
        " (select count(*) from public.outbox), (select count(*) from public.outbox_events),"
        " (select count(*) from outbox_engine.auth_codes), (select count(*) from outbox_engine.kept_callbacks)"
    ).fetchone()
    return row


# Settings


@pytest.mark.usefixtures("healthy")
async def test_misspelled_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINCH_API_TOKEN", "")
    monkeypatch.setenv("SINCH_API_TOKN", "demo-token")

    found = await findings("settings")

    assert any("SINCH_API_TOKEN is not set, but SINCH_API_TOKN is" in one.found for one in found if one.mark is Mark.FAILED)
    assert any("did you mean SINCH_API_TOKEN?" in one.advice for one in found)


@pytest.mark.usefixtures("healthy")
async def test_processes_with_different_countries_are_named(db: Connection, make_rig: MakeRig) -> None:
    for countries in ("US", "US,GB"):
        rig = await make_rig(allowed_countries=countries)
        await rig.tick("dispatch")

    found = await failure("settings")

    assert "GB, US / US" in found.found
    assert "ALLOWED_COUNTRIES" in found.advice


# Supabase


@pytest.mark.usefixtures("healthy")
async def test_secret_key_of_another_project_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_of-another-project")

    found = await failure("supabase")

    assert "refuses the secret key" in found.found
    assert "SUPABASE_SECRET_KEY" in found.advice
    assert "another-project" not in f"{found.found}{found.advice}"


@pytest.mark.usefixtures("healthy")
async def test_absent_project_skips_the_other_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")

    found = await findings("supabase", "schema", "sending", "auth", "storage")

    assert [(one.check, one.mark) for one in found] == [
        ("supabase", Mark.FAILED),
        *((check, Mark.SKIPPED) for check in ("schema", "sending", "auth", "storage")),
    ]


# Schema


BROKEN = {
    "grant execute on function public.outbox_ping() to anon": (
        "revoke execute on function public.outbox_ping() from anon",
        "anon",
    ),
    "grant select on public.outbox_templates to authenticated": (
        "revoke select on public.outbox_templates from authenticated",
        "outbox_templates",
    ),
    "revoke execute on function public.outbox_trace(bigint, boolean) from service_role": (
        "grant execute on function public.outbox_trace(bigint, boolean) to service_role",
        "service_role",
    ),
    "alter table public.outbox_templates disable row level security": (
        "alter table public.outbox_templates enable row level security",
        "row level security",
    ),
    "alter table public.outbox disable trigger user": ("alter table public.outbox enable trigger user", "triggers"),
    "alter sequence public.outbox_events_id_seq cache 50": ("alter sequence public.outbox_events_id_seq cache 1", "50 ids"),
    "alter function outbox_engine.refuse(text, text) rename to refused": (
        "alter function outbox_engine.refused(text, text) rename to refuse",
        "outbox_engine.refuse",
    ),
    "alter table outbox_engine.seeds rename to seeds_": ("alter table outbox_engine.seeds_ rename to seeds", "cannot answer"),
    "alter table public.outbox_senders rename to outbox_sendrs": (
        "alter table public.outbox_sendrs rename to outbox_senders",
        "in part and lacks public.outbox_senders",
    ),
}


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize("broken", BROKEN)
async def test_broken_schema_is_found(db: Connection, broken: str) -> None:
    repair, says = BROKEN[broken]
    db.execute(broken.encode())
    try:
        found = await failures("schema")
    finally:
        db.execute(repair.encode())

    assert len(found) == 1
    assert says in found[0].found


@pytest.mark.usefixtures("healthy")
async def test_edited_function_is_named(db: Connection) -> None:
    (definition,) = _row(db, "select pg_get_functiondef('public.outbox_ping()'::regprocedure)")
    db.execute(str(definition).replace("'ok'", "'fine'").encode())
    try:
        found = await failure("schema")
    finally:
        db.execute(str(definition).encode())

    assert found.found == "functions were edited: public.outbox_ping"


@pytest.mark.usefixtures("healthy")
async def test_squashed_schema_names_the_seed(db: Connection) -> None:
    squash(db)

    found = await failure("schema")

    assert "outbox_engine.seed()" in found.found


def _row(db: Connection, question: str) -> tuple[object, ...]:
    row = db.execute(question.encode()).fetchone()
    assert row is not None
    return row


# Wakeups


@pytest.mark.usefixtures("healthy")
async def test_transaction_pooler_is_recognised(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeups_check, "_HEARING_SECONDS", 0.3)
    async with Between(stack.db_url, notices=False).running() as between:
        monkeypatch.setenv("OUTBOX_DB_URL", between.url)
        found = await failure("wakeups")

    assert "transaction pooler" in found.found
    assert "OUTBOX_DB_URL" in found.advice


@pytest.mark.usefixtures("healthy")
async def test_database_of_another_name_is_another(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOX_DB_URL", stack.db_url.replace("/postgres", "/template1").replace("//template1", "//postgres"))

    found = await failure("wakeups")

    assert "another database" in found.found


# Providers


@pytest.mark.usefixtures("healthy")
async def test_wrong_token_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINCH_API_TOKEN", "not-the-token")

    found = await failure("provider")

    assert "HTTP 401" in found.found
    assert "check SINCH_API_TOKEN" in found.advice
    assert "not-the-token" not in f"{found.found}{found.advice}"


# Callbacks


@pytest.mark.usefixtures("healthy")
async def test_wrong_path_of_the_callback_url(webhook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINCH_CALLBACK_URL", f"{webhook}/callbacks")

    found = await failure("callbacks")

    assert found.found == "SINCH_CALLBACK_URL has the path /callbacks"
    assert DELIVERY in found.advice


@pytest.mark.usefixtures("healthy")
async def test_webhook_with_another_secret(stack: LocalStack, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    async with webhook_app(stack, "another secret") as other:
        monkeypatch.setenv("SINCH_CALLBACK_URL", f"{other}{DELIVERY}")
        found = await failure("callbacks")

    assert "HTTP 401" in found.found
    assert "SINCH_WEBHOOK_SECRETS" in found.advice
    assert SECRET not in f"{found.found}{found.advice}"
    assert _row(db, "select count(*) from outbox_engine.alarms") == (0,)


@pytest.mark.usefixtures("healthy")
async def test_address_without_a_webhook_app(sinch: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINCH_CALLBACK_URL", f"http://127.0.0.1:9{DELIVERY}")

    found = await failure("callbacks")

    assert "/healthz (port 9): ConnectError" in found.found


# Processes


@pytest.mark.usefixtures("healthy")
async def test_dead_scheduler_is_found(db: Connection, make_rig: MakeRig) -> None:
    stand_still(db)
    await (await make_rig()).tick("dispatch")
    later(db, "6 minutes")

    found = await failures("sending")

    assert [one.found for one in found] == ["NOT SENDING: no scheduler for 6 min", "the last claim was 6 min ago"]


# Auth


@pytest.mark.usefixtures("healthy")
async def test_auth_without_its_right_is_found(db: Connection) -> None:
    db.execute("create role supabase_auth_admin noinherit")
    try:
        lacking = await failure("auth")
        db.execute("select outbox_engine.grant_auth_hook(), outbox_engine.seed_auth()")
        working = await findings("auth")
    finally:
        db.execute("drop owned by supabase_auth_admin; drop role supabase_auth_admin")
        # The trial drew numbers, and other tests count on the first ones.
        db.execute("select setval('public.outbox_id_seq', 1, false), setval('public.outbox_events_id_seq', 1, false)")

    assert "supabase_auth_admin may not execute" in lacking.found
    assert [one.mark for one in working] == [Mark.OK]
    assert "rolled back" in working[0].found
    assert _row(db, "select count(*) from public.outbox") == (0,)


# Storage


@pytest.mark.usefixtures("healthy")
async def test_table_without_autovacuum_is_found(db: Connection) -> None:
    db.execute("alter system set autovacuum = on")
    db.execute("alter table public.outbox_events set (autovacuum_enabled = false)")
    db.execute("select pg_reload_conf()")
    try:
        found = await findings("storage")
    finally:
        db.execute("alter table public.outbox_events reset (autovacuum_enabled)")
        db.execute("alter system set autovacuum = off")
        db.execute("select pg_reload_conf()")

    assert any("outbox_events" in one.found for one in found if one.mark is Mark.FAILED)
