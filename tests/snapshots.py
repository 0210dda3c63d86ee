"""A backup of the outbox's tables and sequences inside the same database, and its restore while processes live on."""

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

_TABLES = "select schemaname, tablename from pg_tables where schemaname = any (array['public', 'outbox_engine']) order by 1, 2"
_SEQUENCES = "select schemaname, sequencename from pg_sequences where schemaname = any (array['public', 'outbox_engine'])"
_COLUMNS = (
    "select attname from pg_attribute "
    "where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = '' order by attnum"
)
"""Those that can be written."""
_KEPT = ("outbox_engine", "clock")
"""The clock of tests: time goes on while a database is restored."""


class Snapshot:
    """The rows of all tables and the values of all sequences, at the moment when this is made.

    ``connection`` is one of a superuser that commits each statement. A database holds one snapshot at a time.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._cursor = connection.cursor(row_factory=tuple_row)
        self._connection = connection
        self._tables = [row for row in self._read(_TABLES) if row != _KEPT]
        with connection.transaction():
            self._cursor.execute("drop schema if exists test_snapshot cascade")
            self._cursor.execute("create schema test_snapshot")
            for table in self._tables:
                self._run("create table {} as table {}", _copy(table), sql.Identifier(*table))
            self._sequences = [
                (f"{schema}.{name}", *self._read(f"select last_value, is_called from {schema}.{name}")[0])
                for schema, name in self._read(_SEQUENCES)
            ]

    def restore(self) -> None:
        """Put everything back as it was. May be done repeatedly."""
        with self._connection.transaction():
            self._cursor.execute("set local session_replication_role = replica")
            for table in self._tables:
                self._run("delete from {}", sql.Identifier(*table))
                columns = sql.SQL(", ").join(map(sql.Identifier, self._columns(table)))
                into = "insert into {} ({}) overriding system value select {} from {}"
                self._run(into, sql.Identifier(*table), columns, columns, _copy(table))
            for name, last_value, is_called in self._sequences:
                self._cursor.execute("select setval(%s::regclass, %s, %s)", [name, last_value, is_called])

    def _columns(self, table: tuple[Any, ...]) -> list[str]:
        return [name for (name,) in self._cursor.execute(_COLUMNS, [".".join(table)]).fetchall()]

    def _read(self, question: str) -> list[tuple[Any, ...]]:
        return self._cursor.execute(question.encode()).fetchall()

    def _run(self, statement: str, *names: sql.Composable) -> None:
        self._cursor.execute(sql.SQL(statement).format(*names))


def _copy(table: tuple[Any, ...]) -> sql.Identifier:
    return sql.Identifier("test_snapshot", "_".join(table))
