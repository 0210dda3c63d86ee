"""Signatures of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body.

Supabase Auth joins several signatures by a comma and a blank, the specification by a blank. Both are read here.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

PREFIX: Final = "whsec_"
TOLERANCE_SECONDS: Final = 300
_SIGNATURE: Final = re.compile(r"v1,([A-Za-z0-9+/=]+)")
_SEPARATORS: Final = re.compile(r"[|,\s]+")
_VERSION: Final = "v1"
_LENGTHS: Final = range(32, 89)
"""Characters of base64 that Supabase Auth accepts."""


def secrets_in(text: str) -> list[str]:
    """The secrets of a setting, each as ``whsec_…``. Between them ``|`` or ``,``, before each perhaps ``v1,``.

    Raises ValueError, without the text, for a part that is none.
    """
    found = [part for part in _SEPARATORS.split(text) if part not in ("", _VERSION)]
    for number, secret in enumerate(found, 1):
        if not secret.startswith(PREFIX) or len(secret) - len(PREFIX) not in _LENGTHS or key_of(secret) is None:
            raise ValueError(
                f"part {number} is no secret of a hook: it has the form v1,whsec_… and then 32 to 88 characters of base64"
            )
    return found


def key_of(secret: str) -> bytes | None:
    """The key of a secret ``whsec_…``; None where it is not base64."""
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None


def sign(key: bytes, raw: bytes, *, message_id: str, timestamp: str) -> str:
    """One signature, as it stands in the header ``webhook-signature``."""
    signed = f"{message_id}.{timestamp}.".encode("latin-1") + raw
    return f"{_VERSION},{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def verifies(keys: Sequence[bytes], headers: Mapping[str, str], raw: bytes, *, now: float) -> bool:
    """Whether a request was signed with one of ``keys``, at most five minutes before or after ``now``."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not is_recent(timestamp, now=now):
        return False
    given = [f"{_VERSION},{signature}".encode() for signature in _SIGNATURE.findall(headers.get("webhook-signature", ""))]
    found = False
    for key in keys:
        right = sign(key, raw, message_id=message_id, timestamp=timestamp).encode()
        for signature in given:
            found |= hmac.compare_digest(right, signature)
    return found


def is_recent(timestamp: str, *, now: float) -> bool:
    """Whether a time in Unix seconds is at most five minutes away."""
    return bool(re.fullmatch(r"[0-9]{1,12}", timestamp)) and abs(int(timestamp) - now) <= TOLERANCE_SECONDS
