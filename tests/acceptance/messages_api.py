"""A short client of Vonage's APIs, as a customer's program uses them, with an independent library for its tokens."""

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SENDER = "12025550100"
ONE = "12025550123"
TWO = "12025550124"
SECRET = "the secret that signs webhooks, 32"


def token(private_key: str, application_id: str, **claims: Any) -> str:
    now = int(time.time())
    usual = {"application_id": application_id, "iat": now, "exp": now + 900, "jti": str(uuid4())}
    given = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    return jwt.encode(given, _loaded(private_key), algorithm="RS256")


@lru_cache(maxsize=8)
def _loaded(private_key: str) -> RSAPrivateKey:
    """Reading a key checks it, which takes a tenth of a second."""
    key = load_pem_private_key(private_key.encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


@dataclass(frozen=True, slots=True)
class MessagesApi:
    """Sends with a fresh token each, reads reports with key and secret."""

    http: httpx.Client
    private_key: str
    application_id: str
    account: tuple[str, str]

    def post(self, fields: dict[str, Any], **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token(self.private_key, self.application_id)}"}
        return self.http.post("/v1/messages", **{"headers": headers, "json": fields, **options})

    def send(self, to: str = ONE, **fields: Any) -> str:
        """Gives the message's UUID."""
        answer = self.post(sms(to, **fields))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["message_uuid"])

    def records(self, **query: Any) -> httpx.Response:
        wanted = {"account_id": self.account[0], "product": "MESSAGES", "direction": "outbound", **query}
        return self.http.get("/v2/reports/records", params=wanted, auth=self.account)


def sms(to: object = ONE, **fields: Any) -> dict[str, Any]:
    usual = {"to": to, "from": SENDER, "channel": "sms", "message_type": "text", "text": "Hello"}
    return {name: value for name, value in {**usual, **fields}.items() if value is not None}


def mms(**fields: Any) -> dict[str, Any]:
    return sms(channel="mms", message_type="image", text=None, image={"url": "https://example.com/a.png"}, **fields)
