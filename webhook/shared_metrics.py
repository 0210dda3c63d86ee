"""Where the workers of one parent keep the values of their metrics, so that each of them can add up all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog

log = structlog.get_logger()

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads it when it is imported."""
_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # the folder in it is new and belongs to this user alone


@contextmanager
def shared_values() -> Iterator[None]:
    """Give the workers that are started in the block a new directory for their values. It is removed at the end.

    The values of a worker that ended count on. Where no directory can be made, each worker gives its own values only.
    """
    try:
        folder = TemporaryDirectory(
            prefix="outbox-metrics-", dir=_MEMORY if _MEMORY.is_dir() else None, ignore_cleanup_errors=True
        )
    except OSError as error:
        log.warning("metrics.not_added_up", error=str(error), meaning="each worker gives its own metrics only")
        yield
        return
    with folder as directory:
        os.environ[VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[VARIABLE]
