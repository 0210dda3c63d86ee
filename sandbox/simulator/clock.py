"""The simulator's time: whole milliseconds since the epoch, in UTC. A test may move it forward."""

import time
from datetime import UTC, datetime, timedelta

NEVER = 2**62
DAY = 24 * 3600 * 1000


class Clock:
    """Wall-clock time at the start, plus the elapsed monotonic time, plus all moves."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Return to the wall-clock time. Only for a world that was reset."""
        self._offset = time.time() - time.monotonic()

    def now(self) -> int:
        return int((time.monotonic() + self._offset) * 1000)

    def advance(self, seconds: float) -> None:
        self._offset += seconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def iso(moment: int) -> str:
    """The provider's form of a time: UTC, milliseconds, ``Z``."""
    text = (_EPOCH + moment * _MILLISECOND).isoformat(timespec="milliseconds")
    return text[:-6] + "Z"


def parse(text: str) -> int:
    """Read ISO-8601; without an offset it is UTC. Raises ValueError.

    A ``+`` that went through a query string unescaped arrives as a blank, which is forgiven here as it is at the provider.
    """
    if len(text) > 6 and text[-6] == " ":
        text = f"{text[:-6]}+{text[-5:]}"
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
