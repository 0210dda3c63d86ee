"""What a Supabase project's database holds before the first migration."""

from pathlib import Path

import psycopg
from psycopg import sql

_PROJECT = Path(__file__).with_name("roles.sql")

# For a database that stands for a bare PostgreSQL: the roles that the migrations grant to, and nothing else.
_ROLES_ONLY = """
    create role anon nologin noinherit;
    create role authenticated nologin noinherit;
    create role service_role nologin noinherit bypassrls;
"""


def make_project(url: str, password: str) -> bool:
    """Turn an empty cluster into a Supabase project, unless it is one. ``url`` is the superuser's."""
    statements = _PROJECT.read_text(encoding="utf-8").replace(":password", sql.Literal(password).as_string())
    return _once(url, statements)


def make_roles(url: str) -> bool:
    """Make the three roles of the API and nothing else, unless they are there."""
    return _once(url, _ROLES_ONLY)


def _once(url: str, statements: str) -> bool:
    with psycopg.connect(url) as connection:
        there = connection.execute("select from pg_roles where rolname = 'service_role'").fetchone() is not None
        if not there:
            connection.execute(sql.SQL(statements))
    return not there
