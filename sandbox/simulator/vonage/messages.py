"""A message as it was accepted, and its states: accepted, submitted, final. They follow from its seed."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from sandbox.simulator.behaviour import Behaviour, milliseconds
from sandbox.simulator.clock import NEVER
from sandbox.simulator.outcomes import (
    VONAGE_ACCEPTED,
    VONAGE_EARLY_CODES,
    VONAGE_EXPIRED,
    VONAGE_OPTED_OUT,
    VONAGE_SUBMITTED,
    VONAGE_UNREACHED,
    Outcome,
    State,
)
from sandbox.simulator.parts import measure
from sandbox.simulator.vonage.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Workflow:
    """A message's place in a chain of failover messages: ``number`` of ``total``, counted from 1."""

    id: str
    number: int
    total: int


@dataclass(slots=True)
class Life:
    """When a message is submitted and final, in milliseconds, or NEVER."""

    submitted: int
    final: int
    outcome: Outcome

    def state(self, created: int, now: int) -> State:
        if self.final <= now:
            return State(self.outcome, self.final)
        if self.submitted <= now:
            return State(VONAGE_SUBMITTED, self.submitted)
        return State(VONAGE_ACCEPTED, created)

    def hurry(self, now: int) -> None:
        """Let everything that is still to come happen now; what never ends does not."""
        if self.submitted != NEVER:
            self.submitted = min(self.submitted, now)
        if self.final != NEVER:
            self.final = min(self.final, now)


@dataclass(kw_only=True, eq=False)
class Message:
    """One accepted message. Times are in milliseconds; ``ordinal`` counts all accepted requests of the simulator.

    ``application_id`` is None for a request with Basic authentication. ``visible_after`` is the lag of its records.
    """

    id: str
    ordinal: int
    api_key: str
    application_id: str | None
    wanted: Wanted
    created: int
    life: Life
    behaviour: Behaviour
    visible_after: int
    workflow: Workflow | None = None
    provider: Literal["vonage"] = "vonage"

    @property
    def to(self) -> str:
        return self.wanted.to or ""

    @property
    def from_(self) -> str:
        return self.wanted.from_ or ""

    @property
    def channel(self) -> str:
        return self.wanted.channel or ""

    @property
    def reference(self) -> str | None:
        return self.wanted.client_ref

    @property
    def recipients(self) -> tuple[str, ...]:
        return (self.to,)

    @property
    def media(self) -> tuple[str, ...]:
        return tuple(media.url for media in self.wanted.attachments)

    @property
    def parts(self) -> int:
        return measure(self.wanted.words).parts if self.channel == "sms" else 1

    def text(self, _index: int) -> str:
        return self.wanted.words

    def state(self, _index: int, now: int) -> State:
        return self.life.state(self.created, now)

    def excused(self, _index: int, now: int) -> bool:
        """Rejected before the network."""
        outcome = self.life.state(self.created, now).outcome
        return outcome.status == "rejected" and outcome.code in VONAGE_EARLY_CODES


def live(outcome: Outcome, behaviour: Behaviour, random: Random, created: int, ttl: int | None) -> Life:
    """Compute a message's states. ``ttl`` is in seconds; it counts until the phone, although no carrier promises that."""
    submitted = created + milliseconds(behaviour.dispatch_delay, random)
    final = submitted + milliseconds(behaviour.final_delay, random)
    expire = NEVER if ttl is None else created + ttl * 1000
    if expire <= submitted:
        return Life(NEVER, expire, VONAGE_EXPIRED)
    if early(outcome):
        return Life(NEVER, submitted, outcome)
    if outcome == VONAGE_SUBMITTED:
        return Life(submitted, NEVER, outcome)
    return Life(submitted, expire, VONAGE_EXPIRED) if expire <= final else Life(submitted, final, outcome)


def early(outcome: Outcome) -> bool:
    """Whether an outcome ends a message before the network."""
    return outcome in (VONAGE_OPTED_OUT, VONAGE_UNREACHED) or (
        outcome.status == "rejected" and outcome.code in VONAGE_EARLY_CODES
    )
