"""Reads the body of a request, up to a limit."""

import asyncio

from starlette.types import Message, Receive

LIMIT = 1024 * 1024
"""The largest body of a callback, in bytes."""

# A client that is still sending would lose the answer if the app hung up, so the app reads and drops some of the excess.
DRAIN = 16 * LIMIT
_SECONDS = 10.0


class TooLarge(Exception):
    """The body is over :data:`LIMIT`."""


class Gone(Exception):
    """The client disconnected before its request was complete."""


async def read_body(receive: Receive, *, declared: str | None) -> bytes:
    """The whole body. ``declared`` is the header Content-Length; chunked bodies have none.

    Raises :class:`TooLarge`, :class:`Gone`, or TimeoutError if the client takes longer than ten seconds.
    """
    message = await receive()
    if _is_all(message):
        body: bytes = message.get("body", b"")
        if len(body) > LIMIT:
            raise TooLarge
        return body

    too_large = declared is not None and declared.isdecimal() and int(declared[:20]) > LIMIT
    try:
        async with asyncio.timeout(_SECONDS):
            return await _read_on(receive, message, too_large=too_large)
    except TimeoutError:
        if too_large:
            raise TooLarge from None
        raise


async def _read_on(receive: Receive, message: Message, *, too_large: bool) -> bytes:
    parts: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        part: bytes = message.get("body", b"")
        size += len(part)
        too_large = too_large or size > LIMIT
        if not too_large:
            parts.append(part)
        if size > DRAIN or (too_large and _is_all(message)):
            raise TooLarge
        if _is_all(message):
            return b"".join(parts)
        message = await receive()
    raise Gone


def _is_all(message: Message) -> bool:
    return message["type"] == "http.request" and not message.get("more_body", False)
