"""The files of types, which ship with the package: `outbox schema types` prints them."""

from pathlib import Path
from typing import Any, Final

import psycopg

from jobs.schema.releases import TYPES, TypesFor
from sandbox.types.python import python
from sandbox.types.reading import read
from sandbox.types.typescript import typescript

FOLDER: Final = Path(__file__).parents[2] / "supabase" / TYPES


def texts(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Each file's text by its name, from the schema of a database. ``connection`` is a superuser's, and commits each statement.

    Raises :class:`sandbox.types.probing.NoSample`.
    """
    schema = read(connection)
    return {TypesFor.TYPESCRIPT.file: typescript(schema), TypesFor.PYTHON.file: python(schema)}


def write(connection: psycopg.Connection[Any]) -> None:
    """Write the files. Raises :class:`sandbox.types.probing.NoSample`."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts(connection).items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
