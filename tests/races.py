"""Two transactions at the same moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

import psycopg

from sandbox.local.processes import wait_until
from tests.stack import Connection

_PATIENCE_SECONDS = 30
_First = TypeVar("_First")
_Second = TypeVar("_Second")


def overlap(first: Connection, begins: Callable[[], _First], meanwhile: Callable[[], _Second]) -> tuple[_First, _Second]:
    """What each answers, where ``meanwhile`` comes after ``begins`` and before ``first``, on which that ran, commits.

    By then ``meanwhile``, which needs a connection of its own, waits for it or has ended.
    """
    with ThreadPoolExecutor(1) as thread:
        with first.transaction():
            answer = begins()
            later = thread.submit(meanwhile)
            assert wait_until(lambda: later.done() or is_waited_for(first), _PATIENCE_SECONDS)
        return answer, later.result(_PATIENCE_SECONDS)


def is_waited_for(connection: Connection) -> bool:
    """Whether another session waits for a lock that this connection holds."""
    with closing(psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True)) as watcher:
        found: Any = watcher.execute(
            "select exists (select from pg_stat_activity where %s = any (pg_blocking_pids(pid)))", [connection.info.backend_pid]
        ).fetchone()
    return bool(found[0])
