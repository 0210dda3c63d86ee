"""The HTTP answers, as ASGI messages that are made once.

The provider's reaction decides which status is used: it repeats a callback after a 5xx for hours, after a 429 more slowly, and
never after a 2xx or another 4xx.
"""

import json
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Send

_NO_CONTENT: Final = 204


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, complete. ``result`` is what the metrics call what became of the callback."""

    start: Message
    body: Message
    result: str = ""

    async def send(self, send: Send) -> None:
        await send(self.start)
        await send(self.body)


def _answer(status: int, text: str = "", *, result: str = "", **headers: str) -> Answer:
    body = f"{text}\n".encode() if text else b""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if body:
        fields.append((b"content-type", b"text/plain; charset=utf-8"))
    if status != _NO_CONTENT:
        fields.append((b"content-length", str(len(body)).encode()))
    return Answer(
        {"type": "http.response.start", "status": status, "headers": fields},
        {"type": "http.response.body", "body": body},
        result,
    )


def committed(status: int, result: str) -> Answer:
    """The answer to a committed callback, with the status that the provider takes for an acknowledgement."""
    return _answer(status, result=result)


SIGN_LATER = _answer(
    503, "this callback has no signature that can be checked now, send it again", retry_after="10", result="rejected"
)
"""For a provider that signs every callback, and repeats one after this."""
UNAUTHENTICATED = _answer(
    401, "this callback could not be authenticated", www_authenticate='Basic realm="callbacks"', result="rejected"
)
NOT_JSON = _answer(400, "the body is not JSON", result="unusable")
TOO_LARGE = _answer(413, "the body is larger than 1 MiB", result="unusable")
TOO_MANY_FAILURES = _answer(429, "too many requests that could not be authenticated", retry_after="60", result="rejected")
OVERLOADED = _answer(429, "more callbacks than can be committed, slow down", retry_after="2", result="overload")
UNAVAILABLE = _answer(503, "not committed, try again", retry_after="10", result="unavailable")


def _json_answer(value: object) -> Answer:
    body = json.dumps(value, ensure_ascii=False).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return Answer(
        {"type": "http.response.start", "status": 200, "headers": fields},
        {"type": "http.response.body", "body": body},
    )


def hook_refused(status: int, message: str) -> Answer:
    """Supabase Auth gives its user this status and these words. It reads them in an answer of status 200 only."""
    return _json_answer({"error": {"http_code": status, "message": message}})


HOOK_TAKEN = _json_answer({})
HOOK_UNAUTHENTICATED = _answer(401, "the signature does not verify")
HOOK_UNAVAILABLE = _answer(503, "not committed, try again", retry_after="1")
"""Supabase Auth tries again at once, whatever the number says."""
