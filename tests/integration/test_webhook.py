"""The webhook app with the real database: which callbacks it accepts, what it answers, what it stores."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from jobs.gateway.gateway import Gateway
from jobs.runtime.settings import SettingsError, WebhookSettings, load
from sandbox.local.stack import LocalStack
from tests.engine import Rig, column, insert, number
from tests.stack import Connection
from webhook.app import create_app

PATH = "/webhooks/sinch/delivery"
SECRET = "a signing secret"


@pytest.fixture
async def callbacks(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    settings = WebhookSettings(
        _env_file=None, sinch_webhook_secrets=f"older, {SECRET}", webhook_basic_auth="sinch:opensesame", webhook_tokens="token"
    )
    app = create_app(settings, gateway)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://webhook") as client,
    ):
        yield client


def signed(raw: bytes, secret: str = SECRET) -> dict[str, str]:
    nonce, timestamp = "01JHFFHWYY7HSS4FWTMDTQEK8V", "1736760161"
    mac = hmac.new(secret.encode(), raw + f".{nonce}.{timestamp}".encode(), hashlib.sha256).digest()
    return {
        "x-sinch-webhook-signature": base64.b64encode(mac).decode(),
        "x-sinch-webhook-signature-nonce": nonce,
        "x-sinch-webhook-signature-timestamp": timestamp,
        "x-sinch-webhook-signature-algorithm": "HmacSHA256",
    }


def body(**fields: Any) -> bytes:
    report = {"type": "recipient_delivery_report_sms", "batch_id": "B", "recipient": "12005550100", "code": 0}
    return json.dumps({**report, "status": "Delivered", "at": "2026-11-23T12:00:00.000Z", **fields}).encode()


async def say(client: httpx.AsyncClient, raw: bytes, path: str = PATH) -> int:
    return (await client.post(path, content=raw, headers=signed(raw))).status_code


async def test_signed_report_is_stored_before_the_answer(rig: Rig, callbacks: httpx.AsyncClient, db: Connection) -> None:
    (row,) = insert(db)
    await rig.tick("dispatch")

    answer = await say(callbacks, body(batch_id=column(db, "batch_id", row), recipient=number(0)[1:]))

    assert answer == 204
    assert column(db, "status", row) == "delivered"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic " + base64.b64encode(b"sinch:opensesame").decode()},
        {"X-Webhook-Token": "token"},
        signed(body(), "older"),
    ],
    ids=["basic", "token", "older secret"],
)
async def test_every_configured_credential_is_accepted(callbacks: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await callbacks.post(PATH, content=body(), headers=headers)).status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Webhook-Token": "tokeN"},
        {"Authorization": "Basic " + base64.b64encode(b"sinch:wrong").decode()},
        signed(body(), "wrong"),
        {**signed(body(), "wrong"), "X-Webhook-Token": "token"},
    ],
    ids=["nothing", "wrong token", "wrong password", "wrong secret", "wrong signature beside a right token"],
)
async def test_other_credentials_are_rejected(callbacks: httpx.AsyncClient, db: Connection, headers: dict[str, str]) -> None:
    assert (await callbacks.post(PATH, content=body(), headers=headers)).status_code == 401
    assert db.execute("select count(*) from outbox_engine.waiting_reports").fetchone() == (0,)


async def test_report_of_an_unknown_batch_is_kept_once(callbacks: httpx.AsyncClient, db: Connection) -> None:
    assert [await say(callbacks, body()) for _ in range(3)] == [204] * 3
    assert db.execute("select count(*) from outbox_engine.waiting_reports").fetchone() == (1,)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type": "delivery_report_pigeon"}',
        b"[]",
        body(status="Teleported"),
        body(batch_id=7),
        body()[:-1],
    ],
    ids=["type", "shape", "status", "field", "no end"],
)
async def test_unusable_callback_is_kept_unchanged(callbacks: httpx.AsyncClient, db: Connection, raw: bytes) -> None:
    assert await say(callbacks, raw) == 204
    assert db.execute("select raw from outbox_engine.kept_callbacks").fetchone() == (raw,)


async def test_a_reply_stops_messages_on_either_path(callbacks: httpx.AsyncClient, db: Connection) -> None:
    reply = {"type": "mo_text", "id": "i1", "from": "12005550100", "to": "12025550100", "body": "stop"}

    assert await say(callbacks, json.dumps({**reply, "received_at": "2026-11-23T12:00:00Z"}).encode()) == 204
    assert db.execute("select recipient from public.outbox_suppressions").fetchone() == ("+12005550100",)


async def test_large_bodies_are_refused(callbacks: httpx.AsyncClient) -> None:
    assert await say(callbacks, b" " * (1024 * 1024 + 1)) == 413


async def test_unreachable_database_makes_the_provider_retry(callbacks: httpx.AsyncClient, stack: LocalStack) -> None:
    stack.stop_api()
    raw = body()

    answer = await callbacks.post(PATH, content=raw, headers=signed(raw))

    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert (await callbacks.get("/readyz")).status_code == 503
    assert (await callbacks.get("/healthz")).status_code == 200


async def test_webhook_is_ready_when_the_database_answers(callbacks: httpx.AsyncClient) -> None:
    assert (await callbacks.get("/readyz")).status_code == 200


def test_webhook_needs_a_way_to_authenticate(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SINCH_WEBHOOK_SECRETS", "WEBHOOK_BASIC_AUTH", "WEBHOOK_TOKENS", "WEBHOOK_ALLOW_UNAUTHENTICATED"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(SettingsError, match="SINCH_WEBHOOK_SECRETS is not set"):
        load(WebhookSettings)
