"""Processes and commands beside a database that says which schema it has."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn
from structlog.testing import capture_logs

from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.gateway import Gateway
from jobs.runtime.settings import SupabaseSettings
from jobs.schema import releases
from jobs.schema.admission import Admission
from jobs.schema.compatibility import Verdict
from sandbox.local.stack import LocalStack
from scheduler.cli import run_command_line
from tests.engine import insert, statuses
from tests.integration.webhook_app import DELIVERY, SECRET, Memory, report, serving, signed
from tests.integration.webhook_app import settings as webhook_settings
from tests.small_releases import FIRST, SECOND, package_with
from tests.stack import Connection
from webhook.app import create_app
from webhook.commands import _watched, server_config
from webhook.schema_gate import SchemaGate

UNKNOWN = "the schema of the database is not known yet"
Captured = pytest.CaptureFixture[str]


class Versions:
    """The versions that the database has."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def apply(self, *numbers: int, breaking: int = 0) -> None:
        """These versions and no others. Release 0.N.0 brought version N."""
        with self._db.transaction():
            self._db.execute("delete from outbox_engine.schema_versions")
            for number in numbers:
                self._db.execute(
                    "insert into outbox_engine.schema_versions values (%s, %s, %s, '2027-01-01T00:00:00Z')",
                    [number, number == breaking, f"0.{number}.0"],
                )


@pytest.fixture
def versions(db: Connection) -> Versions:
    """Each test begins with the versions of the baseline again."""
    return Versions(db)


@pytest.fixture
def nothing_installed(db: Connection) -> Iterator[None]:
    """A database without the function that tells versions."""
    db.execute("alter function public.outbox_schema_version() rename to outbox_schema_version_before")
    yield
    db.execute("alter function public.outbox_schema_version_before() rename to outbox_schema_version")


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This installation carries versions 1 and 2."""
    package_with(monkeypatch, tmp_path / "package", FIRST, SECOND)


@pytest.fixture
def environment(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings of a command that runs in this process, and logging as it was before."""
    settings = {
        **stack.env,
        "SINCH_SERVICE_PLAN_ID": "plan",
        "SINCH_API_TOKEN": "token",
        "SINCH_BASE_URL": "http://127.0.0.1:9",
        "SINCH_WEBHOOK_SECRETS": SECRET,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_versions_are_read_over_the_api(versions: Versions, gateway: Gateway) -> None:
    versions.apply(1, 2)

    installed = await gateway.installed_schema()

    assert installed is not None
    assert [one.number for one in installed.versions] == [1, 2]
    assert installed.old_processes == 0


async def test_old_processes_are_counted_for_a_minute(versions: Versions, gateway: Gateway, db: Connection) -> None:
    versions.apply(1, 2)
    for worker, knows in {"old": 1, "older": None, "new": 2, "newer": 3}.items():
        claim(db, worker, knows)
    assert await old_processes(gateway) == 2

    db.execute("update outbox_engine.heartbeats set at = at - interval '1 minute' where worker = 'old'")
    assert await old_processes(gateway) == 1


@pytest.mark.usefixtures("nothing_installed")
async def test_database_without_the_function_has_nothing(gateway: Gateway) -> None:
    assert await gateway.installed_schema() is None


async def test_unreachable_database_is_not_an_empty_one(stack: LocalStack) -> None:
    nowhere = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key=stack.secret_key)
    gateway = await Gateway.connect(nowhere)

    with pytest.raises(GatewayUnavailable):
        await gateway.installed_schema()
    await gateway.aclose()


async def old_processes(gateway: Gateway) -> int | None:
    installed = await gateway.installed_schema()
    return None if installed is None else installed.old_processes


# The claim


def claim(db: Connection, worker: str, knows: int | None) -> dict[str, Any]:
    row = db.execute(
        "select public.outbox_claim(gen_random_uuid(), %s, 'sinch', 'p', 'h', 'c', 60, 20, 8::smallint, 1000::smallint, 100,"
        " null, 600, null, false, p_schema_version => %s)",
        [worker, knows],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return row[0]


def test_claim_answers_the_newest_version(versions: Versions, db: Connection) -> None:
    versions.apply(1, 2, 3, breaking=2)
    insert(db)

    answers = [claim(db, "w", 2), claim(db, "w", 3), claim(db, "w", None)]

    assert [answer["schema_version"] for answer in answers] == [3, 3, 3]
    assert [len(answer["dispatches"]) for answer in answers] == [1, 0, 0]
    assert not any("schema" in answer for answer in answers)


def test_claim_stops_at_an_unknown_breaking_version(versions: Versions, db: Connection, other: Connection) -> None:
    versions.apply(1, 2, 3, breaking=2)
    insert(db)
    claim(db, "w", 3)
    insert(db)
    before = db.execute("table outbox_engine.heartbeats").fetchall()

    with other.transaction():
        # A breaking migration holds such locks; the claim waits for none of them.
        other.execute("lock table public.outbox, outbox_engine.plans, outbox_engine.heartbeats")
        answer = claim(db, "w", 1)

    assert answer == {
        "dispatches": [],
        "more": False,
        "schema": {"version": 2, "release": "0.2.0", "breaking": True},
    }
    assert db.execute("table outbox_engine.heartbeats").fetchall() == before
    assert statuses(db) == {"sending": 1, "pending": 1}


# outbox run


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("options", [[], ["--once"]], ids=["run", "run --once"])
@pytest.mark.parametrize(
    ("applied", "breaking", "says"),
    [
        ((), 0, "the outbox schema is not in the database: outbox_0001_initial.sql, outbox_0002_pre_routes.sql"),
        ((1,), 0, "outbox_0002_pre_routes.sql, outbox_0002_pre_routes_index.sql are missing"),
        ((1, 2, 3), 3, "cannot work with: update it to 0.3.0"),
    ],
    ids=["nothing", "too old", "too new"],
)
def test_run_ends_with_one_and_one_line(
    versions: Versions,
    db: Connection,
    capsys: Captured,
    options: list[str],
    applied: tuple[int, ...],
    breaking: int,
    says: str,
) -> None:
    insert(db)
    versions.apply(*applied, breaking=breaking)

    assert run_command_line(["run", *options]) == 1

    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("outbox: ")]
    assert says in line
    assert statuses(db) == {"pending": 1}


# outbox webhook


async def opened(gate: SchemaGate) -> None:
    async with asyncio.timeout(30):
        while gate.reason is not None:  # noqa: ASYNC110  # the gate has no event for it
            await asyncio.sleep(0)


async def test_callbacks_are_held_back_until_the_push(versions: Versions, gateway: Gateway) -> None:
    versions.apply(1)
    memory = Memory()
    asked_again = asyncio.Event()
    admission = Admission(gateway.installed_schema, releases.packaged())

    async def check() -> Verdict:
        if gate.reason != UNKNOWN:
            asked_again.set()
        return await admission.check()

    gate = SchemaGate(check, again=0.01)
    with capture_logs() as logs:
        watching = asyncio.create_task(gate.watch())
        await asyncio.wait_for(gate.decided.wait(), 30)
        await asyncio.wait_for(asked_again.wait(), 30)
        async with serving(memory, gate=gate) as client:
            assert (await client.post(DELIVERY, **signed(report()))).status_code == 503
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.post(DELIVERY, **signed(report(), secret="wrong"))).status_code == 401
            assert memory.reports == []

            versions.apply(1, 2)
            await opened(gate)
            assert (await client.post(DELIVERY, **signed(report()))).status_code == 204
            assert (await client.get("/readyz")).status_code == 200
        watching.cancel()

    assert len(memory.reports) == 1
    (held_back,) = [entry for entry in logs if entry["event"] == "callbacks.held_back"]
    assert "outbox_0002_pre_routes.sql" in held_back["reason"]


async def test_gate_opens_when_the_database_is_back(versions: Versions, gateway: Gateway, stack: LocalStack) -> None:
    versions.apply(1, 2)
    nowhere = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key=stack.secret_key)
    away = await Gateway.connect(nowhere)
    asks = [away.installed_schema, gateway.installed_schema]

    async def check() -> Verdict:
        return await Admission(asks.pop(0), releases.packaged()).check()

    gate = SchemaGate(check, again=0.0)
    before = gate.reason
    watching = asyncio.create_task(gate.watch())
    await opened(gate)
    watching.cancel()

    assert (before, gate.reason) == (UNKNOWN, None)
    assert asks == []
    await away.aclose()


async def test_only_a_breaking_version_closes_an_open_gate(versions: Versions, gateway: Gateway, stack: LocalStack) -> None:
    versions.apply(1, 2)
    nowhere = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key=stack.secret_key)
    away = await Gateway.connect(nowhere)
    admission = Admission(gateway.installed_schema, releases.packaged())
    reasons = []

    async def check() -> Verdict:
        reasons.append(gate.reason)
        match len(reasons):
            case 2:
                return await Admission(away.installed_schema, releases.packaged()).check()
            case 3:
                versions.apply(1)
            case 4:
                versions.apply(1, 2, 3, breaking=3)
        return await admission.check()

    gate = SchemaGate(check, once_open=0.0)
    await asyncio.wait_for(gate.watch(), 30)

    assert reasons == [UNKNOWN, None, None, None]
    assert gate.reason == gate.unfit
    assert gate.unfit is not None
    assert "update it to 0.3.0" in gate.unfit
    await away.aclose()


async def test_running_webhook_stops_at_a_breaking_version(versions: Versions, gateway: Gateway) -> None:
    versions.apply(1, 2)
    gate = SchemaGate(Admission(gateway.installed_schema, releases.packaged()).check, once_open=0.0)
    server = uvicorn.Server(server_config(create_app(webhook_settings(), Memory(), gate)))

    async with _watched(gate, server):
        assert (gate.reason, server.should_exit) == (None, False)
        versions.apply(1, 2, 3, breaking=3)
        async with asyncio.timeout(30):
            while not server.should_exit:  # noqa: ASYNC110  # it knows nothing of events
                await asyncio.sleep(0)

    assert gate.unfit is not None


def test_webhook_beside_an_unknown_breaking_version_ends(versions: Versions, stack: LocalStack, tmp_path: Path) -> None:
    versions.apply(1, 9999, breaking=9999)
    root = str(Path(__file__).parents[2])
    settings = {"PATH": os.environ["PATH"], "PYTHONPATH": root, **stack.env, "SINCH_WEBHOOK_SECRETS": SECRET}

    ended = subprocess.run(
        [sys.executable, "-m", "scheduler", "webhook", "--port", "0"],
        env=settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("outbox: ")]
    assert "schema version 9999" in line


# outbox schema status


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("applied", "code", "says"),
    [
        ((1, 2), 0, "database and release fit"),
        ((1, 2, 3), 0, "it works, update it when convenient"),
        ((1,), 1, "outbox_0002_pre_routes.sql"),
        ((), 1, "run outbox install and supabase db push"),
    ],
)
def test_status_compares_both_sides(
    versions: Versions, db: Connection, capsys: Captured, applied: tuple[int, ...], code: int, says: str
) -> None:
    versions.apply(*applied)
    claim(db, "old", 0)
    claim(db, "older", None)

    assert run_command_line(["schema", "status"]) == code

    said = capsys.readouterr()
    assert says in " ".join(said.out.split())
    assert said.out.splitlines()[2].split() == [
        "2",
        "0.2.0",
        "known",
        *(["2027-01-01", "00:00:00Z"] if 2 in applied else ["missing"]),
    ]
    assert f"processes of an older release: {2 if applied else 0}" in said.out


@pytest.mark.usefixtures("environment", "nothing_installed")
def test_status_without_the_function_reports_too_old(capsys: Captured) -> None:
    assert run_command_line(["schema", "status", "--json"]) == 1

    said = json.loads(capsys.readouterr().out)
    assert (said["fit"], said["old_processes"]) == ("too_old", None)
    assert [line["in_database"] for line in said["versions"]] == [False, False]
