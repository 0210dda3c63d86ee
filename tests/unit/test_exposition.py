"""`GET /metrics`: names, formats, who may read, and a database that is away."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as families
from pydantic import SecretStr
from structlog.testing import capture_logs

from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.exposition import Exposition
from jobs.gateway.measures import Measures
from jobs.runtime import metrics
from scheduler.metrics_server import serving

ANSWER: Mapping[str, Any] = {
    "queue": {"due": 3, "scheduled": 2, "sending": 1, "ambiguous": 0},
    "oldest_due_seconds": {"urgent": 0, "normal": 7.5},
    "pauses": [{"plan": "paused", "kind": "account"}, {"plan": "well", "kind": None}],
    "requests": {"in_flight": 1, "silent": 0, "ambiguous": 0, "watched": 0},
    "duplicate_sends": 0,
    "reports_missing_batches": 0,
    "alarms_pending": 0,
    "ticks": [{"job": "dispatch", "plan": "well", "at": 1_800_000_000.5}],
}
NAMES = {
    ("outbox_build_info", "gauge", ("schema", "version")),
    ("outbox_database_up", "gauge", ()),
    ("outbox_queue_messages", "gauge", ("state",)),
    ("outbox_queue_oldest_due_seconds", "gauge", ("urgency",)),
    ("outbox_plan_paused", "gauge", ("plan", "reason")),
    ("outbox_requests_open", "gauge", ("state",)),
    ("outbox_duplicate_sends", "counter", ()),
    ("outbox_reports_missing_batches", "gauge", ()),
    ("outbox_alarms_pending", "gauge", ()),
    ("outbox_job_last_tick_timestamp_seconds", "gauge", ("job", "plan")),
    ("outbox_provider_requests", "counter", ("operation", "outcome", "plan")),
    ("outbox_provider_request_duration_seconds", "histogram", ("operation", "plan")),
    ("outbox_messages_accepted", "counter", ("plan",)),
    ("outbox_messages_finished", "counter", ("code", "status")),
    ("outbox_message_wait_seconds", "histogram", ("urgency",)),
    ("outbox_message_delivery_seconds", "histogram", ()),
    ("outbox_claim_duration_seconds", "histogram", ()),
    ("outbox_callbacks", "counter", ("provider", "result")),
    ("outbox_callback_duration_seconds", "histogram", ("provider",)),
    ("outbox_auth_codes", "counter", ("kind", "result")),
    ("outbox_events_deliveries", "counter", ("endpoint", "outcome")),
}


class Database:
    """Answers, or is away."""

    def __init__(self) -> None:
        self.calls, self.is_away = 0, False

    async def read(self) -> Measures:
        self.calls += 1
        if self.is_away:
            raise GatewayUnavailable("gone")
        return Measures.parse(ANSWER)


def exposition(database: Database, *, token: str | None = None, fresh: float = 10.0) -> Exposition:
    return Exposition(database.read, token=None if token is None else SecretStr(token), schema=2, fresh=fresh)


async def scraped(app: Exposition, peer: str = "127.0.0.1", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, client=(peer, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as client:
        return await client.get("/metrics", headers={name.replace("_", "-"): value for name, value in headers.items()})


def fill() -> None:
    """Give each metric with labels a sample."""
    for metric in vars(metrics).values():
        if getattr(metric, "_labelnames", ()):
            metric.labels(*metric._labelnames)


async def test_names_types_and_labels_are_documented_ones() -> None:
    fill()

    text = (await scraped(exposition(Database()))).text

    found = {(family.name, family.type, tuple(sorted(family.samples[0].labels.keys() - {"le"}))) for family in families(text)}
    assert found == NAMES


async def test_values_of_the_database_are_given() -> None:
    text = (await scraped(exposition(Database()))).text

    for line in (
        'outbox_queue_messages{state="due"} 3.0',
        'outbox_queue_oldest_due_seconds{urgency="normal"} 7.5',
        'outbox_plan_paused{plan="paused",reason="account"} 1.0',
        'outbox_plan_paused{plan="well",reason=""} 0.0',
        'outbox_job_last_tick_timestamp_seconds{job="dispatch",plan="well"} 1.8000000005e+09',
        "outbox_database_up 1.0",
    ):
        assert line in text.splitlines()


async def test_format_is_negotiated() -> None:
    app = exposition(Database())

    plain = await scraped(app)
    opened = await scraped(app, accept="application/openmetrics-text; version=1.0.0,text/plain;q=0.5")

    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    read = open_metrics(opened.text)  # type: ignore[no-untyped-call]
    assert {family.name for family in read} >= {"outbox_duplicate_sends", "outbox_claim_duration_seconds"}


async def test_scrapes_share_a_call_to_the_database() -> None:
    database = Database()
    app = exposition(database)

    await asyncio.gather(*(scraped(app) for _ in range(5)))

    assert database.calls == 1


async def test_absent_database_leaves_values_of_the_process() -> None:
    database = Database()
    app = exposition(database, fresh=0.0)
    database.is_away = True
    away = (await scraped(app)).text
    database.is_away = False
    back = (await scraped(app)).text

    assert "outbox_database_up 0.0" in away
    assert "outbox_queue_messages" not in away
    assert "outbox_claim_duration_seconds_count" in away
    assert "outbox_database_up 1.0" in back


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("10.1.2.3", {}, 200),
        ("fd00::1", {}, 200),
        ("203.0.114.7", {}, 403),
        ("10.1.2.3", {"x_forwarded_for": "10.1.2.4"}, 403),
        ("10.1.2.3", {"forwarded": "for=10.1.2.4"}, 403),
    ],
)
async def test_only_near_addresses_read_without_token(peer: str, headers: dict[str, str], status: int) -> None:
    assert (await scraped(exposition(Database()), peer, **headers)).status_code == status


@pytest.mark.parametrize(
    ("authorization", "status"), [("Bearer right", 200), ("bearer right", 200), ("Bearer wrong", 401), ("Basic right", 401)]
)
async def test_a_token_is_needed_wherever_it_is_set(authorization: str, status: int) -> None:
    database = Database()

    answer = await scraped(exposition(database, token="right"), "203.0.114.7", authorization=authorization)

    assert (answer.status_code, database.calls) == (status, int(status == 200))
    assert (await scraped(exposition(database, token="right"))).status_code == 401


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_all_addresses_include_those_of_ipv4() -> None:
    """Private networks of platforms have IPv6, IPv4 or both."""
    exposition = Exposition(Database().read, token=None, schema=2)
    with capture_logs() as logs:
        async with serving("::", 0, exposition), httpx.AsyncClient(trust_env=False) as client:
            urls = [f"http://{host}:{logs[0]['port']}/metrics" for host in ("127.0.0.1", "[::1]")]
            answers = [(await client.get(url)).status_code for url in urls]

    assert answers == [200, 200]
