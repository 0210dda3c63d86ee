"""A connection to the database of a run, which the run cuts and restarts."""

from contextlib import suppress
from typing import Any

import psycopg

Row = tuple[Any, ...]
_STATEMENT_MILLISECONDS = 8000


class Database:
    """Queries as superuser, and reconnects after the connection was lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Row] | None = None

    def ask(self, query: str, *values: object) -> list[Row] | None:
        """The rows, or None if the database does not answer."""
        try:
            return self._connected().execute(query.encode(), values or None).fetchall()
        except psycopg.OperationalError:
            self.close()
            return None

    def does(self, command: str, *values: object) -> bool:
        """Whether the statement is certain to have been committed."""
        try:
            self._connected().execute(command.encode(), values or None)
        except psycopg.OperationalError:
            self.close()
            return False
        return True

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is None:
            options = f"-c statement_timeout={_STATEMENT_MILLISECONDS}"
            self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=3, options=options)
        return self._connection
