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
_LARGE_BYTES = 64 * 1024
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
    """The tables as the migrations left them: ``empty`` ones, and ``filled`` ones with a copy of their rows.

    ``sequences`` are what restarts the numbers of an empty table.
    """

    empty: tuple[Table, ...]
    filled: tuple[tuple[Table, Table], ...]
    sequences: dict[Table, tuple[str, ...]]


class Cleaner:
    """Restores the tables before each test, on a connection that it keeps: a new one would plan all of it anew."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._connection = _connect(stack)
        self._baseline = _take_baseline(self._connection)

    def clean(self) -> None:
        try:
            reset(self._connection, self._baseline)
        except psycopg.OperationalError:
            # An earlier test may have ended the server. A lock that is not to be had is an error of this connection too.
            if not self._connection.broken:
                raise
            self.close()
            self._connection = _connect(self._stack)
            reset(self._connection, self._baseline)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="session")
def local_stack() -> Iterator[LocalStack]:
    """The worker's own stack, with the rows that earlier tests left in it."""
    with LocalStack(migrations=_MIGRATIONS) as running:
        with closing(_connect(running)) as connection:
            # It would change the order of rows and the plans of statements in the middle of a test.
            connection.execute("alter system set autovacuum = off")
            connection.execute("select pg_reload_conf()")
            # Hashing the password 4096 times is most of what it takes to connect, which each test does.
            connection.execute("set scram_iterations = 1")
            password = sql.Literal(running.access.settings.secrets.db_password)
            connection.execute(sql.SQL("alter role current_user password {}").format(password))
        yield running


@pytest.fixture(scope="session")
def cleaner(local_stack: LocalStack) -> Iterator[Cleaner]:
    with closing(Cleaner(local_stack)) as made:
        yield made


@pytest.fixture
def stack(local_stack: LocalStack, cleaner: Cleaner) -> LocalStack:
    """The worker's stack with fresh tables and both servers running, whatever an earlier test did to them."""
    local_stack.heal()
    cleaner.clean()
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
    # Tests edit all templates at once, and mean their own. Those of codes come back where a test asks for them.
    connection.execute("delete from public.outbox_templates where name like 'auth\\_otp%'")
    connection.execute("create schema test_baseline")
    used = set(_where(connection, tables, [sql.SQL("exists (table {})").format(table.sql) for table in tables]))
    filled: list[tuple[Table, Table]] = []
    for table in tables:
        if table in used:
            copy = Table("test_baseline", f"{table.schema}_{table.name}")
            connection.execute(sql.SQL("create table {} as table {}").format(copy.sql, table.sql))
            filled.append((table, copy))
    empty = tuple(table for table in tables if table not in used)
    return Baseline(empty, tuple(filled), {table: _sequences(connection, table) for table in empty})


def _sequences(connection: Connection, table: Table) -> tuple[str, ...]:
    owned = "select objid::regclass::text from pg_depend where refobjid = %s::regclass and deptype in ('a', 'i')"
    found = connection.execute(f"{owned} and objid in (select seqrelid from pg_sequence)", [table.sql.as_string()])
    return tuple(str(name) for (name,) in found)


def reset(connection: Connection, baseline: Baseline) -> None:
    """Restore the tables as the migrations left them. Triggers and foreign keys are disabled meanwhile."""
    has_rows = [sql.SQL("exists (table {})").format(table.sql) for table in baseline.empty]
    differ = sql.SQL("exists ((table {0} except all table {1}) union all (table {1} except all table {0}))")
    has_changed = [differ.format(table.sql, copy.sql) for table, copy in baseline.filled]
    copies: dict[Table, Table | None] = {**dict.fromkeys(baseline.empty), **dict(baseline.filled)}
    found = _where(connection, list(copies), [*has_rows, *has_changed])
    steps = [sql.SQL("set local session_replication_role = replica; set local lock_timeout = {}").format(_LOCK_TIMEOUT)]
    if used := [table for table in found if copies[table] is None]:
        # Whatever an earlier test left running ends first.
        steps.append(sql.SQL("lock table {} in exclusive mode").format(sql.SQL(", ").join(table.sql for table in used)))
        steps += _emptied(connection, used, baseline)
    for table in found:
        if copy := copies[table]:
            steps.append(sql.SQL("delete from {}").format(table.sql))
            steps.append(sql.SQL("insert into {} overriding system value table {}").format(table.sql, copy.sql))
    # These belong to no table, and a test must not inherit another test's time or its sleepers.
    steps.append(sql.SQL("select setval('outbox_engine.queue_clock', 0), setval('outbox_engine.asleep_until', 0)").format())
    # Release 0.1.0 has no routes.
    routes = "select setval(s, 1, false) from to_regclass('outbox_engine.route_ids') s where s is not null"
    steps.append(sql.SQL(routes).format())
    with connection.transaction():
        connection.execute(sql.SQL("; ").join(steps))


def _emptied(connection: Connection, used: Sequence[Table], baseline: Baseline) -> Iterator[sql.Composed]:
    """Deleting a few rows is several times quicker than truncating, until the dead ones pile up."""
    is_large = [sql.SQL("pg_relation_size({}) > {}").format(table.sql.as_string(), _LARGE_BYTES) for table in used]
    large = _where(connection, used, is_large)
    if large:
        yield sql.SQL("truncate {} restart identity cascade").format(sql.SQL(", ").join(table.sql for table in large))
    for table in used:
        if table not in large:
            yield sql.SQL("delete from {}").format(table.sql)
            for name in baseline.sequences[table]:
                yield sql.SQL("select setval({}, 1, false)").format(name)


def squash(connection: Connection) -> None:
    """Empty the tables of the outbox, as they are in a database that was made from a squashed migration."""
    # The audit refuses to be emptied.
    ours = "schemaname = 'outbox_engine' and tablename <> 'audit' or (schemaname = 'public' and tablename like 'outbox%')"
    found = connection.execute(f"select schemaname, tablename from pg_tables where {ours}").fetchall()
    tables = [Table(str(schema), str(name)).sql for schema, name in found]
    connection.execute(sql.SQL("truncate {} restart identity cascade").format(sql.SQL(", ").join(tables)))


def _where(connection: Connection, items: Sequence[Item], conditions: Sequence[sql.Composed]) -> list[Item]:
    """The items whose condition is true, asked in one query: this runs before each test."""
    row = connection.execute(sql.SQL("select {}").format(sql.SQL(", ").join(conditions))).fetchone()
    assert row is not None
    return list(compress(items, row))
