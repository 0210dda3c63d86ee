"""Vonage's signature on a callback: a JWT in ``Authorization: Bearer``, HS256, which names the SHA-256 of the body.

The signature is checked with the standard library, as Sinch's is. PyJWT examines each secret anew for each token, which takes
ten times as long as all of this.

Of the claims only ``payload_hash`` counts. Vonage calls it optional, but without it the token would sign any body. ``iat``,
``nbf`` and ``exp`` are compared with no clock: Vonage repeats a callback for a day, perhaps with the same token, and our clock
may be wrong by any amount. A callback that is lost for a clock is lost for good, and a replay only repeats what is recorded.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

import msgspec

SCHEME: Final = "bearer"


class _Header(msgspec.Struct):
    alg: str
    crit: Any = msgspec.UNSET
    b64: bool = True


class _Claims(msgspec.Struct):
    payload_hash: str


_HEADER: Final = msgspec.json.Decoder(_Header)
_CLAIMS: Final = msgspec.json.Decoder(_Claims)


def is_signed(authorization: str) -> bool:
    """Whether the header ``Authorization`` carries a token."""
    return authorization[:6].lower() == SCHEME and authorization[6:7] in ("", " ")


def verifies(secrets: Sequence[str], authorization: str, raw: bytes) -> bool:
    """Whether any of ``secrets`` made the token, and for this body."""
    signed, _, given = authorization[6:].strip().encode().rpartition(b".")
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(_encoded(hmac.digest(secret.encode(), signed, "sha256")), given)
    return found and _is_about(signed, raw)


def _is_about(signed: bytes, raw: bytes) -> bool:
    """Whether a token whose signature is true is of the one form that Vonage documents, and signs ``raw``."""
    header, _, claims = signed.partition(b".")
    try:
        form = _HEADER.decode(_decoded(header))
        promised = _CLAIMS.decode(_decoded(claims)).payload_hash
    except (ValueError, RecursionError):
        return False
    is_plain = form.alg == "HS256" and form.crit is msgspec.UNSET and form.b64
    return is_plain and hmac.compare_digest(promised.lower().encode(), hashlib.sha256(raw).hexdigest().encode())


def _encoded(binary: bytes) -> bytes:
    return base64.urlsafe_b64encode(binary).rstrip(b"=")


def _decoded(segment: bytes) -> bytes:
    """Raises ValueError."""
    return base64.b64decode(segment + b"=" * (-len(segment) % 4), b"-_", validate=True)
