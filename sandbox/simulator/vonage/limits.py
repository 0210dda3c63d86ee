"""Requests in any one second, per account."""

from collections import deque

_SECOND = 1000


class PerSecond:
    """Allows at most so many requests in any second, however they are spread."""

    def __init__(self) -> None:
        self._times: deque[int] = deque()

    def allows(self, now: int, most: float) -> bool:
        """Whether one more may pass at ``now`` (milliseconds); if so, it counts."""
        while self._times and self._times[0] <= now - _SECOND:
            self._times.popleft()
        if len(self._times) >= most:
            return False
        self._times.append(now)
        return True
