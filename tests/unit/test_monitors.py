"""Sentry's cron monitors, with a transport that keeps what would be sent."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
import structlog
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from jobs.gateway.errors import GatewayUnavailable
from jobs.runtime import telemetry
from jobs.runtime.settings import TelemetrySettings
from scheduler.monitors import Monitor
from scheduler.process import Process
from tests.unit.jobs_in_memory import Work

NUMBER = "+14155551234"
KEY = "sb_secret_AbC123"
TEXT = "Your code is 1234"


class Mailbox(Transport):
    """Keeps every item of every envelope."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[tuple[str | None, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            self.items.append((item.type, json.loads(item.get_bytes())))

    def of(self, kind: str) -> list[Any]:
        return [item for found, item in self.items if found == kind]


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    telemetry.configure(TelemetrySettings(_env_file=None, log_format="json"), component="scheduler")
    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=mailbox, **telemetry.sentry_options())
    yield mailbox
    sentry_sdk.get_global_scope().set_client(None)


async def test_each_job_checks_in_with_its_outcome(mailbox: Mailbox) -> None:
    jobs = [
        Work("dispatch"),
        Work("dispatch vonage"),
        Work("recover", [KeyError("ours")]),
        Work("upkeep", [GatewayUnavailable("gone")]),
    ]

    await Process(jobs).run_once()

    assert {(checkin["monitor_slug"], checkin["status"]) for checkin in mailbox.of("check_in")} == {
        ("outbox-dispatch", "ok"),
        ("outbox-dispatch-vonage", "ok"),
        ("outbox-recover", "error"),
        ("outbox-upkeep", "error"),
    }


async def test_failed_tick_is_reported_once_except_outages(mailbox: Mailbox) -> None:
    """An unreachable Supabase is no error."""
    await Process([Work("recover", [KeyError("ours")]), Work("upkeep", [GatewayUnavailable("gone")])]).run_once()

    (event,) = mailbox.of("event")
    assert event["tags"]["event"] == "tick.failed"
    assert event["exception"]["values"][0]["type"] == "KeyError"


async def test_nothing_private_travels_with_errors_or_check_ins(mailbox: Mailbox) -> None:
    try:
        raise ValueError(f"insert of {NUMBER} with {KEY} failed") from LookupError(f"https://u:{KEY}@example.com/{NUMBER}")
    except ValueError as error:
        trouble = error
    structlog.get_logger().error("callback.refused", recipient=NUMBER, body=TEXT, raw=TEXT)

    await Process([Work("dispatch", [trouble])]).run_once()

    sent = json.dumps(mailbox.items)
    assert "check_in" in sent
    assert "failed" in sent
    assert not any(private in sent for private in (NUMBER, NUMBER[1:], KEY, TEXT))


def test_frequent_job_checks_in_once_a_minute(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each outcome counts its own minute."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monitor = Monitor("dispatch", 1.0)

    for second in range(121):
        now = 1000.0 + second
        monitor.ticked("error" if second in (30, 31) else "ok", seconds=0.1)

    assert [checkin["status"] for checkin in mailbox.of("check_in")] == ["ok", "error", "ok", "ok"]


def test_check_in_describes_its_monitor(mailbox: Mailbox) -> None:
    Monitor("reconcile", 150.0).ticked("ok", seconds=0.5)

    (checkin,) = mailbox.of("check_in")
    assert checkin["monitor_config"]["schedule"] == {"type": "interval", "value": 3, "unit": "minute"}
    assert checkin["duration"] == 0.5


def test_without_a_dsn_nothing_is_sent() -> None:
    assert not sentry_sdk.is_initialized()

    Monitor("dispatch", 1.0).ticked("ok", seconds=0.1)
