"""The webhook app on a real socket, and a recorder in memory that fails on demand."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from jobs.gateway.auth_codes import CodeRefused
from jobs.gateway.errors import GatewayRefused, GatewayUnavailable
from jobs.gateway.recorder import Recorder
from jobs.providers.base import Inbound, Report, Summary, Unusable
from jobs.providers.sinch.signature import sign
from jobs.runtime.settings import WebhookSettings
from webhook.app import create_app
from webhook.commands import listen, server_config
from webhook.limits import Limits
from webhook.schema_gate import SchemaGate
from webhook.server import LimitedServer

SECRET = "a secret"
DELIVERY = "/webhooks/sinch/delivery"
INBOUND = "/webhooks/sinch/inbound"


class Memory:
    """A recorder that keeps what it is given. It refuses reports on the numbers in ``refused``."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.inbounds: list[Inbound] = []
        self.kept: list[Unusable] = []
        self.summaries: list[Summary] = []
        self.rejected: list[int] = []
        self.codes: list[tuple[str, str]] = []
        self.code_refused: CodeRefused | None = None
        self.was_told = asyncio.Event()
        self.was_called = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()
        self.pings = 0
        self.calls = 0
        self.trouble: Exception | None = None
        self.refused: set[str] = set()

    async def record_reports(self, reports: Sequence[Report], *, source: str) -> frozenset[int]:
        await self._call()
        assert source == "webhook"
        if self.refused.intersection(report.recipient for report in reports):
            raise GatewayRefused("unsupported Unicode escape sequence", code="22P05")
        known = set(self.reports)
        repeated = frozenset(place for place, report in enumerate(reports) if report in known)
        self.reports += reports
        return repeated

    async def record_inbounds(self, inbounds: Sequence[Inbound], *, source: str) -> None:
        await self._call()
        assert source == "webhook"
        self.inbounds += inbounds

    async def keep_callbacks(self, items: Sequence[Unusable]) -> None:
        await self._call()
        self.kept += items

    async def reconcile_soon(self, summaries: Sequence[Summary]) -> None:
        await self._call()
        self.summaries += summaries

    async def record_rejected_callbacks(self, count: int) -> None:
        self.rejected.append(count)
        self.was_told.set()

    async def send_sms_over_http(self, body: str, digest: str) -> CodeRefused | None:
        await self._call()
        self.codes.append((body, digest))
        return self.code_refused

    async def ping(self) -> None:
        self.pings += 1
        if self.trouble is not None:
            raise self.trouble

    async def _call(self) -> None:
        self.calls += 1
        self.was_called.set()
        await self.answers.wait()
        if self.trouble is not None:
            raise self.trouble


def away() -> GatewayUnavailable:
    return GatewayUnavailable("connection refused")


def settings(**chosen: Any) -> WebhookSettings:
    return WebhookSettings(_env_file=None, **(chosen or {"sinch_webhook_secrets": SECRET}))


@asynccontextmanager
async def serving(
    recorder: Recorder,
    chosen: WebhookSettings | None = None,
    gate: SchemaGate | None = None,
    *,
    limits: Limits | None = None,
    parser: str = "auto",
    workers: int = 1,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running app."""
    listener = listen("127.0.0.1", 0)
    app = create_app(chosen or settings(), recorder, gate, workers=workers)
    server = LimitedServer(server_config(app, limits=limits, parser=parser))
    with contextlib.closing(listener):
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False, timeout=120
            ) as client:
                yield client
        finally:
            server.should_exit = True
            await running


def signed(callback: object, secret: str = SECRET) -> dict[str, Any]:
    """The body and headers of a request as Sinch sends it."""
    raw = callback if isinstance(callback, bytes) else json.dumps(callback).encode()
    headers = {
        "content-type": "application/json",
        "x-sinch-webhook-signature": sign(secret, raw, nonce="nonce", timestamp="1736760161").decode(),
        "x-sinch-webhook-signature-nonce": "nonce",
        "x-sinch-webhook-signature-timestamp": "1736760161",
        "x-sinch-webhook-signature-algorithm": "HmacSHA256",
    }
    return {"content": raw, "headers": headers}


def report(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A report on the nth number."""
    return {
        "type": "recipient_delivery_report_sms",
        "batch_id": "batch-1",
        "recipient": f"1415555{number:04}",
        "code": 0,
        "status": "Delivered",
        "at": "2026-11-24T12:00:00.000Z",
    } | changes


def inbound(**changes: Any) -> dict[str, Any]:
    """A reply."""
    return {
        "type": "mo_text",
        "id": "inbound-1",
        "from": "14155550000",
        "to": "14155559999",
        "body": "STOP",
        "received_at": "2026-11-24T12:00:00.000Z",
    } | changes


SUMMARY = {
    "type": "delivery_report_sms",
    "batch_id": "batch-1",
    "total_message_count": 3,
    "statuses": [{"code": 0, "status": "Delivered", "count": 3}],
}
