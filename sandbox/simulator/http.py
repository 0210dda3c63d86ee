"""Requests and answers as the routes see them: plain values without a socket."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import msgspec

from sandbox.simulator.behaviour import Kind, ProviderName

JSON = ((b"content-type", b"application/json; charset=utf-8"),)
PROBLEM_JSON = ((b"content-type", b"application/problem+json"),)

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``parts`` are the ids in its path, outermost first; ``always`` are headers that every answer to it has."""

    provider: ProviderName
    kind: Kind
    plan: str
    parts: tuple[str, ...]
    authorization: str
    content_type: str
    raw_query: str
    body: bytes
    host: str = ""
    always: Headers = ()

    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(self.raw_query)) if self.raw_query else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``accepted`` is how many messages the request put into the queue."""

    status: int
    body: bytes = b""
    headers: Headers = field(default=())
    accepted: int = 0


def json_answer(status: int, value: object, *, accepted: int = 0) -> Answer:
    return Answer(status, msgspec.json.encode(value), JSON, accepted)
