"""A PostgreSQL for simulations: it starts in a second, writes nothing durable, and ends with the process that started it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sandbox.local import ports
from sandbox.local.postgres import SUPERUSER, PostgresServer
from tests.simulation import database
from tests.simulation.database import Database

VARIABLE: Final = "SIMULATION_DB_URL"
"""The URL of a superuser on another server, to use that instead."""


@contextmanager
def running() -> Iterator[str]:
    """The URL of a superuser on the server, which runs until the block ends."""
    if VARIABLE in os.environ:
        yield os.environ[VARIABLE]
        return
    with TemporaryDirectory(prefix="outbox-simulation-") as folder:
        # The server's own user passes through to its data.
        Path(folder).chmod(0o711)
        server = PostgresServer(
            Path(folder) / "data",
            log=Path(folder) / "postgres.log",
            port=ports.free_port(),
            password=secrets.token_hex(16),
            durable=False,
        )
        server.create()
        try:
            server.start()
            yield server.url(SUPERUSER)
        finally:
            server.stop()


@contextmanager
def scratch(server_url: str) -> Iterator[Database]:
    """A new database on that server, with the current migrations."""
    name = f"simulation_{secrets.token_hex(4)}"
    url = database.create(server_url, name)
    opened = Database(url)
    try:
        yield opened
    finally:
        opened.close()
        database.drop(server_url, name)
