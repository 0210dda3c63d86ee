"""Reads the body of a request, up to a limit. How long that may take is decided by :mod:`webhook.connections`."""

from typing import Final

import msgspec
from starlette.types import Receive

LIMIT = 1024 * 1024
"""The largest body of a callback, in bytes."""
_JSON: Final = msgspec.json.Decoder(msgspec.Raw)
"""Checks the form alone, and builds nothing."""


class TooLarge(Exception):
    """The body is over :data:`LIMIT`. The connection stays open while the client sends the rest, lest it lose the answer."""


class Gone(Exception):
    """The connection ended before the request was complete."""


async def read_body(receive: Receive, *, declared: str | None) -> bytes:
    """The whole body. ``declared`` is the header Content-Length; chunked bodies have none.

    Raises :class:`TooLarge` as soon as that is known, or :class:`Gone`.
    """
    if declared is not None and declared.isdecimal() and int(declared[:20]) > LIMIT:
        raise TooLarge
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LIMIT:
            raise TooLarge
        if not message.get("more_body", False):
            return b"".join(parts)


def is_json(raw: bytes) -> bool:
    """Whether a body is JSON, of whatever value."""
    try:
        _JSON.decode(raw)
    except (ValueError, RecursionError):
        return False
    return True
