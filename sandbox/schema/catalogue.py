"""The schema's objects in a database, in a form that can be compared."""

from pathlib import Path
from typing import Any, Final

import psycopg

_QUESTION: Final = (Path(__file__).parent / "catalogue.sql").read_text(encoding="utf-8").encode()


def catalogue(connection: psycopg.Connection[Any]) -> list[str]:
    """One line for each table, column, constraint, index, trigger, function, view, policy, right and comment, sorted."""
    return [f"{kind} {text}" for kind, text in connection.execute(_QUESTION).fetchall()]
