"""How the provider signs a callback: HMAC-SHA256 over ``body.nonce.timestamp``, in Base64."""

import base64
import hashlib
import hmac

Headers = dict[str, str]


def signature_headers(secret: str, body: bytes, nonce: str, timestamp: int) -> Headers:
    """The four headers for one try. ``timestamp`` is in Unix seconds."""
    signed = b"%b.%b.%d" % (body, nonce.encode(), timestamp)
    digest = hmac.digest(secret.encode(), signed, hashlib.sha256)
    return {
        "x-sinch-webhook-signature": base64.b64encode(digest).decode(),
        "x-sinch-webhook-signature-nonce": nonce,
        "x-sinch-webhook-signature-timestamp": str(timestamp),
        "x-sinch-webhook-signature-algorithm": "HmacSHA256",
    }
