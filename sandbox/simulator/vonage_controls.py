"""``/_sim/vonage``: applications, messages from phones, and the costs of accounts."""

from typing import Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.simulator.clock import parse
from sandbox.simulator.control_http import Wrong, body, control, json_response
from sandbox.simulator.parts import measure
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.vonage.webhooks import Inbound, Usage, price, timestamp
from sandbox.simulator.world import World


class Attachment(Struct, kw_only=True, forbid_unknown_fields=True):
    """An attachment from a phone."""

    type: Literal["image", "audio", "video", "vcard", "file"] = "image"
    url: str
    name: str | None = None
    caption: str | None = None

    def fields(self, *names: Literal["type", "url", "name", "caption"]) -> dict[str, str]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class VonageInject(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /_sim/vonage/inbounds``: a phone (``sender``) texts a number (``to``). With ``media`` it is an MMS."""

    sender: str
    to: str
    text: str | None = None
    media: tuple[Attachment, ...] = ()
    application: str | None = None
    id: str | None = None
    received_at: str | None = None
    times: int = 1


def vonage_routes() -> list[Route]:
    return [
        control("/_sim/vonage/applications", "GET", _applications),
        control("/_sim/vonage/applications", "PUT", _agree),
        control("/_sim/vonage/inbounds", "POST", _inject),
        control("/_sim/vonage/accounts", "GET", _accounts),
    ]


async def _applications(world: World, _request: Request) -> Response:
    return json_response(list(world.vonage.applications.values()))


async def _agree(world: World, request: Request) -> Response:
    world.vonage.agree(await body(request, ApplicationSettings))
    return await _applications(world, request)


async def _inject(world: World, request: Request) -> Response:
    wanted = await body(request, VonageInject)
    applications = world.vonage.applications
    settings = next(iter(applications.values())) if wanted.application is None else applications.get(wanted.application)
    if settings is None:
        raise Wrong(f"there is no application {wanted.application!r}")
    at = world.core.clock.now() if wanted.received_at is None else parse(wanted.received_at)
    inbound = _inbound(wanted, wanted.id or world.vonage.new_id(), at)
    world.vonage.receive(settings, inbound, at)
    for _ in range(wanted.times - 1):
        world.vonage.tell_inbound(settings, inbound)
    return json_response(inbound, 201)


async def _accounts(world: World, _request: Request) -> Response:
    return json_response([account.view() for account in world.vonage.accounts()])


def _inbound(wanted: VonageInject, name: str, at: int) -> Inbound:
    inbound = Inbound(
        channel="mms" if wanted.media else "sms",
        message_uuid=name,
        to=wanted.to.removeprefix("+"),
        from_=wanted.sender.removeprefix("+"),
        timestamp=timestamp(at, at),
        text=wanted.text,
        origin={"network_code": "310260"},
    )
    if not wanted.media:
        words = (wanted.text or "").split()
        inbound.sms = {"num_messages": str(measure(wanted.text or "").parts), "keyword": words[0].upper() if words else ""}
        inbound.usage = Usage(price=price(1))
        return inbound
    first = wanted.media[0]
    inbound.message_type = first.type
    setattr(inbound, first.type, first.fields("url", "name", "caption"))
    if len(wanted.media) > 1:
        inbound.content = [attachment.fields("type", "url") for attachment in wanted.media]
    return inbound
