"""One message from its insert to its end, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.gateway.values import instant, moment


@dataclass(frozen=True, slots=True)
class Found:
    """A message that an operator may have meant."""

    id: int
    recipient: str
    status: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Meant:
    """The messages that a text stands for, and what it was read as: id, dispatch, batch or idempotency_key."""

    read_as: str
    messages: tuple[Found, ...]

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Meant":
        return cls(read_as=answer["as"], messages=tuple(Found(**row) for row in answer["messages"]))


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened to a message: recorded ``at``, and where the provider says so, ``occurred_at``."""

    at: datetime
    source: str
    event: str
    status: str | None
    status_code: int | None
    batch_id: str | None
    dispatch_id: str | None
    occurred_at: datetime | None
    detail: str | None
    report: Mapping[str, Any] | None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Happening":
        return cls(**{**row, "at": instant(row["at"]), "occurred_at": moment(row["occurred_at"])})


@dataclass(frozen=True, slots=True)
class Trace:
    """``message`` holds the row's columns; ``dispatches`` and ``doubles`` what the engine knows of its requests."""

    message: Mapping[str, Any]
    timeline: tuple[Happening, ...]
    dispatches: tuple[Mapping[str, Any], ...]
    doubles: tuple[Mapping[str, Any], ...]
    suppressed: str | None

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Trace":
        return cls(
            message=answer["message"],
            timeline=tuple(Happening.parse(row) for row in answer["timeline"]),
            dispatches=tuple(answer["dispatches"]),
            doubles=tuple(answer["duplicate_sends"]),
            suppressed=answer["suppressed"],
        )
