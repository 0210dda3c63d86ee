"""How long to wait before the next try."""

import random


class Backoff:
    """Pauses in seconds that double, with jitter so that many processes do not return at the same moment."""

    def __init__(self, *, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    @property
    def active(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    def next(self) -> float:
        """The pause after one more failure: between half and all of the grown pause, which is never above the longest."""
        # Beyond 2**32 the longest pause applies anyway, and a float would overflow after a thousand failures.
        grown = min(self._longest, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return grown * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._failures = 0
