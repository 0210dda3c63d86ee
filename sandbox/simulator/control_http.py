"""Reading requests to ``/_sim`` and answering them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from ipaddress import ip_address
from itertools import islice
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sandbox.simulator.behaviour import ProviderName
from sandbox.simulator.world import World

Handler = Callable[[World, Request], Awaitable[Response]]
Shape = TypeVar("Shape")
_AT_ONCE = 500


class Wrong(Exception):
    """A control was used wrongly."""


def control(path: str, method: str, handler: Handler) -> Route:
    """The route of a control, for this machine alone."""

    async def endpoint(request: Request) -> Response:
        if request.client is None or not ip_address(request.client.host).is_loopback:
            return Response("only for this machine\n", 403)
        try:
            return await handler(request.app.state.world, request)
        except (Wrong, msgspec.MsgspecError, ValueError) as error:
            return Response(f"{error}\n", 400, media_type="text/plain")

    return Route(path, endpoint, methods=[method])


async def body(request: Request, shape: type[Shape]) -> Shape:
    return msgspec.json.decode(await request.body() or b"{}", type=shape)


def number(request: Request, name: str) -> int:
    return int(request.query_params.get(name, "0"))


def provider(request: Request) -> ProviderName | None:
    named: ProviderName | None = msgspec.convert(request.query_params.get("provider"), ProviderName | None)
    return named


def json_response(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value) + b"\n", status, media_type="application/json")


def lines(entries: Iterable[object]) -> Response:
    """One JSON object a line, so that neither side holds 100,000 of them at once."""
    return StreamingResponse(_chunks(iter(entries)), media_type="application/x-ndjson")


async def _chunks(entries: Iterator[object]) -> AsyncIterator[bytes]:
    """Asynchronous so that the world is read on the loop that changes it, with a pause for others after each chunk."""
    encoder = msgspec.json.Encoder()
    while chunk := list(islice(entries, _AT_ONCE)):
        yield encoder.encode_lines(chunk)
        await asyncio.sleep(0)
