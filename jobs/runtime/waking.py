"""Whether a process looks for new rows by itself, or has to be told of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

AWAKE_SECONDS: Final = 1.0
"""How long after the latest work a process looks for more, before it has itself told of new rows."""


class Waking:
    """What the listener and the dispatch job of one process tell each other. ``clock`` is in seconds.

    A process that listens is awake for a second after it claimed rows: it looks for new ones many times a second, so apps need
    not tell it of their inserts. A backlog that brings no dispatches, whatever the reason, keeps nobody awake.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._hears = False
        self._worked_at: float | None = None
        self._found = False
        self.is_claiming = False

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """A tick of the dispatch job: it claims by itself, so only urgent rows are news to it."""
        self.is_claiming = True
        try:
            yield
        finally:
            self.is_claiming = False

    @property
    def is_awake(self) -> bool:
        return self._hears and self._worked_at is not None and self._clock() < self._worked_at + AWAKE_SECONDS

    @property
    def sleeps(self) -> bool:
        """Whether inserts have to send a notice."""
        return self._hears and not self.is_awake

    def hears(self, yes: bool) -> None:  # by the listener: notices reach it, or no longer
        self._hears = yes

    def found(self) -> None:
        """Called by the listener: it looked, and rows are ready."""
        self._found = True

    def claimed(self, *, dispatches: bool) -> None:
        """Called by the dispatch job for each claim that was answered."""
        if dispatches:
            self._worked_at = self._clock()
        elif self._found:
            self._worked_at = None
        self._found = False
