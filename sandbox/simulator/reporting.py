"""Sends callbacks about messages: one loop driven by the clock, with one entry per accepted request and none per message."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Protocol

from sandbox.simulator.callbacks import Callbacks, Notice
from sandbox.simulator.clock import NEVER, Clock

_AT_ONCE = 500
_SHORTEST_WAIT = 0.01


class Timeline(Protocol):
    """The callbacks that one accepted request still has to make. ``ordinal`` is its number, ``start`` when it may begin."""

    @property
    def ordinal(self) -> int: ...

    @property
    def start(self) -> int: ...

    def next_at(self) -> int:
        """When the next callback is due; NEVER without one."""

    def take(self, now: int, most: int) -> list[Notice]:
        """The callbacks due by ``now``, at most ``most``."""

    def hurry(self, now: int) -> None:
        """Make everything due."""


class Reporter:
    """Queues callbacks when they are due, no faster than they can be sent."""

    def __init__(self, clock: Clock, callbacks: Callbacks) -> None:
        self._clock = clock
        self._callbacks = callbacks
        self._due: list[tuple[int, int, Timeline]] = []
        self._entries = count()
        self._timelines: dict[int, Timeline] = {}
        self._wake = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None
        callbacks.on_change = self._wake.set

    def watch(self, timeline: Timeline) -> None:
        """Send a timeline's callbacks when they are due. Called again after the timeline changed."""
        self._timelines[timeline.ordinal] = timeline
        self._schedule(timeline)
        self._wake.set()

    def timeline(self, ordinal: int) -> Timeline | None:
        """A timeline that has callbacks left."""
        return self._timelines.get(ordinal)

    def forget(self, ordinal: int) -> None:
        self._timelines.pop(ordinal, None)

    def hurry(self, now: int) -> None:
        for timeline in list(self._timelines.values()):
            if timeline.start <= now:
                timeline.hurry(now)
                self._schedule(timeline)
        self._wake.set()

    def clear(self) -> None:
        self._due.clear()
        self._timelines.clear()

    def wake(self) -> None:
        self._wake.set()

    def idle(self) -> bool:
        """Whether nothing is due now and nothing is being sent. Callbacks that wait for a later retry do not count."""
        return self._upcoming() > self._clock.now() and self._callbacks.idle()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            wait = self._send_due()
            self.on_change()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _send_due(self) -> float | None:
        """Queue what is due. Returns the seconds until more is due, or None if only a change can make more due."""
        now = self._clock.now()
        self._callbacks.retry_due(now)
        while self._due and self._due[0][0] <= now:
            if self._callbacks.full():
                return None
            _, _, timeline = heapq.heappop(self._due)
            if self._timelines.get(timeline.ordinal) is timeline and timeline.next_at() <= now:
                self._callbacks.put(timeline.take(now, _AT_ONCE))
                self._schedule(timeline)
        upcoming = self._upcoming()
        return None if upcoming == NEVER else max((upcoming - now) / 1000, _SHORTEST_WAIT)

    def _upcoming(self) -> int:
        return min(self._due[0][0] if self._due else NEVER, self._callbacks.next_retry())

    def _schedule(self, timeline: Timeline) -> None:
        upcoming = timeline.next_at()
        if upcoming == NEVER:
            self._timelines.pop(timeline.ordinal, None)
        else:
            heapq.heappush(self._due, (upcoming, next(self._entries), timeline))
