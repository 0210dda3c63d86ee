"""Whether a process looks for new rows by itself, or has to be told of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

AWAKE_SECONDS: Final = 1.0
"""How long after the latest work a process looks for more, before it has itself told of new rows."""


class Wakings:
    """What the listener of a process and its dispatch jobs tell each other. ``clock`` is in seconds.

    A process that listens is awake for a second after one of its dispatch jobs claimed rows: it looks for new ones many times a
    second, for all of its jobs, so apps need not tell it of their inserts.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self._hears = False
        self._jobs: list[Waking] = []

    def join(self) -> "Waking":
        """The part of one more dispatch job."""
        self._jobs.append(Waking(self))
        return self._jobs[-1]

    @property
    def is_awake(self) -> bool:
        return self._hears and any(job.worked_lately for job in self._jobs)

    @property
    def sleeps(self) -> bool:
        """Whether inserts have to send a notice."""
        return self._hears and not self.is_awake

    @property
    def is_claiming(self) -> bool:
        """Whether a dispatch job claims by itself: the rows of its backlog are no news, so only urgent ones are looked for."""
        return any(job.is_claiming for job in self._jobs)

    def hears(self, yes: bool) -> None:  # by the listener: notices reach it, or no longer
        self._hears = yes

    def found(self) -> None:
        """Called by the listener: it looked, and rows are ready. Some job may have a plan that may take them."""
        for job in self._jobs:
            job.found()


class Waking:
    """One dispatch job's part in :class:`Wakings`.

    Rows that bring it no dispatches, whatever the reason, neither keep it awake nor wake it again within a second: they may be
    for other plans. A notice and its own ticks have it claim in any case.
    """

    def __init__(self, process: Wakings) -> None:
        self._process = process
        self._worked_at: float | None = None
        self._in_vain_at: float | None = None
        self._found = False
        self._wake: Callable[[], None] | None = None
        self.is_claiming = False

    def wake_with(self, wake: Callable[[], None]) -> None:
        """From now on, call ``wake`` to have the job claim."""
        self._wake = wake

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """A tick of the dispatch job."""
        self.is_claiming = True
        try:
            yield
        finally:
            self.is_claiming = False

    @property
    def worked_lately(self) -> bool:
        return self._is_recent(self._worked_at)

    @property
    def sleeps(self) -> bool:
        """Whether inserts have to send a notice: no job of the process looks for rows."""
        return self._process.sleeps

    def found(self) -> None:
        """Rows are ready, for this job or for another."""
        if not self._is_recent(self._in_vain_at):
            self._found = True
            if self._wake is not None:
                self._wake()

    def claimed(self, *, dispatches: bool) -> None:
        """Called by the dispatch job for each claim that was answered."""
        if dispatches:
            self._worked_at, self._in_vain_at = self._process.clock(), None
        elif self._found:
            self._worked_at, self._in_vain_at = None, self._process.clock()
        self._found = False

    def _is_recent(self, at: float | None) -> bool:
        return at is not None and self._process.clock() < at + AWAKE_SECONDS
