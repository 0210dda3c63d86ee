"""Processes and commands beside a database that says which schema it has."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
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
from tests.small_releases import FIRST, SECOND, package_with
from tests.stack import Connection
from webhook.schema_gate import SchemaGate

DEFINITION = "select pg_get_functiondef('public.outbox_schema_version()'::regprocedure)"
UNKNOWN = "the schema of the database is not known yet"
Captured = pytest.CaptureFixture[str]


class Versions:
    """What the database says about its schema."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._before = self._definition()

    def say(self, *numbers: int, breaking: int = 0, old_processes: int = 0) -> None:
        """These versions were applied. Release 0.N.0 brought version N."""
        versions = [
            {
                "version": number,
                "breaking": number == breaking,
                "release": f"0.{number}.0",
                "applied_at": "2027-01-01T00:00:00Z",
            }
            for number in numbers
        ]
        answer = json.dumps({"versions": versions, "processes": old_processes})
        self._db.execute(
            "create or replace function public.outbox_schema_version() returns jsonb language sql stable "
            f"as $$ select '{answer}'::jsonb $$; "
            "revoke execute on function public.outbox_schema_version() from public; "
            "grant execute on function public.outbox_schema_version() to service_role"
        )

    def say_nothing(self) -> None:
        self._db.execute("drop function if exists public.outbox_schema_version()")

    def restore(self) -> None:
        self.say_nothing()
        if self._before is not None:
            self.say()
            self._db.execute(self._before.encode())

    def _definition(self) -> str | None:
        there = self._db.execute("select to_regprocedure('public.outbox_schema_version()') is not null").fetchone()
        row = self._db.execute(DEFINITION.encode()).fetchone() if there == (True,) else None
        return None if row is None else str(row[0])


@pytest.fixture
def versions(db: Connection) -> Iterator[Versions]:
    said = Versions(db)
    yield said
    said.restore()


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
    versions.say(1, 2, old_processes=4)

    installed = await gateway.installed_schema()

    assert installed is not None
    assert [one.number for one in installed.versions] == [1, 2]
    assert installed.old_processes == 4


async def test_database_without_the_function_has_nothing(versions: Versions, gateway: Gateway) -> None:
    versions.say_nothing()

    assert await gateway.installed_schema() is None


async def test_unreachable_database_is_not_an_empty_one(stack: LocalStack) -> None:
    nowhere = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key=stack.secret_key)
    gateway = await Gateway.connect(nowhere)

    with pytest.raises(GatewayUnavailable):
        await gateway.installed_schema()
    await gateway.aclose()


# outbox run


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("options", [[], ["--once"]], ids=["run", "run --once"])
@pytest.mark.parametrize(
    ("applied", "breaking", "says"),
    [
        ((), 0, "the outbox schema is not in the database: run outbox install and supabase db push"),
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
    versions.say(*applied, breaking=breaking)

    assert run_command_line(["run", *options]) == 1

    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("outbox: ")]
    assert says in line
    assert statuses(db) == {"pending": 1}


# outbox webhook


async def test_callbacks_are_held_back_until_the_push(versions: Versions, gateway: Gateway) -> None:
    versions.say(1)
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
        await asyncio.wait_for(asked_again.wait(), 30)
        async with serving(memory, gate=gate) as client:
            assert (await client.post(DELIVERY, **signed(report()))).status_code == 503
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.post(DELIVERY, **signed(report(), secret="wrong"))).status_code == 401
            assert memory.reports == []

            versions.say(1, 2)
            await asyncio.wait_for(watching, 30)
            assert (await client.post(DELIVERY, **signed(report()))).status_code == 204
            assert (await client.get("/readyz")).status_code == 200

    assert len(memory.reports) == 1
    (held_back,) = [entry for entry in logs if entry["event"] == "callbacks.held_back"]
    assert "outbox_0002_pre_routes.sql" in held_back["reason"]


async def test_gate_opens_when_the_database_is_back(versions: Versions, gateway: Gateway, stack: LocalStack) -> None:
    versions.say(1, 2)
    nowhere = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key=stack.secret_key)
    away = await Gateway.connect(nowhere)
    asks = [away.installed_schema, gateway.installed_schema]

    async def check() -> Verdict:
        return await Admission(asks.pop(0), releases.packaged()).check()

    gate = SchemaGate(check, again=0.0)
    before = gate.reason
    await asyncio.wait_for(gate.watch(), 30)

    assert (before, gate.reason) == (UNKNOWN, None)
    assert asks == []
    await away.aclose()


def test_webhook_beside_an_unknown_breaking_version_ends(versions: Versions, stack: LocalStack, tmp_path: Path) -> None:
    versions.say(1, 9999, breaking=9999)
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
    versions: Versions, capsys: Captured, applied: tuple[int, ...], code: int, says: str
) -> None:
    versions.say(*applied, old_processes=2)

    assert run_command_line(["schema", "status"]) == code

    said = capsys.readouterr()
    assert says in " ".join(said.out.split())
    assert said.out.splitlines()[2].split() == [
        "2",
        "0.2.0",
        "known",
        *(["2027-01-01", "00:00:00Z"] if 2 in applied else ["missing"]),
    ]
    assert "processes of an older release: 2" in said.out


@pytest.mark.usefixtures("environment")
def test_status_without_the_function_reports_too_old(versions: Versions, capsys: Captured) -> None:
    versions.say_nothing()

    assert run_command_line(["schema", "status", "--json"]) == 1

    said = json.loads(capsys.readouterr().out)
    assert (said["fit"], said["old_processes"]) == ("too_old", None)
    assert [line["in_database"] for line in said["versions"]] == [False, False]
