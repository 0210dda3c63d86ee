"""Ctrl-C and its kin: the first ends the demo, another one only makes the end quicker."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody asked the demo to end. ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """Raises :class:`Interrupted` at the first signal, and never once the end has begun: cleaning up must not break off."""

    def __init__(self) -> None:
        self._ending = False
        self._hurry: Callable[[], None] = lambda: None

    def end(self, hurry: Callable[[], None]) -> None:
        """The end has begun; whoever is impatient now has ``hurry`` called."""
        self._ending, self._hurry = True, hurry

    def heed(self, number: int, _frame: FrameType | None) -> None:
        if self._ending:
            self._hurry()
        else:
            self._ending = True
            raise Interrupted(number)


@contextmanager
def heeded() -> Iterator[Interrupts]:
    """Heed signals in this block."""
    interrupts = Interrupts()
    before = {number: signal.signal(number, interrupts.heed) for number in _HEEDED}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
