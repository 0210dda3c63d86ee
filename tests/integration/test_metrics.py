"""Metrics of the real database, and those that jobs and callbacks count."""

from datetime import UTC, datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families

from jobs.gateway.exposition import Exposition
from jobs.gateway.gateway import Gateway
from jobs.providers.base import Report
from jobs.runtime.metrics import REGISTRY
from sandbox.simulator import control as faults
from sandbox.simulator.server import Running
from tests.engine import MakeRig, Rig, column, insert, later, number
from tests.integration.test_webhook_database import final, sent
from tests.integration.webhook_app import DELIVERY, report, serving, signed
from tests.stack import Connection

Samples = dict[tuple[str, tuple[str, ...]], float]


async def scraped(gateway: Gateway) -> Samples:
    """Every sample by its name and the values of its labels."""
    _, text = await Exposition(gateway.metrics, token=None, schema=2).render()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_queue_requests_and_pauses_are_measured(
    make_rig: MakeRig, gateway: Gateway, sinch: Running, db: Connection
) -> None:
    rig = await make_rig(lease_seconds=9)
    start = datetime(2027, 1, 1, 10, tzinfo=UTC)
    db.execute("update outbox_engine.clock set frozen_at = %s", [start])
    sinch.control.add(faults.timeout_after_accepting())
    insert(db, 5, body="lost")
    await rig.tick("dispatch")
    insert(db, 2)
    later(db, "60 seconds")
    insert(db, 1, first=10, priority=0)
    # Its time comes, and no claim wakes it.
    insert(db, 1, first=20, send_at=start + timedelta(seconds=70))
    insert(db, 3, first=30, send_at=start + timedelta(days=1))
    db.execute("select public.outbox_pause(null, null, null, 600, 'wrong prices')")
    later(db, "30 seconds")

    found = await scraped(gateway)

    plan = sinch.plan.id
    for (name, *labels), value in {
        ("queue_messages", "due"): 4,
        ("queue_messages", "scheduled"): 3,
        ("queue_messages", "sending"): 0,
        ("queue_messages", "ambiguous"): 5,
        ("queue_oldest_due_seconds", "urgent"): 30,
        ("queue_oldest_due_seconds", "normal"): 90,
        ("requests_open", "in_flight"): 0,
        ("requests_open", "silent"): 0,
        ("requests_open", "ambiguous"): 1,
        ("requests_open", "watched"): 0,
        ("plan_paused", plan, "operator"): 1,
        ("duplicate_sends_total",): 0,
        ("reports_missing_batches",): 0,
        ("alarms_pending",): 0,
        ("job_last_tick_timestamp_seconds", "dispatch", plan): start.timestamp(),
    }.items():
        assert (name, labels, found[f"outbox_{name}", tuple(labels)]) == (name, labels, value)


async def test_plan_without_pause_is_measured_as_zero(rig: Rig, gateway: Gateway, sinch: Running, db: Connection) -> None:
    insert(db)
    await rig.tick("dispatch")

    found = await scraped(gateway)

    assert {key: value for key, value in found.items() if key[0] == "outbox_plan_paused"} == {
        ("outbox_plan_paused", (sinch.plan.id, "")): 0
    }
    assert found["outbox_queue_oldest_due_seconds", ("normal",)] == 0


async def test_sending_and_callbacks_are_counted(rig: Rig, gateway: Gateway, sinch: Running, db: Connection) -> None:
    def values() -> list[float]:
        plan = sinch.plan.id
        return [
            counted("outbox_provider_requests_total", plan=plan, operation="send", outcome="accepted"),
            counted("outbox_provider_request_duration_seconds_count", plan=plan, operation="send"),
            counted("outbox_messages_accepted_total", plan=plan),
            counted("outbox_messages_finished_total", status="delivered", code="0"),
            counted("outbox_callbacks_total", provider="sinch", result="recorded"),
            counted("outbox_callbacks_total", provider="sinch", result="repeated"),
            counted("outbox_callbacks_total", provider="sinch", result="rejected"),
            counted("outbox_callbacks_total", provider="sinch", result="unusable"),
            counted("outbox_callback_duration_seconds_count", provider="sinch"),
        ]

    before, claims = values(), counted("outbox_claim_duration_seconds_count")
    _, batch_id = await sent(rig, db, 2)
    async with serving(gateway) as client:
        for n in (0, 1, 1):
            assert (await client.post(DELIVERY, **signed(final(batch_id, n)))).status_code == 204
        await client.post(DELIVERY, **signed(report(), secret="wrong"))
        await client.post(DELIVERY, **signed({"type": "a new one"}))

    # The repeated report finishes nothing.
    assert [after - old for after, old in zip(values(), before, strict=True)] == [1, 1, 2, 2, 2, 1, 1, 1, 5]
    assert counted("outbox_claim_duration_seconds_count") > claims


async def test_waits_and_deliveries_are_timed(rig: Rig, gateway: Gateway, sinch: Running, db: Connection) -> None:
    def values() -> list[float]:
        waits = [
            counted("outbox_message_wait_seconds_bucket", urgency=urgency, le=le)
            for urgency, le in (("urgent", "30.0"), ("urgent", "60.0"), ("normal", "60.0"), ("normal", "300.0"))
        ]
        return [*waits, *(counted("outbox_message_delivery_seconds_bucket", le=le) for le in ("10.0", "30.0"))]

    start = datetime.now(UTC).replace(microsecond=0)
    db.execute("update outbox_engine.clock set frozen_at = %s", [start])
    first, _ = insert(db, 2, body="one text")
    later(db, "60 seconds")
    insert(db, 1, first=10, body="a code", priority=0)
    later(db, "40 seconds")
    before = values()
    await rig.tick("dispatch")
    later(db, "1 hour")
    batch_id = column(db, "batch_id", first)
    reports = [
        Report(batch_id, number(n), "delivered", 0, at, None, "{}")
        for n, at in enumerate((start + timedelta(seconds=110), start + timedelta(seconds=120)))
    ]
    for _ in range(2):
        await gateway.record_reports(reports, source="webhook")

    # The urgent one waited for 40 seconds and the others for 100; the deliveries took 10 and 20.
    assert [after - old for after, old in zip(values(), before, strict=True)] == [0, 1, 0, 2, 1, 2]


async def test_repeated_reports_are_told_by_place(rig: Rig, gateway: Gateway, db: Connection) -> None:
    _, batch_id = await sent(rig, db, 3)
    first, second, third = (Report(batch_id, number(n), "delivered", 0, None, None, "{}") for n in range(3))
    unknown = Report("another batch", number(0), "delivered", 0, None, None, "{}")

    assert await gateway.record_reports([second], source="webhook") == set()
    assert await gateway.record_reports([third, second, first, first, unknown], source="webhook") == {1, 3}
    assert await gateway.record_reports([], source="webhook") == set()


async def test_messages_by_country_only_where_wanted(gateway: Gateway, db: Connection) -> None:
    name, hour = "outbox_messages_by_country", datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for days, country, status, messages in ((0, "GB", "delivered", 5), (0, None, "waiting", 2), (2, "US", "failed", 9)):
        db.execute(
            "insert into outbox_engine.hourly_figures (hour, country, status, messages, parts) values (%s, %s, %s, %s, 0)",
            [hour - timedelta(days=days), country, status, messages],
        )

    assert not [key for key in await scraped(gateway) if key[0] == name]
    assert (await gateway.metrics(by_country=True)).by_country == (("GB", "delivered", 5), ("", "waiting", 2))
