"""Where the workers of one parent keep the values of their metrics, so that each of them can add up all."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

import structlog

log = structlog.get_logger()

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads it when it is imported."""
_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # the folder in it is new and belongs to this user alone
_PREFIX: Final = "outbox-metrics-"
_LOCK: Final = "lock"
"""A file that the parent keeps locked. Containers may share the memory, but not the ids of processes."""


@contextmanager
def shared_values() -> Iterator[None]:
    """Give the workers that are started in the block a new directory for their values. It is removed at the end.

    The values of a worker that ended count on. Where no directory can be made, each worker gives its own values only.
    Directories that killed parents left behind are removed first.
    """
    place = _MEMORY if _MEMORY.is_dir() else Path(gettempdir())
    remove_leftovers(place)
    try:
        folder = TemporaryDirectory(prefix=_PREFIX, dir=place, ignore_cleanup_errors=True)
    except OSError as error:
        log.warning("metrics.not_added_up", error=str(error), meaning="each worker gives its own metrics only")
        yield
        return
    with folder as directory, _locked(Path(directory)):
        os.environ[VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[VARIABLE]


def remove_leftovers(place: Path) -> None:
    """Remove the directories in ``place`` whose parents were killed: nothing else frees their memory."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The file gets its name once it is locked, so that it never looks left behind."""
    early = folder / f"{_LOCK}.new"
    descriptor = os.open(early, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        early.rename(folder / _LOCK)
        yield
    finally:
        os.close(descriptor)
