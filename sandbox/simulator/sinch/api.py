"""XMS under ``/xms/v1/{plan}``: from a request as it arrived to the handler of its route."""

from collections.abc import Callable

from starlette.types import Scope

from sandbox.simulator.http import Answer, Call
from sandbox.simulator.sinch.errors import Refuse, refusal
from sandbox.simulator.sinch.provider import Sinch
from sandbox.simulator.sinch.routes import Route, find

PREFIX = "/xms/v1/"


def read(sinch: Sinch, scope: Scope, body: bytes) -> tuple[Call, Callable[[], Answer]] | Answer:
    """The request and what it does, or at once the answer where there is no such route."""
    plan, *segments = scope["path"].removeprefix(PREFIX).split("/")
    found = find(scope["method"], segments)
    if isinstance(found, int):
        return Answer(found)
    route, ids = found
    headers = dict(scope["headers"])
    call = Call(
        provider="sinch",
        kind=route.kind,
        plan=plan,
        parts=ids,
        authorization=headers.get(b"authorization", b"").decode("latin-1"),
        content_type=headers.get(b"content-type", b"").decode("latin-1"),
        raw_query=scope["query_string"].decode("latin-1"),
        body=body,
    )
    return call, lambda: _handle(sinch, route, call)


def _handle(sinch: Sinch, route: Route, call: Call) -> Answer:
    try:
        return route.handler(sinch, sinch.authorised(call.plan, call.authorization), call)
    except Refuse as refuse:
        return refusal(refuse)
