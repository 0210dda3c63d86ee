"""``/_sim``: reads the records and changes the behaviour. For this machine alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from ipaddress import ip_address
from itertools import islice
from typing import TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sandbox.simulator.behaviour import Behaviour, Fault
from sandbox.simulator.clock import parse
from sandbox.simulator.guide import guide
from sandbox.simulator.sinch.numbers import msisdn
from sandbox.simulator.sinch.plans import InboundView, Plan, PlanSettings
from sandbox.simulator.world import World

Handler = Callable[[World, Request], Awaitable[Response]]
Shape = TypeVar("Shape")
_AT_ONCE = 500


class Struck(Struct, kw_only=True):
    """The current behaviour, and how often each of its request faults was applied."""

    behaviour: Behaviour
    struck: list[int]


class Settle(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /_sim/settle``."""

    seconds: float = 30.0
    retries: bool = False


class Settled(Struct, kw_only=True):
    """Whether everything was settled in time."""

    settled: bool


class Advance(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /_sim/advance``."""

    seconds: float


class Await(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /_sim/wait``: until so many messages were accepted, and so many requests of a kind were answered."""

    messages: int = 0
    kind: str = "any"
    requests: int = 0
    acknowledged: int = 0
    seconds: float = 30.0


class Inject(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /_sim/inbounds``: a phone (``sender``) texts one of the plan's numbers (``to``)."""

    sender: str
    to: str
    body: str
    plan: str | None = None
    type: str = "mo_text"
    id: str | None = None
    received_at: str | None = None
    client_reference: str | None = None
    operator_id: str | None = None
    udh: str | None = None
    times: int = 1


class Wrong(Exception):
    """A control was used wrongly."""


def control_routes() -> list[Route]:
    return [
        _route("/_sim", "GET", _guide),
        _route("/_sim/health", "GET", _health),
        _route("/_sim/faults", "GET", _behaviour),
        _route("/_sim/faults", "PUT", _behave),
        _route("/_sim/faults", "PATCH", _behave_otherwise),
        _route("/_sim/faults", "POST", _add_fault),
        _route("/_sim/plans", "GET", _plans),
        _route("/_sim/plans", "PUT", _agree),
        _route("/_sim/inbounds", "POST", _inject),
        _route("/_sim/reset", "POST", _reset),
        _route("/_sim/advance", "POST", _advance),
        _route("/_sim/settle", "POST", _settle),
        _route("/_sim/wait", "POST", _wait),
        _route("/_sim/books", "GET", _summary),
        _route("/_sim/books/accepted", "GET", _accepted),
        _route("/_sim/books/tallies", "GET", _tallies),
        _route("/_sim/books/requests", "GET", _requests),
        _route("/_sim/callbacks", "GET", _callbacks),
        _route("/_sim/callbacks/tried", "GET", _tried),
    ]


def _route(path: str, method: str, handler: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        if request.client is None or not ip_address(request.client.host).is_loopback:
            return Response("only for this machine\n", 403)
        try:
            return await handler(request.app.state.world, request)
        except (Wrong, msgspec.MsgspecError, ValueError) as error:
            return Response(f"{error}\n", 400, media_type="text/plain")

    return Route(path, endpoint, methods=[method])


async def _guide(world: World, request: Request) -> Response:
    return Response(guide(str(request.url).rstrip("/"), world.behaviour), media_type="text/plain")


async def _health(_world: World, _request: Request) -> Response:
    return _json({"status": "ok"})


async def _behaviour(world: World, _request: Request) -> Response:
    return _json(Struck(behaviour=world.behaviour, struck=world.faults.struck))


async def _behave(world: World, request: Request) -> Response:
    world.behave(await _body(request, Behaviour))
    return await _behaviour(world, request)


async def _behave_otherwise(world: World, request: Request) -> Response:
    """Change the fields that are given."""
    given = await _body(request, dict[str, msgspec.Raw])
    fields = {**msgspec.json.decode(msgspec.json.encode(world.behaviour), type=dict[str, msgspec.Raw]), **given}
    world.behave(msgspec.json.decode(msgspec.json.encode(fields), type=Behaviour), anew="requests" in given)
    return await _behaviour(world, request)


async def _add_fault(world: World, request: Request) -> Response:
    fault = await _body(request, Fault)
    world.behave(msgspec.structs.replace(world.behaviour, requests=(*world.behaviour.requests, fault)), anew=False)
    return await _behaviour(world, request)


async def _plans(world: World, _request: Request) -> Response:
    return _json([plan.settings for plan in world.plans.values()])


async def _agree(world: World, request: Request) -> Response:
    world.agree(await _body(request, PlanSettings))
    return await _plans(world, request)


async def _inject(world: World, request: Request) -> Response:
    wanted = await _body(request, Inject)
    at = None if wanted.received_at is None else parse(wanted.received_at)
    view = world.receive(_plan(world, wanted.plan), _inbound(wanted), at)
    for _ in range(wanted.times - 1):
        world.tell_inbound(_plan(world, wanted.plan), view)
    return _json(view, 201)


async def _reset(world: World, _request: Request) -> Response:
    await world.reset()
    return Response(status_code=204)


async def _advance(world: World, request: Request) -> Response:
    world.advance((await _body(request, Advance)).seconds)
    return Response(status_code=204)


async def _settle(world: World, request: Request) -> Response:
    wanted = await _body(request, Settle)
    return _json(Settled(settled=await world.settle(wanted.seconds, retries=wanted.retries)))


async def _wait(world: World, request: Request) -> Response:
    wanted = await _body(request, Await)

    def reached() -> bool:
        return (
            world.books.messages >= wanted.messages
            and world.books.answered(wanted.kind) >= wanted.requests
            and world.callbacks.figures.acknowledged >= wanted.acknowledged
        )

    return _json(Settled(settled=await world.wait_until(reached, wanted.seconds)))


async def _summary(world: World, _request: Request) -> Response:
    return _json(world.books.summary(world.clock.now()))


async def _accepted(world: World, request: Request) -> Response:
    return _lines(world.books.accepted(world.clock.now(), after=_number(request, "after")))


async def _tallies(world: World, request: Request) -> Response:
    least = _number(request, "least")
    return _lines(tally for tally in world.books.tallies(world.clock.now()) if tally.accepted - tally.excused >= least)


async def _requests(world: World, request: Request) -> Response:
    return _lines(world.books.asked(after=_number(request, "after")))


async def _callbacks(world: World, _request: Request) -> Response:
    return _json(world.callbacks.report())


async def _tried(world: World, request: Request) -> Response:
    return _lines(islice(list(world.callbacks.tried), _number(request, "after"), None))


async def _body(request: Request, shape: type[Shape]) -> Shape:
    return msgspec.json.decode(await request.body() or b"{}", type=shape)


def _plan(world: World, name: str | None) -> Plan:
    plan = next(iter(world.plans.values())) if name is None else world.plans.get(name)
    if plan is None:
        raise Wrong(f"there is no plan {name!r}")
    return plan


def _inbound(wanted: Inject) -> InboundView:
    return InboundView(
        type=wanted.type,
        id=wanted.id or "",
        from_=msisdn(wanted.sender) or wanted.sender,
        to=msisdn(wanted.to) or wanted.to,
        body=wanted.body,
        received_at="",
        operator_id=wanted.operator_id,
        client_reference=wanted.client_reference,
        udh=wanted.udh,
    )


def _number(request: Request, name: str) -> int:
    return int(request.query_params.get(name, "0"))


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value) + b"\n", status, media_type="application/json")


def _lines(entries: Iterable[object]) -> Response:
    """One JSON object a line, so that neither side holds 100,000 of them at once."""
    return StreamingResponse(_chunks(iter(entries)), media_type="application/x-ndjson")


async def _chunks(entries: Iterator[object]) -> AsyncIterator[bytes]:
    """Asynchronous so that the world is read on the loop that changes it, with a pause for others after each chunk."""
    encoder = msgspec.json.Encoder()
    while chunk := list(islice(entries, _AT_ONCE)):
        yield encoder.encode_lines(chunk)
        await asyncio.sleep(0)
