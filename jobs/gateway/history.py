"""One message from its insert to its end, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jobs.gateway.values import instant, moment


@dataclass(frozen=True, slots=True)
class Match:
    """A message that an operator's text matches."""

    id: int
    recipient: str
    status: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Matches:
    """The messages that a text matches. ``read_as`` is what the text names: id, dispatch, batch or idempotency_key."""

    read_as: str
    messages: tuple[Match, ...]

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Matches":
        return cls(read_as=answer["as"], messages=tuple(Match(**row) for row in answer["messages"]))


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a message, recorded ``at``. ``occurred_at`` is the provider's own time, if it gives one."""

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
    def parse(cls, row: Mapping[str, Any]) -> "Event":
        return cls(**{**row, "at": instant(row["at"]), "occurred_at": moment(row["occurred_at"])})


@dataclass(frozen=True, slots=True)
class Carrier:
    """A plan that may carry a message: its weight as configured, 0 where it stands by, and what health leaves of it.

    ``cannot_send`` says why it cannot send now, None where it can.
    """

    provider: str
    plan: str
    weight: int
    effective: int
    cannot_send: str | None


def _until(text: str | None) -> datetime | None:
    """A row of 0.1.0 may be due after the last day that Python knows."""
    try:
        return None if text is None else instant(text)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a message waits for: an instant (None: it is due), the next probe of a content that is held, or one of its plans."""

    until: datetime | None
    is_held: bool
    plans: tuple[Carrier, ...]

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Waiting":
        return cls(_until(row["until"]), row["is_held"], tuple(Carrier(**one) for one in row["plans"]))


@dataclass(frozen=True, slots=True)
class Trace:
    """The history of a message.

    ``message`` holds the columns of its row, ``dispatches`` and ``duplicate_sends`` the engine's rows about its requests.
    ``suppressed`` is the reason if its recipient is suppressed. ``waiting`` is None for one that does not wait, and with schema
    version 1.
    """

    message: Mapping[str, Any]
    timeline: tuple[Event, ...]
    dispatches: tuple[Mapping[str, Any], ...]
    duplicate_sends: tuple[Mapping[str, Any], ...]
    suppressed: str | None
    waiting: Waiting | None = None

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Trace":
        return cls(
            message=answer["message"],
            timeline=tuple(Event.parse(row) for row in answer["timeline"]),
            dispatches=tuple(answer["dispatches"]),
            duplicate_sends=tuple(answer["duplicate_sends"]),
            suppressed=answer["suppressed"],
            waiting=None if answer.get("waiting") is None else Waiting.parse(answer["waiting"]),
        )
