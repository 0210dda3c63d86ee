"""Signatures of callbacks, against a vector that Sinch publishes with its own clients."""

import pytest

from jobs.providers.callbacks import Verdict
from jobs.providers.sinch.reader import SinchCallbacks
from jobs.providers.sinch.signature import sign

SECRET = "SMSWebhooksSecret"
NONCE = "01JHFFHWYY7HSS4FWTMDTQEK8V"
TIMESTAMP = "1736760161"
SIGNATURE = "ZoHei66PPN/kZjw7hFVfGhJOnml3iGNCMWoyQVcE5o0="
RAW = (
    b'{"at":"2025-01-13T09:22:40.914Z","batch_id":"01JHFFHQ0P99JPPNQPJDV7JTBP","client_reference":"a client reference",'
    b'"code":0,"operator_status_at":"2025-01-13T09:22:00Z","recipient":"33662162466","status":"Delivered",'
    b'"type":"recipient_delivery_report_sms"}'
)


def headers(signature: str = SIGNATURE) -> dict[str, str]:
    return {
        "x-sinch-webhook-signature": signature,
        "x-sinch-webhook-signature-nonce": NONCE,
        "x-sinch-webhook-signature-timestamp": TIMESTAMP,
        "x-sinch-webhook-signature-algorithm": "HmacSHA256",
    }


def test_the_published_vector_verifies() -> None:
    assert sign(SECRET, RAW, nonce=NONCE, timestamp=TIMESTAMP).decode() == SIGNATURE
    assert SinchCallbacks([SECRET]).authenticate(headers(), RAW) is Verdict.VERIFIED


@pytest.mark.parametrize(
    ("changed", "raw"),
    [
        ({}, RAW + b" "),
        ({}, RAW.replace(b"Delivered", b"Failed")),
        ({"x-sinch-webhook-signature-nonce": "other"}, RAW),
        ({"x-sinch-webhook-signature-timestamp": "1736760162"}, RAW),
        ({"x-sinch-webhook-signature": ""}, RAW),
        ({"x-sinch-webhook-signature": "ZoHei66PPN"}, RAW),
        ({"x-sinch-webhook-signature": "é"}, RAW),
    ],
)
def test_a_change_of_a_single_byte_is_noticed(changed: dict[str, str], raw: bytes) -> None:
    assert SinchCallbacks([SECRET]).authenticate(headers() | changed, raw) is Verdict.FORGED
