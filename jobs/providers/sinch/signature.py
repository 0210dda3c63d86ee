"""Sinch's HMAC over a callback: base64 of HMAC-SHA256 of ``body.nonce.timestamp`` with the secret's UTF-8 bytes.

The age of the timestamp is not limited: an honest retry may come a day later, and a replay repeats what is known already.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence

SIGNATURE = "x-sinch-webhook-signature"
NONCE = "x-sinch-webhook-signature-nonce"
TIMESTAMP = "x-sinch-webhook-signature-timestamp"


def sign(secret: str, raw: bytes, *, nonce: str, timestamp: str) -> bytes:
    """The signature's base64 text."""
    signed = b".".join((raw, nonce.encode(), timestamp.encode()))
    return base64.b64encode(hmac.digest(secret.encode(), signed, "sha256"))


def verifies(secrets: Sequence[str], headers: Mapping[str, str], raw: bytes) -> bool:
    """Whether any of ``secrets`` made the signature in ``headers`` (names in lower case)."""
    given = headers.get(SIGNATURE, "").encode()
    nonce, timestamp = headers.get(NONCE, ""), headers.get(TIMESTAMP, "")
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(sign(secret, raw, nonce=nonce, timestamp=timestamp), given)
    return found
