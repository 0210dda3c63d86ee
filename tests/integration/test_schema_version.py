"""Processes and commands beside a database that says which schema it has."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.gateway import Gateway
from jobs.runtime.settings import SupabaseSettings
from sandbox.local.processes import wait_until
from sandbox.local.stack import LocalStack
from scheduler.cli import run_command_line
from tests.engine import insert, later, stand_still, statuses
from tests.integration.schema_versions import SEED, Versions, package, versions
from tests.stack import Connection

__all__ = ["package", "versions"]

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def nothing_installed(stack: LocalStack, db: Connection) -> Iterator[None]:
    """A database without the function that returns versions. The API caches which functions there are, so it has to see it."""

    def is_found() -> bool:
        url = f"{stack.env['SUPABASE_URL']}/rest/v1/rpc/outbox_schema_version"
        return httpx.post(url, headers={"apikey": stack.secret_key}, json={}, trust_env=False).is_success

    assert wait_until(is_found, 30)
    db.execute("alter function public.outbox_schema_version() rename to outbox_schema_version_before")
    yield
    db.execute("alter function public.outbox_schema_version_before() rename to outbox_schema_version")
    assert wait_until(is_found, 30)


@pytest.fixture
def environment(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a command that runs in this process."""
    settings = {
        **stack.env,
        "SINCH_SERVICE_PLAN_ID": "plan",
        "SINCH_API_TOKEN": "token",
        "SINCH_BASE_URL": "http://127.0.0.1:9",
        "SINCH_WEBHOOK_SECRETS": "a secret",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


async def test_versions_are_read_over_the_api(versions: Versions, gateway: Gateway) -> None:
    versions.apply(1, 2)

    installed = await gateway.installed_schema()

    assert installed is not None
    assert [one.number for one in installed.versions] == [1, 2]
    assert installed.old_processes == 0


async def test_old_processes_are_counted_for_a_minute(versions: Versions, gateway: Gateway, db: Connection) -> None:
    versions.apply(1, 2)
    stand_still(db)
    for worker, knows in {"old": 1, "older": None, "new": 2, "newer": 3}.items():
        claim(db, worker, knows)
    assert await old_processes(gateway) == (2, 0)

    db.execute("update outbox_engine.heartbeats set at = at - interval '1 minute' where worker = 'old'")
    assert await old_processes(gateway) == (1, 0)


async def test_old_process_of_cron_was_seen_last(versions: Versions, gateway: Gateway, db: Connection) -> None:
    versions.apply(1, 2)
    stand_still(db)
    claim(db, "new", 2)
    assert await old_processes(gateway) == (0, None)

    claim(db, "old", 1)
    later(db, "12 minutes")
    claim(db, "new", 2)
    assert await old_processes(gateway) == (0, 720)


@pytest.mark.usefixtures("nothing_installed")
async def test_database_without_the_function_has_nothing(gateway: Gateway) -> None:
    assert await gateway.installed_schema() is None


async def test_unreachable_database_is_not_an_empty_one(stack: LocalStack) -> None:
    nowhere = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key=stack.secret_key)
    gateway = await Gateway.connect(nowhere)

    with pytest.raises(GatewayUnavailable):
        await gateway.installed_schema()
    await gateway.aclose()


@pytest.mark.parametrize(
    "table", ["schema_versions", "clock", "upkeep", "report_codes", "number_regions", "providers", "zones", "seeds"]
)
async def test_each_kind_of_seed_is_required(gateway: Gateway, db: Connection, table: str) -> None:
    db.execute(f"delete from outbox_engine.{table}")

    installed = await gateway.installed_schema()

    assert installed is not None
    assert not installed.seeded


async def old_processes(gateway: Gateway) -> tuple[int | None, float | None]:
    """How many run, and how long ago one was seen."""
    installed = await gateway.installed_schema()
    assert installed is not None
    return installed.old_processes, installed.old_process_seconds_ago


# The claim


def claim(db: Connection, worker: str, knows: int | None) -> dict[str, Any]:
    row = db.execute(
        "select public.outbox_claim_due(gen_random_uuid(), %s, 'sinch', 'p', 'h', 'c', 60, 20, 8::smallint, 1000::smallint,"
        " 100, null, 600, null, false, p_schema_version => %s)",
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
        ((), 0, SEED),
        ((1,), 0, "outbox_0002_pre_routes.sql, outbox_0002_pre_routes_index.sql are missing"),
        ((1, 2, 3), 3, "cannot work with: update it to 0.3.0"),
    ],
    ids=["no seeds", "too old", "too new"],
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


@pytest.mark.usefixtures("environment", "nothing_installed")
def test_run_beside_an_empty_database_names_files(capsys: Captured) -> None:
    assert run_command_line(["run", "--once"]) == 1

    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("outbox: ")]
    assert "not in the database: outbox_0001_initial.sql, outbox_0002_pre_routes.sql" in line


# outbox schema status


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("applied", "code", "says"),
    [
        ((1, 2), 0, "database and release fit"),
        ((1, 2, 3), 0, "it works, update it when convenient"),
        ((1,), 1, "outbox_0002_pre_routes.sql"),
        ((), 1, SEED),
    ],
)
def test_status_compares_both_sides(
    versions: Versions, db: Connection, capsys: Captured, applied: tuple[int, ...], code: int, says: str
) -> None:
    versions.apply(*applied)
    stand_still(db)
    claim(db, "old", 0)
    claim(db, "older", None)
    later(db, "12 minutes")

    assert run_command_line(["schema", "status"]) == code

    said = capsys.readouterr()
    assert says in " ".join(said.out.split())
    assert said.out.splitlines()[2].split() == [
        "2",
        "0.2.0",
        "known",
        *(["2027-01-01", "00:00:00Z"] if 2 in applied else ["missing"]),
    ]
    assert f"processes of an older release: 0{', last seen 12 min ago' if applied else ''}\n" in said.out


@pytest.mark.usefixtures("environment", "nothing_installed")
def test_status_without_the_function_reports_too_old(capsys: Captured) -> None:
    assert run_command_line(["schema", "status", "--json"]) == 1

    said = json.loads(capsys.readouterr().out)
    assert (said["fit"], said["old_processes"], said["old_process_seconds_ago"]) == ("too_old", None, None)
    assert [line["in_database"] for line in said["versions"]] == [False, False]
