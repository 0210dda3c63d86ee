"""What recipients wrote, and what a person decided about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from jobs.gateway.values import instant, moment


@dataclass(frozen=True, slots=True)
class Reply:
    """A message from the phone ``sender`` to our number ``recipient``, which is empty if the provider did not say.

    ``effect`` is ``stop``, ``start`` or ``help``, or None for any other message. ``unclear``: it may be an opt-out, and waits
    for a person.
    """

    id: str
    sender: str
    recipient: str
    body: str | None
    received_at: datetime
    recorded_at: datetime
    effect: str | None
    unclear: bool
    decided_at: datetime | None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Reply":
        times = {"received_at": instant(row["received_at"]), "recorded_at": instant(row["recorded_at"])}
        return cls(**{**row, **times, "decided_at": moment(row["decided_at"])})


@dataclass(frozen=True, slots=True)
class Decision:
    """What a decision did to one reply: a code, such as ``opted_out``. ``sender`` is None if there is no such reply."""

    id: str
    sender: str | None
    done: bool
    outcome: str


@dataclass(frozen=True, slots=True)
class UnclearReplies:
    """How many replies wait for a person, and since when the oldest does."""

    count: int
    oldest_at: datetime | None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "UnclearReplies":
        return cls(row["count"], moment(row["oldest_at"]))


NONE_UNCLEAR: Final = UnclearReplies(0, None)
