"""What becomes of each message of a batch: Queued, Dispatched, final.

All states of a batch follow from its seed, so nothing is stored or scheduled per message until it is read.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from sandbox.simulator.behaviour import Behaviour, milliseconds
from sandbox.simulator.clock import NEVER
from sandbox.simulator.outcomes import (
    CANCELLED,
    DELIVERED,
    DISPATCHED,
    EXPIRED,
    EXPIRED_EARLY,
    QUEUED,
    STOPPED,
    STUCK,
    TOO_LONG,
    UNMATCHED,
    Outcome,
    State,
)
from sandbox.simulator.parts import measure
from sandbox.simulator.rules import RuleBook
from sandbox.simulator.sinch.texts import Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Everything that determines a batch's states."""

    recipients: Sequence[str]
    texts: Texts
    behaviour: Behaviour
    rules: RuleBook
    ordinal: int
    queue_start: int
    expire: int
    rate: float | None
    most_parts: int | None


class Life:
    """The states of all messages of one batch, by index."""

    def __init__(self, queued: int, size: int) -> None:
        self.queued = queued
        self.dispatched = array("q", [NEVER]) * size
        self.final = array("q", [NEVER]) * size
        self.outcomes: list[Outcome] = [DELIVERED] * size

    def __len__(self) -> int:
        return len(self.outcomes)

    def state(self, index: int, now: int) -> State:
        if self.final[index] <= now:
            return State(self.outcomes[index], self.final[index])
        if self.dispatched[index] <= now:
            return State(DISPATCHED, self.dispatched[index])
        return State(QUEUED, self.queued)

    def first_change(self) -> int:
        return min(*self.dispatched, *self.final)

    def last_change(self) -> int:
        """When the last message becomes final; NEVER where one does not."""
        return max(self.final)

    def cancel(self, now: int) -> None:
        """Cancel the messages that have not left the queue."""
        for index in range(len(self)):
            if min(self.dispatched[index], self.final[index]) > now:
                self.dispatched[index], self.final[index], self.outcomes[index] = NEVER, now, CANCELLED

    def hurry(self, now: int) -> None:
        """Let everything that is still to come happen now; stuck messages stay stuck."""
        for index in range(len(self)):
            if self.dispatched[index] != NEVER:
                self.dispatched[index] = min(self.dispatched[index], now)
            if self.final[index] != NEVER:
                self.final[index] = min(self.final[index], now)


def rule_book(behaviour: Behaviour) -> RuleBook:
    """The rules for Sinch's numbers, for all batches of a behaviour."""
    return RuleBook(behaviour.rules, behaviour.outcomes, DELIVERED)


def live(course: Course) -> Life:
    """Compute a batch's states."""
    random = Random(f"{course.behaviour.seed}/{course.ordinal}")
    life = Life(course.queue_start, len(course.recipients))
    for index, recipient in enumerate(course.recipients):
        outcome = _defect(course, recipient) or course.rules.outcome(recipient, random)
        _live_one(life, index, outcome, course, random)
    return life


def _live_one(life: Life, index: int, outcome: Outcome, course: Course, random: Random) -> None:
    waited = int(index * 1000 / course.rate) if course.rate else 0
    dispatched = course.queue_start + waited + milliseconds(course.behaviour.dispatch_delay, random)
    final = dispatched + milliseconds(course.behaviour.final_delay, random)
    if course.expire <= dispatched:
        life.final[index], life.outcomes[index] = course.expire, EXPIRED_EARLY
    elif outcome.status in STOPPED:
        life.final[index], life.outcomes[index] = dispatched, outcome
    elif outcome == STUCK:
        life.dispatched[index] = dispatched
    elif course.expire <= final:
        life.dispatched[index], life.final[index], life.outcomes[index] = dispatched, course.expire, EXPIRED
    else:
        life.dispatched[index], life.final[index], life.outcomes[index] = dispatched, final, outcome


def _defect(course: Course, recipient: str) -> Outcome | None:
    """The message's own fault, or None."""
    if not course.texts.personal and course.most_parts is None:
        return None
    text = course.texts.of(recipient)
    if text is None:
        return UNMATCHED
    if course.most_parts is not None and measure(text).parts > course.most_parts:
        return TOO_LONG
    return None
