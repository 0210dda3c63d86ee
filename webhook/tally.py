"""One line in the log for many events of one kind: an attack must not fill the log."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

log = structlog.get_logger()

_FIRST_SECONDS: Final = 1.0


class Tally:
    """Counts by reason. Writes the counts a second after the first, and then at most once in ``seconds``.

    ``fields`` gives what else the line says.
    """

    def __init__(
        self,
        event: str,
        *,
        fields: Callable[[], Mapping[str, Any]] = dict,
        seconds: float = 30.0,
    ) -> None:
        self._event = event
        self._fields = fields
        self._first = min(seconds, _FIRST_SECONDS)
        self._seconds = seconds
        self._counts: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._written_at = float("-inf")

    def note(self, reason: str) -> None:
        """Count one more."""
        self._counts[reason] += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time() + self._first, self._written_at + self._seconds), self._write)

    def _write(self) -> None:
        self._timer = None
        self._written_at = asyncio.get_running_loop().time()
        log.warning(self._event, **self._counts, **self._fields())
        self._counts.clear()
