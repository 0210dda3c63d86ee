"""The webhook app and the real database behind it."""

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.gateway.gateway import Gateway
from jobs.runtime.settings import SupabaseSettings
from sandbox.local.stack import LocalStack
from tests.engine import Clocks, Rig, clocks, column, gateway, insert, make_rig, number, rig, sinch
from tests.integration.webhook_app import DELIVERY, INBOUND, SUMMARY, inbound, report, serving, signed
from tests.stack import Connection

__all__ = ["clocks", "gateway", "make_rig", "rig", "sinch"]


def count(db: Connection, table: str) -> int:
    row = db.execute(f"select count(*) from {table}").fetchone()
    assert row is not None
    return int(str(row[0]))


async def sent(rig: Rig, db: Connection, rows: int = 1) -> tuple[list[int], str]:
    """Rows that were sent together, and the id of their batch."""
    ids = insert(db, rows)
    await rig.tick("dispatch")
    return ids, str(column(db, "batch_id", ids[0]))


def final(batch_id: str, n: int, **changes: Any) -> dict[str, Any]:
    return report(batch_id=batch_id, recipient=number(n).removeprefix("+"), **changes)


async def test_repeated_report_changes_its_row_once(rig: Rig, gateway: Gateway, db: Connection) -> None:
    (row,), batch_id = await sent(rig, db)

    async with serving(gateway) as client:
        assert (await client.post(DELIVERY, **signed(final(batch_id, 0)))).status_code == 204
        assert column(db, "status", row) == "delivered"
        events = count(db, "public.outbox_events")
        assert (await client.post(DELIVERY, **signed(final(batch_id, 0)))).status_code == 204

    assert count(db, "public.outbox_events") == events


async def test_concurrent_reports_all_reach_their_rows(rig: Rig, gateway: Gateway, db: Connection) -> None:
    _, batch_id = await sent(rig, db, 100)

    async with serving(gateway) as client:
        answers = await asyncio.gather(
            *(
                client.post(DELIVERY, **signed(final(batch_id, n, status=s)))
                for n in range(100)
                for s in ("Dispatched", "Delivered")
            )
        )

    assert {answer.status_code for answer in answers} == {204}
    assert db.execute("select distinct status from public.outbox").fetchall() == [("delivered",)]


async def test_item_refused_by_database_is_kept_alone(rig: Rig, gateway: Gateway, db: Connection) -> None:
    ids, batch_id = await sent(rig, db, 20)
    poisoned = final(batch_id, 7, code=10**30)

    async with serving(gateway) as client:
        answers = await asyncio.gather(
            *(client.post(DELIVERY, **signed(poisoned if n == 7 else final(batch_id, n))) for n in range(20))
        )

    assert {answer.status_code for answer in answers} == {204}
    assert [column(db, "status", row) for row in ids] == ["sent" if n == 7 else "delivered" for n in range(20)]
    assert count(db, "outbox_engine.kept_callbacks") == 1


async def test_field_nobody_reads_loses_no_report(rig: Rig, gateway: Gateway, db: Connection) -> None:
    """A NUL is left out; a number that the database cannot hold is kept beside the report."""
    ids, batch_id = await sent(rig, db, 2)
    huge = json.dumps(final(batch_id, 1, operator=7)).encode().replace(b"7}", b"1e999999}")

    async with serving(gateway) as client:
        assert (await client.post(DELIVERY, **signed(final(batch_id, 0, operator="nul \0")))).status_code == 204
        assert (await client.post(DELIVERY, **signed(huge))).status_code == 204

    assert [column(db, "status", row) for row in ids] == ["delivered", "delivered"]
    assert db.execute("select raw from outbox_engine.kept_callbacks").fetchall() == [(huge,)]


@pytest.mark.parametrize(
    "text",
    [rb"STOP\u0000", rb"STOP \ud83d", b"STOP \xf3", b"STOP\n", b"STOP\x00"],
    ids=["nul", "half", "byte", "line", "raw nul"],
)
async def test_stop_with_odd_characters_opts_out(gateway: Gateway, db: Connection, text: bytes) -> None:
    callback = json.dumps(inbound(body="BODY", **{"from": number(0)[1:]})).encode().replace(b"BODY", text)

    async with serving(gateway) as client:
        assert (await client.post(INBOUND, **signed(callback))).status_code == 204

    assert db.execute("select recipient from public.outbox_suppressions").fetchall() == [(number(0),)]
    assert count(db, "public.outbox_inbound") == 1


async def test_unreadable_callback_is_kept_byte_for_byte(gateway: Gateway, db: Connection) -> None:
    request = signed(b'{"type": "mo_of_tomorrow", "text": "\\ud83d \\u0000"}')
    async with serving(gateway) as client:
        assert (await client.post(INBOUND, **request)).status_code == 204

    assert db.execute("select raw from outbox_engine.kept_callbacks").fetchall() == [(request["content"],)]


async def test_report_of_an_unknown_batch_is_accepted(gateway: Gateway, db: Connection) -> None:
    async with serving(gateway) as client:
        assert (await client.post(DELIVERY, **signed(report(batch_id="unheard of")))).status_code == 204


async def test_stop_suppresses_the_number(gateway: Gateway, db: Connection) -> None:
    async with serving(gateway) as client:
        for _ in range(2):
            callback = inbound(**{"from": number(0).removeprefix("+")})
            assert (await client.post(INBOUND, **signed(callback))).status_code == 204

    assert db.execute("select recipient from public.outbox_suppressions").fetchall() == [(number(0),)]
    assert count(db, "public.outbox_inbound") == 1


async def test_summary_is_accepted_and_rejected_signature_triggers_reconciliation(
    rig: Rig, gateway: Gateway, db: Connection
) -> None:
    (row,), batch_id = await sent(rig, db)
    rig.simulator.settle()
    await rig.tick("reconcile")
    assert column(db, "status", row) == "sent"

    async with serving(gateway) as client:
        assert (await client.post(DELIVERY, **signed(report(), "another secret"))).status_code == 401
        assert (await client.get("/readyz")).status_code == 200
    await rig.tick("reconcile")
    assert column(db, "status", row) == "delivered"

    async with serving(gateway) as client:
        assert (await client.post(DELIVERY, **signed(SUMMARY | {"batch_id": batch_id}))).status_code == 204


async def test_each_callback_alarm_is_logged_once(rig: Rig, gateway: Gateway, db: Connection) -> None:
    async with serving(gateway) as client:
        await client.post(DELIVERY, **signed(report(), "another secret"))
        await client.post(DELIVERY, **signed(report(type="delivery_report_pigeon")))

    with capture_logs() as logs:
        await rig.tick("upkeep", "upkeep")

    assert sorted((entry["event"], entry["log_level"]) for entry in logs) == [
        ("callback.rejected", "error"),
        ("callback.unusable", "error"),
    ]


async def test_alarm_of_a_dead_process_is_logged_later(rig: Rig, gateway: Gateway, clocks: Clocks, db: Connection) -> None:
    """By another process."""
    db.execute("select outbox_engine.alarm('something.odd', '{}')")
    (taken,) = await gateway.take_alarms(limit=50)
    assert taken.kind == "something.odd"

    with capture_logs() as logs:
        await rig.tick("upkeep")
        assert logs == []
        clocks.move("2 minutes")
        await rig.tick("upkeep", "upkeep")

    assert [entry["event"] for entry in logs] == ["something.odd"]


async def test_webhook_answers_503_while_the_database_is_away(db: Connection, gateway: Gateway, stack: LocalStack) -> None:
    nowhere = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key=stack.secret_key)
    away = await Gateway.connect(nowhere)

    async with serving(away) as client:
        assert (await client.post(DELIVERY, **signed(report()))).status_code == 503
        assert (await client.get("/readyz")).status_code == 503
    await away.aclose()


async def test_webhook_answers_503_before_the_migrations(db: Connection, gateway: Gateway) -> None:
    db.execute("alter function public.outbox_take_reports rename to outbox_take_reports_later")
    try:
        async with serving(gateway) as client:
            assert (await client.post(DELIVERY, **signed(report()))).status_code == 503
    finally:
        db.execute("alter function public.outbox_take_reports_later rename to outbox_take_reports")
