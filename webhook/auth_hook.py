"""The Send SMS hook of Supabase Auth over HTTP: puts a one-time code into the outbox, and answers after the commit.

Auth reads an answer's body only with status 200 and JSON, so a refusal is one too. It gives all its attempts five seconds
together, and repeats at once after a 503 with ``Retry-After``. Neither the number nor the code gets into the log: of errors
only the kind does.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from starlette.types import Receive, Scope, Send

from jobs.gateway.errors import GatewayRefused, GatewayUnavailable
from jobs.gateway.recorder import Recorder
from jobs.runtime import standard_webhooks
from jobs.runtime.metrics import AUTH_CODES
from webhook import answers
from webhook.answers import Answer
from webhook.bodies import Gone, TooLarge, is_json, read_body
from webhook.connections import peer_of
from webhook.schema_gate import SchemaGate
from webhook.tally import Tally

log = structlog.get_logger()

PATH: Final = "/hooks/supabase/send-sms"
_DATABASE_SECONDS: Final = 1.0
"""How long one attempt waits for the database, so that three fit into Auth's five seconds."""
_UNAVAILABLE: Final = 503
_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")


class AuthHook:
    """One endpoint. ``secrets`` have the form ``whsec_…``; any of them verifies."""

    def __init__(
        self,
        secrets: Sequence[str],
        recorder: Recorder,
        gate: SchemaGate | None = None,
        *,
        seconds: float = _DATABASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = [key for key in map(standard_webhooks.key_of, secrets) if key is not None]
        self._recorder = recorder
        self._gate = gate
        self._seconds = seconds
        self._clock = clock
        self._unauthenticated = Tally(
            "auth_hook.unauthenticated", fields=lambda: {"hint": "check SUPABASE_AUTH_HOOK_SECRETS and the clocks"}
        )
        self._unavailable, self._too_large = Tally("auth_hook.unavailable"), Tally("auth_hook.too_large")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except Gone:
            return
        except (GatewayUnavailable, TimeoutError) as error:
            self._unavailable.note(type(error).__name__)
            answer = answers.HOOK_UNAVAILABLE
        except Exception as error:  # noqa: BLE001
            # No traceback: its words may repeat the event.
            log.error("auth_hook.failed", error=type(error).__name__)  # noqa: TRY400
            answer = answers.HOOK_UNAVAILABLE
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not all(headers.get(name) for name in _HEADERS):
            self._unauthenticated.note("unsigned")
            return answers.HOOK_UNAUTHENTICATED
        try:
            raw = await read_body(receive, declared=headers.get("content-length"))
        except TooLarge:
            self._too_large.note("requests")
            return answers.TOO_LARGE
        now = self._clock()
        if not standard_webhooks.verifies(self._keys, headers, raw, now=now):
            is_recent = standard_webhooks.is_recent(headers["webhook-timestamp"], now=now)
            self._unauthenticated.note("signed" if is_recent else "old")
            return answers.HOOK_UNAUTHENTICATED
        peer_of(scope).is_trusted = True
        body = _text(raw)
        if body is None:
            return answers.NOT_JSON
        if self._gate is not None and self._gate.reason is not None:
            return answers.HOOK_UNAVAILABLE
        return await self._commit(body, hashlib.sha256(raw).hexdigest())

    async def _commit(self, body: str, digest: str) -> Answer:
        result = "unavailable"
        try:
            async with asyncio.timeout(self._seconds):
                refused = await self._recorder.send_sms_over_http(body, digest)
            if refused is None:
                result = "taken"
                return answers.HOOK_TAKEN
            if refused.status == _UNAVAILABLE:
                return answers.HOOK_UNAVAILABLE
            result = "refused"
            return answers.hook_refused(refused.status, refused.message)
        except GatewayRefused as error:
            result = "refused"
            log.error("auth_hook.refused", code=error.code)  # noqa: TRY400
            return answers.hook_refused(500, "The code could not be sent.")
        finally:
            AUTH_CODES.labels(_kind(body), result).inc()


def _kind(body: str) -> str:
    """``mfa`` or ``otp``, as the database tells them apart."""
    try:
        return "mfa" if json.loads(body)["sms"]["sms_type"] == "mfa" else "otp"
    except (ValueError, KeyError, TypeError):
        return "otp"


def _text(raw: bytes) -> str | None:
    """The text of a body; None if it is not JSON."""
    try:
        return raw.decode() if is_json(raw) else None
    except UnicodeDecodeError:
        return None
