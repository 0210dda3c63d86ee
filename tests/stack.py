"""Fixtures for tests against the real parts: one local stack for each pytest worker, emptied before each test that uses it.

``stack`` is a running :class:`~sandbox.local.stack.LocalStack` whose tables are as the migrations left them, ``db`` a
connection to its database as superuser. Both empty the tables before the test.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from psycopg import sql

from sandbox.local.stack import LocalStack

Connection = psycopg.Connection[tuple[object, ...]]
Item = TypeVar("Item")
_SCHEMAS = ["public", "outbox_engine", "auth"]
_LOCK_TIMEOUT = "10s"
_MIGRATIONS = Path(__file__).parents[1] / "supabase" / "migrations"
"""Beside this file, also where an older release runs these tests from a folder of links."""


def as_engine(db: Connection, statement: str, values: list[object] | None = None) -> None:
    """Run an update of the outbox under the engine's mark, without which a new status is taken for an app's cancellation."""
    with db.transaction():
        db.execute("select set_config('outbox.writer', '0', true)")
        db.execute(statement, values)


@dataclass(frozen=True, slots=True)
class Table:
    """By schema and name."""

    schema: str
    name: str

    @property
    def sql(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tables as the migrations left them: ``empty`` ones, and ``filled`` ones with a copy of their rows."""

    empty: tuple[Table, ...]
    filled: tuple[tuple[Table, Table], ...]


@pytest.fixture(scope="session")
def local_stack() -> Iterator[LocalStack]:
    """The worker's own stack, with the rows that earlier tests left in it."""
    with LocalStack(migrations=_MIGRATIONS) as running:
        yield running


@pytest.fixture(scope="session")
def baseline(local_stack: LocalStack) -> Baseline:
    with closing(_connect(local_stack)) as connection:
        return _take_baseline(connection)


@pytest.fixture
def stack(local_stack: LocalStack, baseline: Baseline) -> LocalStack:
    """The worker's stack with fresh tables and both servers running, whatever an earlier test did to them."""
    local_stack.heal()
    with closing(_connect(local_stack)) as connection:
        reset(connection, baseline)
    return local_stack


@pytest.fixture
def db(stack: LocalStack) -> Iterator[Connection]:
    """The database of ``stack`` as superuser, committing each statement."""
    with closing(_connect(stack)) as connection:
        yield connection


@pytest.fixture
def other(stack: LocalStack) -> Iterator[Connection]:
    """A second connection like ``db``."""
    with closing(_connect(stack)) as connection:
        yield connection


def _connect(stack: LocalStack) -> Connection:
    return psycopg.connect(stack.admin_url, autocommit=True)


def _take_baseline(connection: Connection) -> Baseline:
    found = connection.execute(
        "select schemaname, tablename from pg_tables where schemaname = any(%s) order by 1, 2", [_SCHEMAS]
    ).fetchall()
    tables = [Table(str(schema), str(name)) for schema, name in found]
    connection.execute("create schema test_baseline")
    used = _with_rows(connection, tables)
    filled: list[tuple[Table, Table]] = []
    for table in tables:
        if table in used:
            copy = Table("test_baseline", f"{table.schema}_{table.name}")
            connection.execute(sql.SQL("create table {} as table {}").format(copy.sql, table.sql))
            filled.append((table, copy))
    originals = {table for table, _ in filled}
    return Baseline(empty=tuple(table for table in tables if table not in originals), filled=tuple(filled))


def reset(connection: Connection, baseline: Baseline) -> None:
    """Restore the tables as the migrations left them. Triggers and foreign keys are disabled meanwhile."""
    used = [table.sql for table in _with_rows(connection, baseline.empty)]
    with connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_TIMEOUT))
        if used:
            connection.execute(sql.SQL("truncate {} restart identity cascade").format(sql.SQL(", ").join(used)))
        for table, copy in _changed(connection, baseline.filled):
            connection.execute(sql.SQL("delete from {}").format(table.sql))
            connection.execute(sql.SQL("insert into {} overriding system value table {}").format(table.sql, copy.sql))
        # These belong to no table, and a test must not inherit another test's time or its sleepers.
        connection.execute("select setval('outbox_engine.queue_clock', 0), setval('outbox_engine.asleep_until', 0)")
        # Release 0.1.0 has no routes.
        connection.execute("select setval(s, 1, false) from to_regclass('outbox_engine.route_ids') s where s is not null")


def squash(connection: Connection) -> None:
    """Empty the tables of the outbox, as they are in a database that was made from a squashed migration."""
    ours = "schemaname = 'outbox_engine' or (schemaname = 'public' and tablename like 'outbox%')"
    found = connection.execute(f"select schemaname, tablename from pg_tables where {ours}").fetchall()
    tables = [Table(str(schema), str(name)).sql for schema, name in found]
    connection.execute(sql.SQL("truncate {} restart identity cascade").format(sql.SQL(", ").join(tables)))


def _with_rows(connection: Connection, tables: Sequence[Table]) -> list[Table]:
    return _where(connection, tables, [sql.SQL("exists (table {})").format(table.sql) for table in tables])


def _changed(connection: Connection, pairs: Sequence[tuple[Table, Table]]) -> list[tuple[Table, Table]]:
    differ = sql.SQL("exists ((table {0} except all table {1}) union all (table {1} except all table {0}))")
    return _where(connection, pairs, [differ.format(table.sql, copy.sql) for table, copy in pairs])


def _where(connection: Connection, items: Sequence[Item], conditions: Sequence[sql.Composed]) -> list[Item]:
    """The items whose condition is true, asked in one query: this runs before each test."""
    row = connection.execute(sql.SQL("select {}").format(sql.SQL(", ").join(conditions))).fetchone()
    assert row is not None
    return list(compress(items, row))
