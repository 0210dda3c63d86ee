"""JSON Web Tokens as Vonage takes them (RS256, from an application) and makes them (HS256, over a webhook's body).

Written out here rather than taken from the library that the outbox signs with, so that one mistake cannot hide the other.
Tokens live by the real time, because no client's clock follows when a test moves the simulator's.
"""

import base64
import hashlib
import hmac
import time
from binascii import Error
from functools import lru_cache
from typing import Any
from uuid import uuid4

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from msgspec import Struct

SHORTEST, LONGEST, USUAL = 30, 24 * 3600, 900
"""Seconds from ``iat`` to ``exp``: the limits, and what holds without ``exp``."""
_WEBHOOK_HEADER = b'{"alg":"HS256","typ":"JWT"}'


class Claims(Struct):
    """The claims of an application's token. Times are in seconds; their fractions are allowed."""

    application_id: str
    iat: float
    jti: str
    exp: float | None = None


class _Header(Struct):
    alg: str


class BadToken(Exception):
    """A token that gives no access."""


class Token:
    """A token as it was read. Its signature is not checked yet."""

    def __init__(self, text: str) -> None:
        """Raises BadToken where it is no token or lacks a claim."""
        signed, _, signature = text.rpartition(".")
        head, _, payload = signed.partition(".")
        try:
            self._signature = _decoded(signature)
            algorithm = msgspec.json.decode(_decoded(head), type=_Header).alg
            self.claims = msgspec.json.decode(_decoded(payload), type=Claims)
        except (msgspec.MsgspecError, Error, ValueError) as error:
            raise BadToken(str(error)) from None
        if algorithm != "RS256":
            raise BadToken(f"alg is {algorithm}, not RS256")
        self._signed = signed.encode()

    def check(self, public_key: str | None) -> None:
        """Raises BadToken unless it is signed with this key and its time is now. Without a key any signature will do."""
        now, claims = time.time(), self.claims
        exp = claims.iat + USUAL if claims.exp is None else claims.exp
        if claims.iat > now:
            raise BadToken("iat lies ahead")
        if exp <= now or not SHORTEST <= exp - claims.iat <= LONGEST:
            raise BadToken("exp is over, or not 30 seconds to 24 hours after iat")
        if not claims.jti:
            raise BadToken("jti is empty")
        if public_key is not None:
            try:
                _public_key(public_key).verify(self._signature, self._signed, padding.PKCS1v15(), SHA256())
            except InvalidSignature:
                raise BadToken("the signature is wrong") from None


def signed_webhook(body: bytes, *, secret: str, api_key: str, application_id: str | None) -> str:
    """The token for one try of a webhook."""
    claims: dict[str, Any] = {
        "iat": int(time.time()),
        "jti": str(uuid4()),
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
        "api_key": api_key,
    }
    if application_id is not None:
        claims["application_id"] = application_id
    signed = f"{_encoded(_WEBHOOK_HEADER)}.{_encoded(msgspec.json.encode(claims))}"
    return f"{signed}.{_encoded(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


def make_private_key() -> str:
    """A new private key, as PEM text. Takes about a tenth of a second."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_key_of(pem: str) -> str:
    """The public key in PEM text that holds a public or a private key. Raises ValueError where it is neither."""
    text = pem.encode()
    key = load_pem_public_key(text) if b"PUBLIC KEY" in text else load_pem_private_key(text, None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@lru_cache(maxsize=16)
def _public_key(pem: str) -> rsa.RSAPublicKey:
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadToken("the application's key is no RSA key")
    return key


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
