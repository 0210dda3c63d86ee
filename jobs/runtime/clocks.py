"""The clocks of the database, the provider and this process, as its own monotonic clock sees them.

Each answer says what time it is there, at a moment between its request and its arrival. So the clock is ahead of the monotonic
one by an amount between two bounds, and further answers make the bounds tighter. All instants and durations are in seconds.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

OFF_SECONDS: Final = 30.0
"""A clock that differs by more is off. Clocks that a time service corrects differ by much less than a second, and a ``Date``
header has no fractions. A process that the machine suspends for some seconds must not count."""

_STEP_SECONDS: Final = 1.0
"""A smaller change counts as drift."""
_DRIFT: Final = 0.0005
"""The most that a clock which a time service corrects gains or loses, as a part of the time that passes."""
_WIDEST_SECONDS: Final = 5.0
"""Bounds that are further apart, because an answer took long, could hide a step."""
_ABSURD_SECONDS: Final = 7 * 86400.0
"""A provider's clock that differs by more from both other clocks is no clock."""


def monotonic() -> float:
    """Seconds on the event loop's clock. A test that runs its own loop sets it."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Bounds:
    """A clock is ahead of the monotonic one by at least ``least`` and at most ``most``."""

    least: float
    most: float

    @property
    def middle(self) -> float:
        return (self.least + self.most) / 2

    def gap(self, other: "Bounds") -> float:
        """How much of a step lies between these bounds and later ones. Negative: back. Zero where they overlap."""
        return max(0.0, other.least - self.most) + min(0.0, other.most - self.least)


class Reference:
    """One clock, from its answers."""

    def __init__(self) -> None:
        self.bounds: Bounds | None = None
        self._read_at = 0.0

    def read(self, at: float, *, precision: float, sent: float, received: float) -> float:
        """Note what the clock said between ``sent`` and ``received``, cut to ``precision``. Returns its step, or zero."""
        new = Bounds(at - received, at + precision - sent)
        known = self.expected(received)
        self._read_at = received
        if known is None:
            self.bounds = new
            return 0.0
        step = known.gap(new)
        if abs(step) <= _STEP_SECONDS and max(known.least, new.least) <= min(known.most, new.most):
            new = Bounds(max(known.least, new.least), min(known.most, new.most))
        self.bounds = new
        return step if abs(step) > _STEP_SECONDS else 0.0

    def expected(self, now: float) -> Bounds | None:
        """The bounds now: they widen by what a clock may drift."""
        if self.bounds is None:
            return None
        drift = _DRIFT * max(0.0, now - self._read_at)
        return Bounds(self.bounds.least - drift, self.bounds.most + drift)


@dataclass(frozen=True, slots=True)
class Difference:
    """A clock (``database``, ``provider`` or ``worker``) and how many seconds it is ahead; negative: behind."""

    clock: str
    seconds: float


class Clocks:
    """What one process knows of the three clocks. ``wall`` is its own one, in seconds since 1970."""

    def __init__(self, *, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._database = Reference()
        self._provider = Reference()
        self._new_provider = Reference()
        self._latest: tuple[datetime, float] | None = None
        self._watched_since: float | None = None
        self._has_stepped = False

    def database_says(self, at: datetime, *, sent: float, received: float) -> None:
        """Note the database's time in an answer. An answer that took long says too little.

        Where it has stepped, the monotonic clock may have stood still instead, as on a machine that was suspended. So what is
        known of the provider's clock counts no longer.
        """
        if received - sent > _WIDEST_SECONDS:
            return
        step = self._database.read(at.timestamp(), precision=0.0, sent=sent, received=received)
        if step:
            self._provider, self._new_provider = Reference(), Reference()
        if step > 0:
            self._has_stepped = True
        if step > 0 or self._watched_since is None:
            self._watched_since = received

    def provider_says(self, date: datetime, *, sent: float, received: float) -> None:
        """Note the ``Date`` of an answer, which is cut to the second. A change counts once a second answer agrees."""
        at = date.timestamp()
        if received - sent > _WIDEST_SECONDS or self._is_absurd(at, received):
            return
        self._latest = date, received
        reading = {"precision": 1.0, "sent": sent, "received": received}
        known, new = self._provider.expected(received), Bounds(at - received, at + 1.0 - sent)
        if known is None or abs(known.gap(new)) <= _STEP_SECONDS:
            self._provider.read(at, **reading)
            self._new_provider = Reference()
        elif self._new_provider.bounds is not None and self._new_provider.read(at, **reading) == 0.0:
            self._provider, self._new_provider = self._new_provider, Reference()
        else:
            self._new_provider.read(at, **reading)

    def watched_for(self, now: float) -> float | None:
        """How long the database's clock has run true, as far as this process has watched.

        None if the process has seen no step, and no ``Date`` of the provider that could tell more: it knows nothing.
        """
        if self._latest is None and not self._has_stepped:
            return None
        return 0.0 if self._watched_since is None else now - self._watched_since

    def provider_now(self, now: float) -> datetime | None:
        """The provider's time by its latest answer, to the second. None if none has said."""
        return None if self._latest is None else self._latest[0] + timedelta(seconds=now - self._latest[1])

    def provider_latest(self, now: float) -> datetime | None:
        """The latest that the provider's clock may show."""
        return None if self._provider.bounds is None else datetime.fromtimestamp(now + self._provider.bounds.most, UTC)

    def reached_by_provider(self, now: float) -> datetime:
        """A time that the provider's clock shows by now, as close to its own as is known.

        Until the provider has said what time it is, this is the database's time, or else this process's.
        """
        for reference in (self._provider, self._database):
            if reference.bounds is not None:
                return datetime.fromtimestamp(now + reference.bounds.least, UTC)
        return datetime.fromtimestamp(self._wall(), UTC)

    @property
    def provider_ahead(self) -> float:
        """How far the provider's clock is ahead of the database's; zero where that is unknown, or less than can be measured."""
        if self._provider.bounds is None or self._database.bounds is None:
            return 0.0
        ahead = self._provider.bounds.middle - self._database.bounds.middle
        return ahead if self._database.bounds.gap(self._provider.bounds) else 0.0

    def to_provider(self, at: datetime) -> datetime:
        """An instant of the database's clock as the provider's clock shows it."""
        return at + timedelta(seconds=self.provider_ahead)

    def off(self, now: float) -> tuple[Difference, ...] | None:
        """The clocks that are off. None while one of the three is unknown.

        The middle one of the three is taken to be right, so two that agree are right and the third is off.
        """
        if self._provider.bounds is None or self._database.bounds is None:
            return None
        ahead = {
            "database": self._database.bounds.middle,
            "provider": self._provider.bounds.middle,
            "worker": self._wall() - now,
        }
        right = sorted(ahead.values())[1]
        differences = (Difference(clock, seconds - right) for clock, seconds in ahead.items())
        return tuple(one for one in differences if abs(one.seconds) > OFF_SECONDS)

    def _is_absurd(self, at: float, now: float) -> bool:
        others = [self._wall()] + ([] if self._database.bounds is None else [now + self._database.bounds.middle])
        return all(abs(at - other) > _ABSURD_SECONDS for other in others)
