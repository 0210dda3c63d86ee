"""Fixtures for tests against the real parts: one local stack for each pytest worker, emptied before each test that uses it.

``stack`` is a running :class:`~sandbox.local.stack.LocalStack` whose tables are as the migrations left them, ``db`` a
connection to its database as superuser. Both empty the tables before the test.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import psycopg
import psycopg.pq.abc
import pytest
from psycopg import sql

from sandbox.local.stack import LocalStack

Connection = psycopg.Connection[tuple[object, ...]]
_SCHEMAS = ["public", "outbox_engine", "auth"]
_LOCK_TIMEOUT = "10s"
_LARGE_BYTES = 64 * 1024
_FORGET = (
    "set session authorization default; reset all; close all; deallocate all; unlisten *; select pg_advisory_unlock_all();"
    " discard sequences; discard temp"
)
"""What DISCARD ALL does, but for the plans of functions: making them anew takes a quarter of the database's time."""
_MIGRATIONS = Path(__file__).parents[1] / "supabase" / "migrations"
"""Beside this file, also where an older release runs these tests from a folder of links."""


def as_engine(db: Connection, statement: str, values: list[object] | None = None) -> None:
    """Run an update of the outbox under the engine's mark, without which a new status is taken for an app's cancellation."""
    with db.transaction():
        db.execute("select set_config('outbox.writer', '0', true)")
        db.execute(statement, values)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tables as the migrations left them, and the statements that compare them and restore each one.

    They are made once, since all of them are needed before each test: ``question`` has a column for each of ``tables``.
    ``copies`` has the rows of those that were not empty, and ``sequences`` the numbers of those that were. ``drawn`` asks for
    the latter that are no longer new: a test may have left its table empty.
    """

    tables: tuple[str, ...]
    question: str
    copies: dict[str, str]
    sequences: tuple[str, ...]
    drawn: str


class Cleaner:
    """Restores the tables before each test, on a connection that it keeps: a new one would plan all of it anew."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._connection = self._connect()
        self._baseline = _take_baseline(self._connection)

    def clean(self) -> None:
        try:
            reset(self._connection, self._baseline)
        except psycopg.OperationalError:
            # An earlier test may have ended the server. A lock that is not to be had is an error of this connection too.
            if not self._connection.broken:
                raise
            self.close()
            self._connection = self._connect()
            reset(self._connection, self._baseline)

    def close(self) -> None:
        self._connection.close()

    def _connect(self) -> Connection:
        """Set for the session: each change of ``session_replication_role`` would throw away the plans."""
        options = f"-c session_replication_role=replica -c lock_timeout={_LOCK_TIMEOUT}"
        return psycopg.connect(self._stack.admin_url, autocommit=True, options=options)


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


class Lender:
    """Connections that outlive a test: a new server process reads the catalog anew, which takes longer than most tests.

    A test gets an object of its own, and a session that has forgotten everything.
    """

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._idle: list[psycopg.pq.abc.PGconn] = []
        # One that is collected while its session goes on warns of that.
        self._returned: list[Connection] = []

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        connection = self._take()
        try:
            yield connection
        finally:
            if _forgets(connection):
                self._returned.append(connection)
                self._idle.append(connection.pgconn)
            else:
                connection.close()

    def close(self) -> None:
        for idle in self._idle:
            idle.finish()

    def _take(self) -> Connection:
        """One whose session still goes on: an earlier test may have ended the server after it was returned."""
        while self._idle:
            connection: Connection = psycopg.Connection(self._idle.pop())
            connection.autocommit = True
            try:
                connection.execute("select")
            except psycopg.OperationalError:
                connection.close()
            else:
                return connection
        return _connect(self._stack)


def _forgets(connection: Connection) -> bool:
    """Whether the session is as a new one. What a test left in a transaction, or lost with the server, cannot be."""
    if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        return False
    try:
        connection.execute(_FORGET)
    except psycopg.Error:
        return False
    return True


@pytest.fixture(scope="session")
def lender(local_stack: LocalStack) -> Iterator[Lender]:
    with closing(Lender(local_stack)) as made:
        yield made


@pytest.fixture
def db(stack: LocalStack, lender: Lender) -> Iterator[Connection]:
    """The database of ``stack`` as superuser, committing each statement."""
    with lender.lend() as connection:
        yield connection


@pytest.fixture
def other(stack: LocalStack, lender: Lender) -> Iterator[Connection]:
    """A second connection like ``db``."""
    with lender.lend() as connection:
        yield connection


def _connect(stack: LocalStack) -> Connection:
    return psycopg.connect(stack.admin_url, autocommit=True)


def _take_baseline(connection: Connection) -> Baseline:
    found = connection.execute(
        "select format('%%I.%%I', schemaname, tablename), format('test_baseline.%%I', schemaname || '_' || tablename)"
        " from pg_tables where schemaname = any(%s) order by 1",
        [_SCHEMAS],
    ).fetchall()
    # Tests edit all templates at once, and mean their own. Those of codes come back where a test asks for them.
    connection.execute("delete from public.outbox_templates where name like 'auth\\_otp%'")
    connection.execute("create schema test_baseline")
    copies: dict[str, str] = {}
    sequences: list[str] = []
    questions: list[str] = []
    for table, copy in [(str(table), str(copy)) for table, copy in found]:
        if _ask(connection, f"select exists (table {table})")[0]:
            connection.execute(f"create table {copy} as table {table}")
            copies[table] = copy
            questions.append(
                f"exists ((table {table} except all table {copy}) union all (table {copy} except all table {table}))"
            )
        else:
            sequences += _sequences(connection, table)
            questions.append(f"exists (table {table})")
    drawn = ", ".join(f"(select is_called from {name})" for name in sequences)
    return Baseline(
        tuple(str(table) for table, _ in found), f"select {', '.join(questions)}", copies, tuple(sequences), f"select {drawn}"
    )


def _sequences(connection: Connection, table: str) -> list[str]:
    owned = "select objid::regclass::text from pg_depend where refobjid = %s::regclass and deptype in ('a', 'i')"
    found = connection.execute(f"{owned} and objid in (select seqrelid from pg_sequence)", [table])
    return [str(name) for (name,) in found]


def reset(connection: Connection, baseline: Baseline) -> None:
    """Restore the tables as the migrations left them. Triggers and foreign keys do nothing on this connection."""
    found = list(compress(baseline.tables, _ask(connection, baseline.question)))
    steps: list[str] = []
    if used := [table for table in found if table not in baseline.copies]:
        # Whatever an earlier test left running ends first.
        steps.append(f"lock table {', '.join(used)} in exclusive mode")
        steps += _emptied(connection, used)
    drawn = compress(baseline.sequences, _ask(connection, baseline.drawn))
    steps += [f"select setval('{name}', 1, false)" for name in drawn]
    for table in found:
        if copy := baseline.copies.get(table):
            steps += [f"delete from {table}", f"insert into {table} overriding system value table {copy}"]
    # These belong to no table, and a test must not inherit another test's time or its sleepers.
    steps.append("select setval('outbox_engine.queue_clock', 0), setval('outbox_engine.asleep_until', 0)")
    # Release 0.1.0 has no routes.
    steps.append("select setval(s, 1, false) from to_regclass('outbox_engine.route_ids') s where s is not null")
    with connection.transaction():
        connection.execute("; ".join(steps))


def _emptied(connection: Connection, used: Sequence[str]) -> Iterator[str]:
    """Deleting a few rows is several times quicker than truncating, until the dead ones pile up."""
    sizes = "select " + ", ".join(f"pg_relation_size('{table}') > {_LARGE_BYTES}" for table in used)
    large = list(compress(used, _ask(connection, sizes, prepare=False)))
    if large:
        yield f"truncate {', '.join(large)} cascade"
    yield from (f"delete from {table}" for table in used if table not in large)


def squash(connection: Connection) -> None:
    """Empty the tables of the outbox, as they are in a database that was made from a squashed migration."""
    # The audit refuses to be emptied.
    ours = "schemaname = 'outbox_engine' and tablename <> 'audit' or (schemaname = 'public' and tablename like 'outbox%')"
    found = connection.execute(f"select format('%I.%I', schemaname, tablename) from pg_tables where {ours}").fetchall()
    connection.execute(f"truncate {', '.join(str(table) for (table,) in found)} restart identity cascade")


def _ask(connection: Connection, question: str, *, prepare: bool = True) -> Sequence[object]:
    """The answers to all questions of one query. A prepared one is planned once for all tests."""
    row = connection.execute(question, prepare=prepare).fetchone()
    assert row is not None
    return row
