"""One callback: authenticate, read, commit, answer, in that order. The answer never precedes the commit.

Plain ASGI: at thousands of callbacks a second, request and response objects would cost more than the work itself.
"""

from functools import cache, partial
from time import monotonic

import structlog
from starlette.types import Receive, Scope, Send

from jobs.gateway.errors import GatewayUnavailable
from jobs.providers.base import Unusable
from jobs.providers.callbacks import CallbackReader
from jobs.providers.inspection import TEST_HEADER
from jobs.runtime.metrics import CALLBACK_DURATION, CALLBACKS
from jobs.runtime.sources import Address, FailureLimit, source_of
from webhook import answers
from webhook.access import Access, Headers
from webhook.answers import Answer
from webhook.bodies import Gone, TooLarge, is_json, read_body
from webhook.connections import peer_of
from webhook.groups import Overloaded
from webhook.intake import Intake
from webhook.rejections import Rejections
from webhook.schema_gate import SchemaGate
from webhook.tally import Tally

log = structlog.get_logger()


class CallbackEndpoint:
    """Receives every type of callback of one provider."""

    def __init__(
        self,
        provider: str,
        reader: CallbackReader,
        *,
        access: Access,
        intake: Intake,
        limit: FailureLimit,
        rejections: Rejections,
        gate: SchemaGate | None = None,
    ) -> None:
        self._reader = reader
        # A label costs more to look up than the value to add.
        self._counter = cache(partial(CALLBACKS.labels, provider))
        self._duration = CALLBACK_DURATION.labels(provider)
        self._committed = answers.committed(reader.committed_status, "recorded")
        self._repeated = answers.committed(reader.committed_status, "repeated")
        self._kept = answers.committed(reader.committed_status, "unusable")
        self._gate = gate
        self._access = access
        self._intake = intake
        self._limit = limit
        self._rejections = rejections
        self._not_json, self._too_large = Tally("callback.not_json"), Tally("callback.too_large")
        self._unauthenticated = Tally("callback.unauthenticated", fields=lambda: {"last_source": self._last_source})
        self._last_source = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = monotonic()
        try:
            answer = await self._answer(scope, receive)
        except Gone:
            return
        except (GatewayUnavailable, TimeoutError):
            answer = answers.UNAVAILABLE
        except Exception:
            log.exception("callback.failed")
            answer = answers.UNAVAILABLE
        await answer.send(send)
        self._counter(answer.result).inc()
        self._duration.observe(monotonic() - began)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            raw = await self._authenticated_body(scope, headers, receive)
        except TooLarge:
            self._too_large.note("requests")
            return answers.TOO_LARGE
        if raw is None:
            return self._turn_away(scope, headers)
        peer_of(scope).is_trusted = True
        if b"{" not in raw and not is_json(raw):
            # A callback is an object, and this holds none, not even a damaged one.
            self._not_json.note("callbacks")
            return answers.NOT_JSON
        if self._gate is not None and self._gate.reason is not None:
            return answers.UNAVAILABLE

        items = self._reader.parse(raw)
        try:
            is_repeated = await self._intake.take(items)
        except Overloaded:
            return answers.OVERLOADED
        if is_repeated:
            return self._repeated
        return self._kept if any(isinstance(item, Unusable) for item in items) else self._committed

    async def _authenticated_body(self, scope: Scope, headers: Headers, receive: Receive) -> bytes | None:
        """The body, or None if the request is not authenticated. Where possible, that is decided without reading the body."""
        if self._access.asks_for_source and not self._access.admits_source(self._source(scope)):
            return None
        signed = self._reader.claims_origin(headers)
        if not signed and not self._access.admits_credentials(headers):
            return None

        raw = await read_body(receive, declared=headers.get("content-length"))
        return raw if not signed or self._access.admits_signature(self._reader, headers, raw) else None

    def _turn_away(self, scope: Scope, headers: Headers) -> Answer:
        source = self._source(scope)
        self._last_source = str(source)
        signed = self._reader.claims_origin(headers)
        self._unauthenticated.note("signed" if signed else "unsigned")
        # `outbox doctor` shows its own operator that the secret differs.
        if signed and TEST_HEADER not in headers:
            self._rejections.note(self._reader.secrets_setting)
        if self._limit.exceeded(self._limit.count(source)):
            return answers.TOO_MANY_FAILURES
        again = self._reader.may_verify_later(signed=signed) and self._access.admits_source(source)
        return answers.SIGN_LATER if again else answers.UNAUTHENTICATED

    def _source(self, scope: Scope) -> Address | None:
        peer = scope.get("client")
        forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return source_of(peer[0] if peer else None, forwarded, self._access.trusted_proxies)
