"""The Send SMS hook over HTTP: a client that behaves like Supabase Auth, against the webhook app."""

import asyncio
import hashlib
import json
import time
from typing import Any

import pytest

from jobs.gateway.auth_codes import CodeRefused
from jobs.gateway.errors import GatewayRefused, GatewayUnavailable
from jobs.gateway.gateway import Gateway
from jobs.runtime.settings import WebhookSettings
from jobs.runtime.standard_webhooks import key_of, sign
from sandbox.auth.hook import AuthClient, Outcome
from tests.auth_events import CODE, PHONE, event
from tests.integration.webhook_app import Memory, away, serving, settings
from tests.stack import Connection
from webhook.auth_hook import PATH

OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "N" * 32
TAKEN = Outcome(200, "", 1)


def hooked(**chosen: Any) -> WebhookSettings:
    return settings(sinch_webhook_secrets="s", supabase_auth_hook_secrets=f"v1,{NEW}|v1,{OLD}", **chosen)


def signed(raw: bytes, *, secret: str = NEW, at: float | None = None) -> dict[str, str]:
    timestamp = str(int(time.time() if at is None else at))
    signature = sign(key_of(secret) or b"", raw, message_id="m", timestamp=timestamp)
    return {"webhook-id": "m", "webhook-timestamp": timestamp, "webhook-signature": signature}


@pytest.mark.parametrize("secrets", [[NEW], [OLD], [OLD, NEW], ["whsec_" + "X" * 32, OLD]])
async def test_code_is_taken_during_a_rotation(secrets: list[str]) -> None:
    memory, given = Memory(), event()

    async with serving(memory, hooked()) as client:
        assert await AuthClient(client, secrets).send_sms(PATH, given) == TAKEN

    ((body, digest),) = memory.codes
    assert json.loads(body) == given
    assert digest == hashlib.sha256(body.encode()).hexdigest()


async def test_answer_is_an_empty_object_of_json() -> None:
    """Older versions of Auth take 204 or an empty body for an error."""
    async with serving(Memory(), hooked()) as client:
        answer = await client.post(PATH, content=b"{}", headers=signed(b"{}"))

    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "application/json", b"{}")


async def test_refusal_reaches_the_user() -> None:
    memory = Memory()
    memory.code_refused = CodeRefused(422, "Texts cannot be sent to this number.")

    async with serving(memory, hooked()) as client:
        outcome = await AuthClient(client, [NEW]).send_sms(PATH, event())

    assert outcome == Outcome(422, "Texts cannot be sent to this number.", 1)


@pytest.mark.parametrize("trouble", [away(), ValueError(CODE)])
async def test_auth_tries_again_while_the_database_is_away(trouble: Exception) -> None:
    memory = Memory()
    memory.trouble = trouble

    async with serving(memory, hooked()) as client:
        outcome = await AuthClient(client, [NEW]).send_sms(PATH, event())

    assert (outcome.status, outcome.attempts, memory.calls) == (500, 3, 3)


async def test_locked_table_makes_auth_try_again() -> None:
    memory = Memory()
    memory.code_refused = CodeRefused(503, "Try again in a minute.")

    async with serving(memory, hooked()) as client:
        assert (await AuthClient(client, [NEW]).send_sms(PATH, event())).attempts == 3


async def test_second_attempt_fits_into_the_budget_of_auth() -> None:
    """The first attempt hangs in the database until the app gives it up."""
    memory = Memory()
    memory.answers.clear()

    async with serving(memory, hooked()) as client:
        sending = asyncio.create_task(AuthClient(client, [NEW]).send_sms(PATH, event()))
        while memory.calls < 2:
            await asyncio.wait_for(memory.was_called.wait(), 10)
            memory.was_called.clear()
        memory.answers.set()
        outcome = await sending

    assert (outcome.status, outcome.attempts, len(memory.codes)) == (200, 2, 1)
    first, second = memory.codes[0], memory.codes[-1]
    assert first == second


async def test_event_the_database_cannot_read_is_refused() -> None:
    memory = Memory()
    memory.trouble = GatewayRefused("unsupported Unicode escape sequence", code="22P05")

    async with serving(memory, hooked()) as client:
        outcome = await AuthClient(client, [NEW]).send_sms(PATH, event())

    assert (outcome.status, outcome.attempts) == (500, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(b"other"),
        signed(b"{}", secret="whsec_" + "X" * 32),
        signed(b"{}", at=time.time() - 400),
        signed(b"{}", at=time.time() + 4000),
        signed(b"{}") | {"webhook-signature": "v1,"},
        {"authorization": "Basic dTpw", "x-webhook-token": "t"},
    ],
)
async def test_only_a_signature_of_auth_opens_the_hook(headers: dict[str, str]) -> None:
    memory = Memory()

    async with serving(memory, hooked(webhook_basic_auth="u:p", webhook_tokens="t")) as client:
        assert (await client.post(PATH, content=b"{}", headers=headers)).status_code == 401

    assert memory.codes == []


async def test_hook_exists_only_with_its_setting() -> None:
    async with serving(Memory()) as client:
        assert (await client.post(PATH, content=b"{}", headers=signed(b"{}"))).status_code == 404


async def test_networks_of_the_provider_do_not_bind_auth() -> None:
    async with serving(Memory(), hooked(webhook_allowed_ips="203.0.113.0/24")) as client:
        assert await AuthClient(client, [NEW]).send_sms(PATH, event()) == TAKEN


async def test_bodies_have_the_limits_of_callbacks() -> None:
    large = b" " * (1024 * 1024 + 1)

    async with serving(Memory(), hooked()) as client:
        assert (await client.post(PATH, content=large, headers=signed(large))).status_code == 413
        for raw in (b"{", b"", b'"\xff"'):
            assert (await client.post(PATH, content=raw, headers=signed(raw))).status_code == 400


async def test_log_has_neither_code_nor_number(capsys: pytest.CaptureFixture[str]) -> None:
    memory = Memory()
    words = f"invalid input for {PHONE}: {CODE}"

    async with serving(memory, hooked()) as client:
        auth = AuthClient(client, [NEW])
        for memory.trouble in (GatewayRefused(words, code="22023"), GatewayUnavailable(words), ValueError(words), None):
            await auth.send_sms(PATH, event())
        await AuthClient(client, ["whsec_" + "X" * 32]).send_sms(PATH, event())

    output = capsys.readouterr()
    assert "auth_hook.refused" in output.out + output.err
    assert PHONE not in output.out + output.err
    assert CODE not in output.out + output.err


async def test_code_is_committed_once_for_all_attempts(db: Connection, gateway: Gateway) -> None:
    """Over the real API, as where an answer was lost."""
    with_id, without_id = event(), event("12025550124", metadata={})

    async with serving(gateway, hooked()) as client:
        auth = AuthClient(client, [NEW])
        for given in (with_id, with_id, without_id, without_id):
            assert await auth.send_sms(PATH, given) == TAKEN
        refused = await auth.send_sms(PATH, event("4407700900123"))

    rows = db.execute("select recipient, body, secret, priority from public.outbox order by id").fetchall()
    assert rows == [(f"+{phone}", f"Your code is {CODE}", True, 0) for phone in (PHONE, "12025550124")]
    assert (refused.status, refused.attempts) == (422, 1)


async def test_signed_body_of_another_kind_is_no_fault(gateway: Gateway) -> None:
    async with serving(gateway, hooked()) as client:
        for raw in (b"[]", b"null", b'"text"', b"1"):
            answer = await client.post(PATH, content=raw, headers=signed(raw))
            assert answer.json()["error"]["http_code"] == 500
        answer = await client.post(PATH, content=b'{"sms": "\\u0000"}', headers=signed(b'{"sms": "\\u0000"}'))

    assert answer.json()["error"]["http_code"] == 500
