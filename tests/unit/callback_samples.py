"""The callbacks of each provider, for tests that all readers must pass."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from jobs.providers.callbacks import CallbackReader
from jobs.providers.sinch.reader import SinchCallbacks
from jobs.providers.sinch.signature import sign
from jobs.providers.vonage.reader import VonageCallbacks

SECRET = "a signing secret of thirty-two bytes"
REFERENCE = "0a1b2c3d-0000-4000-8000-000000000001"


def sinch_headers(raw: bytes, secret: str = SECRET) -> dict[str, str]:
    return {
        "x-sinch-webhook-signature": sign(secret, raw, nonce="n", timestamp="1736760161").decode(),
        "x-sinch-webhook-signature-nonce": "n",
        "x-sinch-webhook-signature-timestamp": "1736760161",
    }


def vonage_headers(raw: bytes, secret: str = SECRET, claims: Mapping[str, object] | None = None) -> dict[str, str]:
    """As PyJWT signs it. A claim of None is left out."""
    made = {
        "iat": 1736760161,
        "jti": "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5",
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(raw).hexdigest(),
        "api_key": "a1b2c3d",
        "application_id": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab",
    } | dict(claims or {})
    token = jwt.encode({name: value for name, value in made.items() if value is not None}, secret, algorithm="HS256")
    return {"authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Samples:
    """One provider's callbacks. ``names`` are its names for the fields ``text``, ``reference``, ``recipient`` and ``time``."""

    name: str
    reader: Callable[[list[str]], CallbackReader]
    headers: Callable[..., dict[str, str]]
    committed: int
    reported: Mapping[str, Any]
    said: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)

    def report(self, **changes: object) -> dict[str, Any]:
        """A report that ``+14155550100`` got batch ``batch-1``."""
        return self._changed(self.reported, changes)

    def inbound(self, **changes: object) -> dict[str, Any]:
        """A STOP from ``+14155550100`` to ``+14155550199``."""
        return self._changed(self.said, changes)

    def _changed(self, sample: Mapping[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
        return {**sample, **{self.names.get(name, name): value for name, value in changes.items()}}

    def __repr__(self) -> str:
        return self.name


SINCH = Samples(
    name="sinch",
    reader=SinchCallbacks,
    headers=sinch_headers,
    committed=204,
    reported={
        "type": "recipient_delivery_report_sms",
        "batch_id": "batch-1",
        "client_reference": REFERENCE,
        "recipient": "14155550100",
        "code": 0,
        "status": "Delivered",
        "at": "2026-11-24T12:00:00.000Z",
    },
    said={
        "type": "mo_text",
        "id": "inbound-1",
        "from": "14155550100",
        "to": "14155550199",
        "body": "STOP",
        "received_at": "2026-11-24T12:00:00.000Z",
    },
    names={
        "text": "body",
        "reference": "client_reference",
        "sender": "from",
        "reported_at": "at",
        "id": "id",
        "batch": "batch_id",
    },
)

VONAGE = Samples(
    name="vonage",
    reader=VonageCallbacks,
    headers=vonage_headers,
    committed=200,
    reported={
        "message_uuid": "batch-1",
        "client_ref": REFERENCE,
        "channel": "sms",
        "to": "14155550100",
        "from": "14155550199",
        "timestamp": "2026-11-24T12:00:00.000Z",
        "status": "delivered",
        "usage": {"currency": "EUR", "price": "0.0333"},
        "destination": {"network_code": "310260"},
        "sms": {"count_total": "1"},
    },
    said={
        "message_uuid": "inbound-1",
        "channel": "sms",
        "message_type": "text",
        "from": "14155550100",
        "to": "14155550199",
        "text": "STOP",
        "timestamp": "2026-11-24T12:00:00.000Z",
        "sms": {"num_messages": "1", "keyword": "STOP"},
        "usage": {"currency": "EUR", "price": "0.0100"},
        "origin": {"network_code": "310260"},
    },
    names={
        "reference": "client_ref",
        "sender": "from",
        "recipient": "to",
        "reported_at": "timestamp",
        "received_at": "timestamp",
        "id": "message_uuid",
        "batch": "message_uuid",
    },
)

ALL = (SINCH, VONAGE)


def encoded(callback: object) -> bytes:
    return json.dumps(callback).encode()
