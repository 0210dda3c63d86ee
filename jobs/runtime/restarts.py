"""How soon a process that ended is started again."""

from typing import Final

_PAUSES: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
_SETTLED_SECONDS: Final = 60.0


class Restarts:
    """How long to wait before a process is replaced, in seconds: not at all the first time, then longer and longer.

    A process that lived for a minute counts as the first again.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        """How many ended, each within a minute of its start."""

    def pause_after(self, lived: float) -> float:
        """The pause after a process ended that lived for ``lived`` seconds."""
        self.in_a_row = 0 if lived >= _SETTLED_SECONDS else self.in_a_row
        pause = _PAUSES[min(self.in_a_row, len(_PAUSES) - 1)]
        self.in_a_row += 1
        return pause
