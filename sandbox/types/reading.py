"""Reads the schema from the catalogue of a database, and asks its triggers and rights what an app may write."""

import re
from collections import defaultdict
from typing import Any, Final

import psycopg

from sandbox.types.model import Argument, Column, Function, Relationship, Schema, Table, Value
from sandbox.types.probing import Probe

Connection = psycopg.Connection[tuple[Any, ...]]

# The names of those that are ours: a database may hold others.
_TABLES: Final = """
    select c.relname, c.relkind = 'v', a.attname, t.typname, a.attnotnull
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v') and c.relname ~ '^outbox(_|$)'
    order by c.relname collate "C", a.attname collate "C"
"""
_CHECKS: Final = """
    select k.conrelid::regclass::text, a.attname, pg_get_constraintdef(k.oid)
    from pg_constraint k
    join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
    where k.contype = 'c' and k.connamespace = 'public'::regnamespace and cardinality(k.conkey) = 1
"""
_KEYS: Final = """
    select k.conname, k.conrelid::regclass::text, k.confrelid::regclass::text,
      array(select a.attname::text from unnest(k.conkey) with ordinality u (n, i)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.n order by i),
      array(select a.attname::text from unnest(k.confkey) with ordinality u (n, i)
        join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.n order by i),
      exists (select from pg_constraint u where u.conrelid = k.conrelid and u.contype in ('p', 'u')
        and u.conkey @> k.conkey and u.conkey <@ k.conkey)
    from pg_constraint k
    where k.contype = 'f' and k.connamespace = 'public'::regnamespace
    order by 1
"""
_FUNCTIONS: Final = """
    select p.proname, coalesce(p.proargnames, '{}')::text[],
      array(select t.typname::text from unnest(p.proargtypes) with ordinality u (o, i)
        join pg_type t on t.oid = u.o order by i),
      p.pronargdefaults, coalesce(pg_get_expr(p.proargdefaults, 'pg_class'::regclass), ''), r.typname, p.proretset
    from pg_proc p
    join pg_type r on r.oid = p.prorettype
    where p.pronamespace = 'public'::regnamespace and p.proname ~ '^outbox_'
      and has_function_privilege('service_role', p.oid, 'execute')
    order by p.proname collate "C", p.oid
"""
_ONE_OF: Final = re.compile(r"^CHECK \(\(*\w+ = ANY \(ARRAY\[(.*?)\]\)")
_WORD: Final = re.compile(r"'((?:[^']|'')*)'")


def read(connection: Connection) -> Schema:
    """``connection`` is a superuser's. Nothing is left of the rows that it tries to write."""
    tables = _tables(connection)
    return Schema(tables=tables, functions=_functions(connection, {table.name for table in tables}))


def _tables(connection: Connection) -> tuple[Table, ...]:
    values = {
        (table, column): tuple(word.replace("''", "'") for word in _WORD.findall(found[1]))
        for table, column, rule in connection.execute(_CHECKS.encode())
        if (found := _ONE_OF.match(rule))
    }
    keys = defaultdict(list)
    for name, table, to_table, columns, to_columns, is_one_to_one in connection.execute(_KEYS.encode()):
        keys[table].append(Relationship(name, tuple(columns), is_one_to_one, to_table, tuple(to_columns)))
    columns = defaultdict[tuple[str, bool], dict[str, Value]](dict)
    for table, is_view, column, type_, is_not_null in connection.execute(_TABLES.encode()):
        columns[table, is_view][column] = _value(type_, values.get((table, column), ()), is_nullable=not is_not_null)
    probe = Probe(connection)
    return tuple(
        Table(
            name=table,
            columns=tuple(Column(*column) for column in rows.items()) if is_view else probe.columns(table, rows),
            relationships=tuple(keys[table]),
            is_view=is_view,
        )
        for (table, is_view), rows in columns.items()
    )


def _functions(connection: Connection, tables: set[str]) -> tuple[Function, ...]:
    found = []
    for name, names, types, defaults, expressions, returns, is_set in connection.execute(_FUNCTIONS.encode()):
        first_optional = len(types) - defaults
        # None of our defaults holds a comma.
        given = expressions.split(", ")
        arguments = tuple(
            Argument(
                names[place] if names else "",
                _value(type_, (), is_nullable=place >= first_optional and given[place - first_optional].startswith("NULL")),
                is_optional=place >= first_optional,
            )
            for place, type_ in enumerate(types)
        )
        table = types[0] if len(types) == 1 and types[0] in tables else None
        found.append(Function(name, arguments, _value(returns, (), is_nullable=False), is_set, table))
    return tuple(found)


def _value(type_: str, values: tuple[str, ...], *, is_nullable: bool) -> Value:
    return Value(type_.removeprefix("_"), type_.startswith("_"), is_nullable, values)
