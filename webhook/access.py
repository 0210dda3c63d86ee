"""Decides which requests are authenticated."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from jobs.providers.callbacks import CallbackReader, Verdict
from jobs.runtime.settings import WebhookSettings
from jobs.runtime.sources import Address, is_within

Headers = Mapping[str, str]


class Access:
    """Decides by the settings alone. It compares digests of secrets, so that timing shows neither content nor length."""

    def __init__(self, settings: WebhookSettings) -> None:
        basic = settings.webhook_basic_auth
        self.trusted_proxies = tuple(settings.webhook_trusted_proxies)
        self._networks = tuple(settings.webhook_allowed_ips)
        self._basic = None if basic is None else _digest(basic.get_secret_value().encode())
        self._tokens = [_digest(token.get_secret_value().encode()) for token in settings.webhook_tokens]
        self._unauthenticated = settings.webhook_allow_unauthenticated

    @property
    def asks_for_source(self) -> bool:
        """Whether the source of a request matters."""
        return bool(self._networks)

    def admits_source(self, source: Address | None) -> bool:
        """Whether the source is allowed. Allowed networks are required in addition to a proof of origin, never instead."""
        return not self._networks or (source is not None and is_within(source, self._networks))

    def admits_credentials(self, headers: Headers) -> bool:
        """Whether a request without a provider's signature is authenticated. This needs no body."""
        return self._unauthenticated or self._has_token(headers) | self._has_basic(headers)

    def admits_signature(self, reader: CallbackReader, headers: Headers, raw: bytes) -> bool:
        """Whether a request with a provider's signature is authenticated: the signature must verify, whatever else was sent.

        Without a configured secret no signature verifies. Such a request is then accepted only if WEBHOOK_ALLOW_UNAUTHENTICATED
        is set.
        """
        verdict = reader.authenticate(headers, raw)
        return verdict is Verdict.VERIFIED or (verdict is Verdict.UNVERIFIABLE and self._unauthenticated)

    def _has_token(self, headers: Headers) -> bool:
        given = _digest(headers.get("x-webhook-token", "").encode("latin-1"))
        found = False
        for token in self._tokens:
            found |= hmac.compare_digest(given, token)
        return found

    def _has_basic(self, headers: Headers) -> bool:
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if self._basic is None or scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(_digest(given), self._basic)


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
