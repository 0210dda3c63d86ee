"""When to claim, and how much. Arithmetic only: the caller says what time it is and which claims are under way."""

from dataclasses import dataclass
from typing import Final

from jobs.dispatching.silence import Silence
from jobs.dispatching.slots import FULL_REQUESTS, Slots
from jobs.gateway.values import Claim

PAIRED_REQUESTS: Final = FULL_REQUESTS // 4
"""Requests that each of two claims under way may bring. With half of the slots taken, the two fill the other half."""
MOST_ROWS: Final = 2000
"""Rows that a claim reads: two full requests. A longer call would delay an urgent row that is inserted meanwhile."""
AFTER_NOTICE_SECONDS: Final = 0.04
"""The shortest time between two claims while all slots are taken. An app that inserts row by row sends a notice for each."""
WEIGHT: Final = "weight"
"""What limits a plan that is ahead of its share of a route: it waits for the route's other plans."""
_MOST_UNANSWERED: Final = 3
"""Requests in a row without an answer that end a single run. It would wait for each until its deadline."""
_LONGEST_AHEAD_SECONDS: Final = 30.0
"""How long a tick that does not wait for limits waits for the other plans: one of them may be slow without end."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A claim to make now, of at most ``slots`` requests; ``urgent_only``: of rows with a priority < 100."""

    slots: int
    urgent_only: bool = False


class Pace:
    """Decides about the next claim of one process. Times are seconds on any clock that only goes forward.

    ``interval`` is the time between two ticks. Without ``waits_for_rates`` a tick ends when the plan's limit of messages per
    second is reached; with it, the tick waits for a limit that ends within the interval. In both cases it waits for the other
    plans of a route: they take rows meanwhile, and the share of this one grows.
    """

    def __init__(self, slots: Slots, silence: Silence, *, interval: float, max_recipients: int, waits_for_rates: bool) -> None:
        self._slots, self._silence = slots, silence
        self._interval = interval
        self._max_recipients = max_recipients
        self._waits_for_rates = waits_for_rates
        self._goes_on, self._at_once, self._not_before = True, 1, 0.0
        self._claimed_at = 0.0
        self._ahead_since: float | None = None
        self._rows = MOST_ROWS

    @property
    def goes_on(self) -> bool:
        """Whether the tick has more to claim."""
        return self._goes_on and not self.gave_up

    @property
    def gave_up(self) -> bool:
        """Whether a single run leaves rows because the provider does not answer."""
        return not self._waits_for_rates and self._silence.unanswered >= _MOST_UNANSWERED

    def rows_for(self, slots: int) -> int:
        """Rows that a claim for so many slots may read."""
        return min(self._rows, slots * self._max_recipients)

    def begin_tick(self) -> None:
        """Forget what ended the tick before."""
        self._goes_on, self._at_once, self._not_before = True, 1, 0.0
        self._ahead_since = None

    def next_claim(self, now: float, *, under_way: int, noticed: bool) -> Wanted | None:
        """The claim to make ``now``, or None. ``under_way`` claims are unanswered; ``noticed``: rows may have been inserted.

        Call this again until it returns None. A claim of any rows waits until half of the slots are free: a claim for one slot
        would cost a call for each request. Meanwhile a claim of urgent rows is made soon after a notice, and otherwise once an
        interval.
        """
        self._slots.allow(self._silence.most(now))
        wanted = self._wanted(now, under_way, noticed=noticed)
        if wanted is not None:
            self._claimed_at = now
        return wanted

    def seconds_until_claim(self, now: float, *, noticed: bool) -> float | None:
        """Seconds until time alone allows a claim that is not allowed ``now``; None if only an event does."""
        times = (self._not_before, self._urgent_at(noticed=noticed))
        return min((at - now for at in times if at > now), default=None)

    def answered(self, claim: Claim, *, slots: int, now: float) -> None:
        """Learn from the answer to a claim of any rows that was made for so many slots."""
        recipients = sum(len(dispatch.recipients) for dispatch in claim.dispatches)
        self._rows = self._rows_after(len(claim.dispatches), recipients, slots)
        # Where a request has one recipient, a claim of two requests would be one of two messages.
        batches = self._max_recipients > 1 and len(claim.dispatches) <= PAIRED_REQUESTS
        is_full = claim.more and batches and recipients >= self._max_recipients
        self._at_once = 2 if is_full else 1
        self._goes_on = claim.more and bool(claim.dispatches or claim.passed)
        if self._waits_for(claim, now) and claim.wait_seconds < self._interval:
            self._goes_on, self._not_before = True, now + claim.wait_seconds

    def _waits_for(self, claim: Claim, now: float) -> bool:
        if claim.limited != WEIGHT:
            self._ahead_since = None
            return self._waits_for_rates and claim.limited == "messages_per_second"
        if self._ahead_since is None:
            self._ahead_since = now
        return self._waits_for_rates or now < self._ahead_since + _LONGEST_AHEAD_SECONDS

    def _wanted(self, now: float, under_way: int, *, noticed: bool) -> Wanted | None:
        if self._slots.half_free and self._slots.free > 0:
            if under_way >= min(self._at_once, self._slots.free) or now < self._not_before:
                return None
            return Wanted(self._slots.free if self._at_once == 1 else min(PAIRED_REQUESTS, self._slots.free))
        if under_way or self._slots.free_for_urgent <= 0 or now < max(self._not_before, self._urgent_at(noticed=noticed)):
            return None
        return Wanted(min(self._slots.urgent, self._slots.free_for_urgent), urgent_only=True)

    def _urgent_at(self, *, noticed: bool) -> float:
        return self._claimed_at + (AFTER_NOTICE_SECONDS if noticed else self._interval)

    def _rows_after(self, dispatches: int, recipients: int, slots: int) -> int:
        """Read fewer rows where texts differ and few rows fit into the slots; read more again where texts agree."""
        if dispatches == slots:
            return min(MOST_ROWS, max(2 * recipients, 2 * self._slots.full))
        return min(MOST_ROWS, 2 * self._rows)
