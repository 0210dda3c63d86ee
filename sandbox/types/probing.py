"""Asks a database which columns an app may write, by writing them.

Rights on columns say so for most tables. For others triggers do, which also fill in defaults, and no catalogue knows of that.
So ``service_role`` writes each column, in a transaction that is rolled back. If the right is missing (42501, which the triggers
use as well), or the column is an identity, only the engine writes it. Any other refusal is about the value.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql
from psycopg.errors import Error, GeneratedAlways, InsufficientPrivilege

from sandbox.types.model import Column, Value

Connection = psycopg.Connection[tuple[Any, ...]]
Row = Mapping[str, str]

_LATER: Final = "2099-01-15T09:00:00Z"
SAMPLES: Final[Mapping[str, Row]] = {
    "outbox_templates": {"name": "sample", "body": "Hello"},
    "outbox_campaigns": {"name": "sample", "template": "sample", "schedule": "once", "starts_at": _LATER},
    "outbox_campaign_members": {"campaign": "sample", "external_id": "1", "recipient": "+12025550123"},
    # Not due, so that an update to `pending` is a change.
    "outbox": {"recipient": "+12025550123", "body": "Hello", "send_at": _LATER},
    "outbox_suppressions": {"recipient": "+12025550124"},
    "outbox_opt_out_words": {"word": "sample", "effect": "none"},
}
"""One row of each table into which apps insert, each possible once those above it are there."""

_OTHERS: Final = {
    "bool": "true",
    "char": "r",
    "date": "2098-01-15",
    "float8": "7",
    "int2": "7",
    "int4": "7",
    "int8": "7",
    "interval": "7 hours",
    "jsonb": '{"sample": 7}',
    "text": "7",
    "time": "07:00",
    "timestamp": "2098-01-15T09:00:00",
    "timestamptz": "2098-01-15T09:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000007",
}
"""A value of each type that no sample holds."""


class NoSample(Exception):
    """Apps may insert into a table of which there is no sample. The text is one line and says what to do."""


class Answer(NamedTuple):
    """``may`` is false where the right is missing, ``works`` true where the row was written."""

    may: bool
    works: bool


class Probe:
    """Leaves nothing behind. ``connection`` is a superuser's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def columns(self, table: str, rows: Mapping[str, Value]) -> tuple[Column, ...]:
        """The columns of a table with what apps may write, given what its rows hold. Raises :class:`NoSample`."""
        with self._connection.transaction(force_rollback=True):
            self._connection.execute("set local role service_role")
            for other in takewhile(lambda other: other != table, SAMPLES):
                self._insert(other, SAMPLES[other])
            inserts = {name: self._inserted(table, name, row) for name, row in rows.items()}
            if any(inserts.values()) and table not in SAMPLES:
                raise NoSample(f"apps may insert into {table}: add a row of it to SAMPLES in sandbox/types/probing.py")
            required = {name for name, row in rows.items() if not row.is_nullable and self._is_required(table, name)}
            if table in SAMPLES:
                self._insert(table, SAMPLES[table])
            updates = {name: self._updated(table, name, row) for name, row in rows.items()}
        return tuple(Column(name, row, inserts[name], updates[name], name in required) for name, row in rows.items())

    def _inserted(self, table: str, name: str, row: Value) -> Value | None:
        sample = SAMPLES.get(table, {})

        def insert(value: str | None) -> Answer:
            return self._try(lambda: self._insert(table, {**sample, name: value}))

        return _written(row, [value for value in _values(row) if insert(value).may], takes_null=insert(None).works)

    def _is_required(self, table: str, name: str) -> bool:
        sample = SAMPLES.get(table, {})
        rest = {column: value for column, value in sample.items() if column != name}
        return name in sample and not self._try(lambda: self._insert(table, rest)).works

    def _updated(self, table: str, name: str, row: Value) -> Value | None:
        def update(value: str | None) -> Answer:
            return self._try(lambda: self._update(table, name, value))

        allowed = [value for value in _values(row) if update(value).may]
        if row.values and len(allowed) < len(row.values):
            # A trigger decides by the value, and lets pass what changes nothing.
            column = sql.SQL("select {} from public.{}").format(sql.Identifier(name), sql.Identifier(table))
            present = {value for (value,) in self._connection.execute(column)}
            allowed = [value for value in allowed if value not in present]
        return _written(row, allowed, takes_null=update(None).works)

    def _insert(self, table: str, row: Mapping[str, str | None]) -> None:
        statement = sql.SQL("insert into public.{} ({}) values ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() for _ in row),
        )
        self._connection.execute(statement, list(row.values()))

    def _update(self, table: str, column: str, value: str | None) -> None:
        statement = sql.SQL("update public.{} set {} = %s").format(sql.Identifier(table), sql.Identifier(column))
        self._connection.execute(statement, [value])

    def _try(self, write: Callable[[], None]) -> Answer:
        try:
            with self._connection.transaction(force_rollback=True):
                write()
        except (InsufficientPrivilege, GeneratedAlways):
            return Answer(may=False, works=False)
        except Error:
            return Answer(may=True, works=False)
        return Answer(may=True, works=True)


def _values(row: Value) -> tuple[str, ...]:
    if row.values:
        return row.values
    other = _OTHERS[row.type]
    return (f"{{{other}}}" if row.is_array else other,)


def _written(row: Value, allowed: list[str], *, takes_null: bool) -> Value | None:
    if not allowed:
        return None
    return replace(row, is_nullable=row.is_nullable or takes_null, values=tuple(allowed) if row.values else ())
