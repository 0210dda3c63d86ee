"""``/_sim``: reads the records and changes the behaviour. For this machine alone."""

from itertools import islice

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.simulator.behaviour import Behaviour, Fault
from sandbox.simulator.clock import iso, parse
from sandbox.simulator.control_http import Wrong, body, control, json_response, lines, number, provider
from sandbox.simulator.guide import guide
from sandbox.simulator.phones import HEADERS, PhoneText, phones_page
from sandbox.simulator.sinch.numbers import msisdn
from sandbox.simulator.sinch.plans import InboundView, Plan, PlanSettings
from sandbox.simulator.vonage_controls import vonage_routes
from sandbox.simulator.world import World

_PHONE_TEXTS = 200


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


class Refuse(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /_sim/refuse``: for how long no connection is taken."""

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


def control_routes() -> list[Route]:
    return [
        control("/_sim", "GET", _guide),
        control("/_sim/health", "GET", _health),
        control("/_sim/phones", "GET", _phones),
        control("/_sim/faults", "GET", _behaviour),
        control("/_sim/faults", "PUT", _behave),
        control("/_sim/faults", "PATCH", _behave_otherwise),
        control("/_sim/faults", "POST", _add_fault),
        control("/_sim/plans", "GET", _plans),
        control("/_sim/plans", "PUT", _agree),
        control("/_sim/inbounds", "POST", _inject),
        control("/_sim/reset", "POST", _reset),
        control("/_sim/advance", "POST", _advance),
        control("/_sim/settle", "POST", _settle),
        control("/_sim/wait", "POST", _wait),
        control("/_sim/books", "GET", _summary),
        control("/_sim/books/accepted", "GET", _accepted),
        control("/_sim/books/tallies", "GET", _tallies),
        control("/_sim/books/requests", "GET", _requests),
        control("/_sim/callbacks", "GET", _callbacks),
        control("/_sim/callbacks/tried", "GET", _tried),
        control("/_sim/refuse", "POST", _refuse),
        *vonage_routes(),
    ]


async def _guide(world: World, request: Request) -> Response:
    return Response(guide(str(request.url).rstrip("/"), world.behaviour), media_type="text/plain")


async def _health(_world: World, _request: Request) -> Response:
    return json_response({"status": "ok"})


async def _phones(world: World, _request: Request) -> Response:
    now, books = world.core.clock.now(), world.core.books
    texts = [
        PhoneText(entry.recipients[index], entry.text(index), iso(entry.created), state.outcome.status)
        for entry, index, state in islice(books.newest(now), _PHONE_TEXTS)
    ]
    for plan in world.sinch.plans.values():
        views = (received.view for received in plan.inbounds[-_PHONE_TEXTS:])
        texts += [PhoneText(view.from_, view.body, view.received_at, "sent", outgoing=True) for view in views]
    texts += [
        PhoneText(received.inbound.from_, received.inbound.text or "", iso(received.at), "sent", outgoing=True)
        for received in world.vonage.inbounds[-_PHONE_TEXTS:]
    ]
    return Response(phones_page(texts, books.messages), media_type="text/html", headers=HEADERS)


async def _behaviour(world: World, _request: Request) -> Response:
    return json_response(Struck(behaviour=world.behaviour, struck=world.faults.struck))


async def _behave(world: World, request: Request) -> Response:
    world.behave(await body(request, Behaviour))
    return await _behaviour(world, request)


async def _behave_otherwise(world: World, request: Request) -> Response:
    """Change the fields that are given, and of those of Vonage the ones given there. Answers with these fields alone."""
    given = await body(request, dict[str, msgspec.Raw])
    fields = {**msgspec.json.decode(msgspec.json.encode(world.behaviour), type=dict[str, msgspec.Raw]), **given}
    if "vonage" in given:
        own = msgspec.json.decode(msgspec.json.encode(world.behaviour.vonage), type=dict[str, msgspec.Raw])
        own |= msgspec.json.decode(given["vonage"], type=dict[str, msgspec.Raw])
        fields["vonage"] = msgspec.Raw(msgspec.json.encode(own))
    world.behave(msgspec.json.decode(msgspec.json.encode(fields), type=Behaviour), anew="requests" in given)
    return json_response({name: getattr(world.behaviour, name) for name in given if name != "vonage"} | _vonage(world, given))


def _vonage(world: World, given: dict[str, msgspec.Raw]) -> dict[str, object]:
    """The fields of Vonage that were given, as they are now."""
    if "vonage" not in given:
        return {}
    names = msgspec.json.decode(given["vonage"], type=dict[str, msgspec.Raw])
    return {"vonage": {name: getattr(world.behaviour.vonage, name) for name in names}}


async def _add_fault(world: World, request: Request) -> Response:
    """Answers with the fault alone: the whole behaviour has a rule for each code."""
    fault = await body(request, Fault)
    world.behave(msgspec.structs.replace(world.behaviour, requests=(*world.behaviour.requests, fault)), anew=False)
    return json_response(fault)


async def _plans(world: World, _request: Request) -> Response:
    return json_response([plan.settings for plan in world.sinch.plans.values()])


async def _agree(world: World, request: Request) -> Response:
    world.sinch.agree(await body(request, PlanSettings))
    return await _plans(world, request)


async def _inject(world: World, request: Request) -> Response:
    wanted = await body(request, Inject)
    at = None if wanted.received_at is None else parse(wanted.received_at)
    view = world.sinch.receive(_plan(world, wanted.plan), _inbound(wanted), at)
    for _ in range(wanted.times - 1):
        world.sinch.tell_inbound(_plan(world, wanted.plan), view)
    return json_response(view, 201)


async def _reset(world: World, _request: Request) -> Response:
    await world.reset()
    return Response(status_code=204)


async def _advance(world: World, request: Request) -> Response:
    world.advance((await body(request, Advance)).seconds)
    return Response(status_code=204)


async def _settle(world: World, request: Request) -> Response:
    wanted = await body(request, Settle)
    return json_response(Settled(settled=await world.settle(wanted.seconds, retries=wanted.retries)))


async def _wait(world: World, request: Request) -> Response:
    wanted, core = await body(request, Await), world.core

    def reached() -> bool:
        return (
            core.books.messages >= wanted.messages
            and core.books.answered(wanted.kind) >= wanted.requests
            and core.callbacks.figures.acknowledged >= wanted.acknowledged
        )

    return json_response(Settled(settled=await core.wait_until(reached, wanted.seconds)))


async def _summary(world: World, request: Request) -> Response:
    return json_response(world.core.books.summary(world.core.clock.now(), provider=provider(request)))


async def _accepted(world: World, request: Request) -> Response:
    books, now = world.core.books, world.core.clock.now()
    return lines(books.accepted(now, after=number(request, "after"), provider=provider(request)))


async def _tallies(world: World, request: Request) -> Response:
    least = number(request, "least")
    tallies = world.core.books.tallies(world.core.clock.now(), provider=provider(request))
    return lines(tally for tally in tallies if tally.accepted - tally.excused >= least)


async def _requests(world: World, request: Request) -> Response:
    return lines(world.core.books.asked(after=number(request, "after"), provider=provider(request)))


async def _callbacks(world: World, _request: Request) -> Response:
    return json_response(world.core.callbacks.report())


async def _tried(world: World, request: Request) -> Response:
    return lines(islice(list(world.core.callbacks.tried), number(request, "after"), None))


async def _refuse(_world: World, request: Request) -> Response:
    """Hangs up on all other clients at once, and on this one after the answer."""
    wanted = await body(request, Refuse)
    if request.client is not None:
        request.app.state.refuse(wanted.seconds, tuple(request.client))
    return Response(status_code=204, headers={"connection": "close"})


def _plan(world: World, name: str | None) -> Plan:
    plan = next(iter(world.sinch.plans.values())) if name is None else world.sinch.plans.get(name)
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
