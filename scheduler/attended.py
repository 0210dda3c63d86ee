"""One process of `outbox all`: ``python -m scheduler.attended NAME COMMAND…`` runs the command until its parent ends.

Its stdin is a pipe, and only the parent has its other end. When the parent is killed, the end of the pipe closes, and the
process stops as it does for SIGTERM.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence

import structlog

from scheduler import cli


def main(words: Sequence[str]) -> None:
    """Run the command, with its name in each line of its log, and exit as it does."""
    name, *command = words
    structlog.contextvars.bind_contextvars(process=name)
    threading.Thread(target=_stop_with_parent, name="parent", daemon=True).start()
    sys.argv[1:] = command
    cli.main()


def _stop_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
