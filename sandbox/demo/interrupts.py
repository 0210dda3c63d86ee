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
    """Raises :class:`Interrupted` at the first signal, and never once the end has begun: cleaning up must not break off.

    ``number`` is the signal's that was heeded, if one was.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._ending = False
        self._hurry: Callable[[], None] = lambda: None

    def end(self, hurry: Callable[[], None]) -> None:
        """The end has begun; whoever is impatient now has ``hurry`` called."""
        self._ending, self._hurry = True, hurry

    def heed(self, number: int, _frame: FrameType | None) -> None:
        if self._ending:
            self._hurry()
        else:
            self._ending, self.number = True, number
            raise Interrupted(number)


@contextmanager
def heeded() -> Iterator[Interrupts]:
    """Heed signals in this block. What one breaks off may fail in words of its own, as a database's driver does in a query."""
    interrupts = Interrupts()
    before = {number: signal.signal(number, interrupts.heed) for number in _HEEDED}
    try:
        yield interrupts
    except Exception as error:
        if interrupts.number is None:
            raise
        raise Interrupted(interrupts.number) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
