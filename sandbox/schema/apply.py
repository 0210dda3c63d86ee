"""Applies a migration as the Supabase CLI does: in one transaction, or each statement by itself where PostgreSQL wants that."""

import re
from typing import Any, Final

import psycopg

from sandbox.schema.statements import statements

_CONCURRENTLY: Final = re.compile(r"^((?:create (?:unique )?|drop |re)index) concurrently\b", re.IGNORECASE | re.MULTILINE)


def apply(connection: psycopg.Connection[Any], text: str) -> None:
    """``connection`` commits each statement."""
    if is_outside_transactions(text):
        for statement in statements(text):
            connection.execute(statement.encode())
    else:
        connection.execute(text.encode())


def is_outside_transactions(text: str) -> bool:
    """Whether PostgreSQL refuses this file in a transaction."""
    return any(_CONCURRENTLY.match(statement) for statement in statements(text))


def in_transaction(text: str) -> str:
    """The same for a transaction: its indexes are made while writers wait."""
    return _CONCURRENTLY.sub(r"\1", text) if is_outside_transactions(text) else text
