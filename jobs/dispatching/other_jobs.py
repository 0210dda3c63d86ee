"""Wakes the jobs that a claim names."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

AGAIN_SECONDS: Final = 5.0
"""A job that does not finish its work at once is not woken by each claim of a backlog."""


class OtherJobs:
    """Wakes each job at most once in so many seconds: those that ``again_after`` gives by kind, else five.

    A claim names jobs by their kind. ``names`` are those of the plan's own jobs in this process, where they differ.
    """

    def __init__(self, *, again_after: Mapping[str, float], names: Mapping[str, str] | None = None) -> None:
        self._again_after = again_after
        self._names = names or {}
        self._woken_at: dict[str, float] = {}
        self._wake: Callable[[str], None] | None = None

    def wake_with(self, wake: Callable[[str], None]) -> None:
        """From now on, call ``wake`` with a job's name. Without it, no job is woken."""
        self._wake = wake

    def due(self, kinds: Iterable[str], *, now: float) -> None:
        """Wake the jobs of these kinds, which have work. ``now`` is in seconds, on a clock that only goes forward."""
        for kind in kinds:
            woken_at = self._woken_at.get(kind)
            if woken_at is None or now - woken_at >= self._again_after.get(kind, AGAIN_SECONDS):
                self._woken_at[kind] = now
                if self._wake is not None:
                    self._wake(self._names.get(kind, kind))
