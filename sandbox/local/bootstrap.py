"""The content of a Supabase project's database before the first migration."""

from pathlib import Path

import psycopg
from psycopg import sql

_PROJECT = Path(__file__).with_name("roles.sql")

# For a database that stands for a bare PostgreSQL: the roles that the migrations grant to, and their owner.
_ROLES_ONLY = """
    create role anon nologin noinherit;
    create role authenticated nologin noinherit;
    create role service_role nologin noinherit bypassrls;
    create role postgres login createdb createrole bypassrls password :password;
    alter database postgres owner to postgres;
"""


def make_project(url: str, password: str) -> bool:
    """Turn an empty cluster into a Supabase project, unless it is one already. ``url`` is the superuser's."""
    return _once(url, _PROJECT.read_text(encoding="utf-8"), password)


def make_roles(url: str, password: str) -> bool:
    """Create ``postgres``, as the owner of an otherwise empty database, and the roles of the API."""
    return _once(url, _ROLES_ONLY, password)


def _once(url: str, statements: str, password: str) -> bool:
    statements = statements.replace(":password", sql.Literal(password).as_string())
    with psycopg.connect(url) as connection:
        there = connection.execute("select from pg_roles where rolname = 'service_role'").fetchone() is not None
        if not there:
            connection.execute(sql.SQL(statements))
    return not there
