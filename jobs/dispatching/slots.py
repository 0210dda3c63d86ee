"""How many requests a process has open, and how many more it may claim. Arithmetic only: no clock and no asyncio."""

import math
from typing import Final

FULL_REQUESTS: Final = 8
"""Slots for requests of any priority. Batches do the work; more connections only cost more."""
URGENT_REQUESTS: Final = 2
"""Extra slots reserved for priority < 100, so that a one-time code never waits behind a campaign at a slow provider."""
SMALL_REQUESTS: Final = 8
"""Small requests that share one slot. Otherwise single messages would wait for a slow provider."""
SINGLE_REQUESTS: Final = 512
"""Slots where a request has one recipient: 800 messages a second at a provider that takes 50 ms, with the time that claiming
and recording take, and with claims of half of them."""
URGENT_SINGLE_REQUESTS: Final = 64
"""Extra slots for priority < 100 there."""


class Slots:
    """The slots that the open requests of one process take.

    A full request takes one slot. A request with at most an eighth of ``max_recipients`` is small and takes an eighth of one.
    ``full`` are the slots for requests of any priority, ``urgent`` the extra ones.
    """

    def __init__(self, *, max_recipients: int) -> None:
        self.full, self.urgent = (
            (FULL_REQUESTS, URGENT_REQUESTS) if max_recipients > 1 else (SINGLE_REQUESTS, URGENT_SINGLE_REQUESTS)
        )
        self._max_recipients = max_recipients
        self._taken_eighths = 0
        self._most: int | None = None

    def allow(self, most: int | None) -> None:
        """From now on, at most so many slots count, and an eighth more for urgent requests; None for all."""
        self._most = most

    def take(self, recipients: int) -> None:
        """Count a request to so many recipients as open."""
        self._taken_eighths += self._eighths(recipients)

    def give_back(self, recipients: int) -> None:
        """Count a request to so many recipients as done."""
        self._taken_eighths -= self._eighths(recipients)

    @property
    def free(self) -> int:
        """Slots for a request of any priority; below zero while urgent requests take the extra slots."""
        return self._allowed - math.ceil(self._taken_eighths / SMALL_REQUESTS)

    @property
    def free_for_urgent(self) -> int:
        """Slots for an urgent request: the free ones and the extra ones."""
        return self.free + (self.urgent if self._most is None else min(self.urgent, self._most // SMALL_REQUESTS))

    @property
    def half_free(self) -> bool:
        """Whether at least half of the slots for any priority are free."""
        return self._taken_eighths <= self._allowed * SMALL_REQUESTS // 2

    @property
    def _allowed(self) -> int:
        return self.full if self._most is None else min(self.full, self._most)

    def _eighths(self, recipients: int) -> int:
        return 1 if recipients * SMALL_REQUESTS <= self._max_recipients else SMALL_REQUESTS
