"""``/v1/messages``, ``/v2/reports/records`` and the account's own: from a request as it arrived to what it does."""

import base64
from binascii import Error
from collections.abc import Callable
from uuid import UUID

from msgspec import Struct
from starlette.types import Scope

from sandbox.simulator.behaviour import Kind
from sandbox.simulator.http import Answer, Call, json_answer
from sandbox.simulator.vonage import account_api, records
from sandbox.simulator.vonage.problems import Problem, answer, unauthorized
from sandbox.simulator.vonage.provider import Client, Vonage
from sandbox.simulator.vonage.tokens import BadToken, Token
from sandbox.simulator.vonage.wanted import read as read_wanted

PREFIXES = ("/v1/messages", "/v2/reports", account_api.APPLICATIONS, account_api.NUMBERS)

Handler = Callable[[Vonage, Client, Call], Answer]


class Accepted(Struct, kw_only=True, omit_defaults=True):
    """The answer to a message that was taken."""

    message_uuid: str
    workflow_id: str | None = None


def read(vonage: Vonage, scope: Scope, body: bytes) -> tuple[Call, Callable[[], Answer]] | Answer:
    """The request and what it does, or at once the answer where there is no such route."""
    request_id = str(UUID(int=vonage.core.ids.getrandbits(128), version=4))
    always = ((b"x-request-id", request_id.encode()),)
    path, parts = _split(scope["path"])
    route = _ROUTES.get((scope["method"], path))
    if route is None:
        there = any(known == path for _, known in _ROUTES)
        return Answer(405 if there else 404, headers=always)
    kind, handler = route
    headers = dict(scope["headers"])
    call = Call(
        provider="vonage",
        kind=kind,
        plan="",
        parts=parts,
        authorization=headers.get(b"authorization", b"").decode("latin-1"),
        content_type=headers.get(b"content-type", b"").decode("latin-1"),
        raw_query=scope["query_string"].decode("latin-1"),
        body=body,
        host=headers.get(b"host", b"").decode("latin-1"),
        always=always,
    )
    return call, lambda: _handle(vonage, handler, call, request_id.replace("-", ""))


def _send(vonage: Vonage, client: Client, call: Call) -> Answer:
    message = vonage.accept(client, read_wanted(call.body))
    workflow = message.workflow
    accepted = Accepted(message_uuid=message.id, workflow_id=workflow.id if workflow else None)
    return json_answer(202, accepted, accepted=1)


_ROUTES: dict[tuple[str, str], tuple[Kind, Handler]] = {
    ("POST", "/v1/messages"): ("send", _send),
    ("GET", records.PATH): ("records", records.get),
    ("GET", account_api.APPLICATIONS): ("account", account_api.application),
    ("GET", account_api.NUMBERS): ("account", account_api.numbers),
}


def _split(path: str) -> tuple[str, tuple[str, ...]]:
    """The path of a route, and the id behind it."""
    name = path.removeprefix(account_api.APPLICATIONS)
    return (path, ()) if name == path else (account_api.APPLICATIONS, (name,))


def _handle(vonage: Vonage, handler: Handler, call: Call, trace: str) -> Answer:
    try:
        return handler(vonage, _client(vonage, call.authorization), call)
    except Problem as problem:
        return answer(problem, trace, example_types=vonage.core.behaviour.vonage.example_types)


def _client(vonage: Vonage, authorization: str) -> Client:
    """The client that a request comes from. Raises 401."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme == "Bearer":
        try:
            token = Token(credentials)
            settings = vonage.applications.get(token.claims.application_id)
            if settings is None:
                raise unauthorized()
            token.check(settings.public_key)
        except BadToken:
            raise unauthorized() from None
        return Client(settings, basic=False)
    if scheme == "Basic":
        try:
            key, _, secret = base64.b64decode(credentials).decode().partition(":")
        except (Error, UnicodeDecodeError):
            raise unauthorized() from None
        for settings in vonage.applications.values():
            if (settings.api_key, settings.api_secret) == (key, secret):
                return Client(settings, basic=True)
    raise unauthorized()
