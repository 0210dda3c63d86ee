"""Ctrl-C and other signals: the first one ends the demo, and a further one makes the end quicker."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked the demo to end. ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """Raises :class:`Interrupted` at the first signal, but not after the end has begun: cleaning up must not be interrupted.

    ``number`` is the number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._ending = False
        self._hurry: Callable[[], None] = lambda: None

    def end(self, hurry: Callable[[], None]) -> None:
        """The end has begun. Each further signal calls ``hurry``."""
        self._ending, self._hurry = True, hurry

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self._ending:
            self._hurry()
        else:
            self._ending, self.number = True, number
            raise Interrupted(number)


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Handle signals in this block. A signal can make other code fail with its own error, such as a database driver."""
    interrupts = Interrupts()
    before = {number: signal.signal(number, interrupts.handle) for number in _SIGNALS}
    try:
        yield interrupts
    except Exception as error:
        if interrupts.number is None:
            raise
        raise Interrupted(interrupts.number) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
