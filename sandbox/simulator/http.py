"""Requests and answers as the routes see them: plain values without a socket."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import msgspec

from sandbox.simulator.behaviour import Kind
from sandbox.simulator.sinch.errors import Refuse, violation

_JSON = ((b"content-type", b"application/json; charset=utf-8"),)

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``parts`` are the ids in its path, outermost first."""

    kind: Kind
    plan: str
    parts: tuple[str, ...]
    authorization: str
    content_type: str
    raw_query: str
    body: bytes

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
    return Answer(status, msgspec.json.encode(value), _JSON, accepted)


def refusal(refuse: Refuse) -> Answer:
    """The answer for a refusal."""
    if refuse.code is None:
        return Answer(refuse.status)
    return json_answer(refuse.status, {"code": refuse.code, "text": refuse.text})


def whole_number(query: Mapping[str, str], name: str, *, default: int, lowest: int, highest: int) -> int:
    """A number from the query, within its limits. Raises the provider's refusal."""
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise violation(f"{name} must be between {lowest} and {highest}")
    return int(text)
