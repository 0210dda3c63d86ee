"""The webhook app beside a database that says which schema it has."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import uvicorn
from structlog.testing import capture_logs

from jobs.gateway.gateway import Gateway
from jobs.runtime.settings import SupabaseSettings
from jobs.schema import releases
from jobs.schema.admission import Admission
from jobs.schema.compatibility import Verdict
from sandbox.local.stack import LocalStack
from tests.integration.schema_versions import SEED, Versions, package, versions
from tests.integration.webhook_app import DELIVERY, SECRET, Memory, report, serving, signed
from tests.integration.webhook_app import settings as webhook_settings
from tests.stack import Connection, squash
from webhook.app import create_app
from webhook.commands import _watched, server_config
from webhook.schema_gate import SchemaGate

__all__ = ["package", "versions"]

UNKNOWN = "the schema of the database is not known yet"


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


async def test_callbacks_are_held_back_until_seeded(versions: Versions, gateway: Gateway, db: Connection) -> None:
    squash(db)
    memory = Memory()
    gate = SchemaGate(Admission(gateway.installed_schema, releases.packaged()).check, again=0.0)

    with capture_logs() as logs:
        watching = asyncio.create_task(gate.watch())
        await asyncio.wait_for(gate.decided.wait(), 30)
        async with serving(memory, gate=gate) as client:
            assert (await client.post(DELIVERY, **signed(report()))).status_code == 503
            db.execute("select outbox_engine.seed()")
            versions.apply(1, 2)
            await opened(gate)
            assert (await client.post(DELIVERY, **signed(report()))).status_code == 204
        watching.cancel()

    reasons = [entry["reason"] for entry in logs if entry["event"] == "callbacks.held_back"]
    assert SEED in reasons[0]


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
