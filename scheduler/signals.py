"""SIGTERM and SIGINT: the first signal asks the process to stop, a second SIGINT ends it."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

EXIT_SECONDS: Final = 9.8
"""From the first signal until the process ends in any case, even if a thread still resolves a host name."""


def on_stop(stop: Callable[[], None], *, exit_code: int, exit_seconds: float = EXIT_SECONDS) -> None:
    """Call ``stop`` at the first SIGTERM or SIGINT, and end the process at once at a second SIGINT.

    If the process still runs ``exit_seconds`` after the first signal, it ends then with ``exit_code``. Call this in the running
    event loop.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def signalled(number: signal.Signals) -> None:
        nonlocal asked
        if not asked:
            asked = True
            _end_after(exit_seconds, exit_code)
            stop()
        elif number == signal.SIGINT:
            _end(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled, number)


def _end_after(seconds: float, exit_code: int) -> None:
    """End the process from a thread: asyncio.run and the interpreter wait for worker threads that hang in a system call."""
    timer = threading.Timer(seconds, _end, (exit_code,))
    timer.daemon = True
    timer.start()


def _end(exit_code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
