"""Wakes the process as soon as rows are inserted: LISTEN on a connection of its own, and a look now and then while it works.

This is only for speed. If it cannot work, the process logs that once and claims every interval.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final
from uuid import uuid4

import psycopg
import structlog
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from jobs.runtime.outage import Outage
from jobs.runtime.settings import SettingsError
from jobs.runtime.waking import Wakings
from scheduler.backoff import Backoff

log = structlog.get_logger()

CHANNEL: Final = "outbox"
_SELF_TEST_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 10
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_DEAF_PAUSE_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 0.01
"""The time between two looks for ready rows while the process is awake."""
_DOZE_SECONDS: Final = 0.05
"""How long it may take until a process that found work at a tick begins to look."""

_REASON: Final = re.compile(
    r"(?:connection (?:failed|is bad): )?"
    r"(?:connection to server at \"(?P<host>[^\"]*)\"(?: \([^)]*\))?, port (?P<port>\d+) failed: )?(?:FATAL:)?(?P<why>.+)"
)
"""What psycopg says of a connection that failed."""
_CONNECTION: Final[dict[str, Any]] = {
    "autocommit": True,
    "application_name": "outbox",
    # Without keepalives, a connection that only waits would never notice that the server is gone.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


class Deaf(Exception):
    """The connection works, but notices do not reach it: a transaction-mode pooler gives each statement another session."""


def check_url(url: SecretStr) -> None:
    """Raises SettingsError if ``url`` is not a connection string. The error repeats no part of it."""
    try:
        host = str(conninfo_to_dict(url.get_secret_value()).get("host", ""))
    except psycopg.Error:
        # The error's text repeats the string, which may hold a password.
        raise SettingsError("OUTBOX_DB_URL: is not a PostgreSQL connection string") from None
    # libpq ends the password at its first @. The rest becomes part of the host, which errors name.
    if "@" in host[1:]:
        raise SettingsError("OUTBOX_DB_URL: its password has an @ in it. Write %40 for it")


class Wakeup:
    """Listens on the database's channel ``outbox`` and reconnects for as long as it runs. Durations are in seconds."""

    def __init__(
        self,
        url: SecretStr,
        wakings: Wakings,
        *,
        self_test_seconds: float = _SELF_TEST_SECONDS,
        connect_seconds: int = _CONNECT_SECONDS,
    ) -> None:
        """Raises SettingsError if ``url`` is not a connection string."""
        self._url = url.get_secret_value()
        self._wakings = wakings
        self._self_test_seconds = self_test_seconds
        self._connect_seconds = connect_seconds
        self._backoff = Backoff(first=_FIRST_PAUSE_SECONDS, longest=_LONGEST_PAUSE_SECONDS)
        self._deaf = Outage("wakeup.polling")
        self._away = Outage("wakeup.away")
        check_url(url)

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` for each notice, and after each new connection: a lost one may have missed some.

        While the process is awake, its dispatch jobs are woken for ready rows. Runs until cancelled.
        """
        while True:
            try:
                await self._listen_once(wake)
            except Deaf as error:
                self._deaf.failed(setting="OUTBOX_DB_URL", reason=str(error))
                pause = _DEAF_PAUSE_SECONDS
            except (psycopg.Error, OSError) as error:
                self._away.failed(setting="OUTBOX_DB_URL", error=reason(error))
                pause = self._backoff.next()
            else:
                pause = _FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)

    async def try_once(self, question: str) -> tuple[Any, ...] | None:
        """Connect, hear a notice of one's own, and return the first row of ``question``.

        Raises :class:`Deaf` if no notice arrives, psycopg.Error and OSError as connecting does.
        """
        async with await self._connect() as connection:
            await self._self_test(connection, lambda: None)
            answer = await connection.execute(question.encode())
            return await answer.fetchone()

    async def _listen_once(self, wake: Callable[[], None]) -> None:
        """One connection, until it is lost."""
        async with await self._connect() as connection:
            await connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))
            await self._self_test(connection, wake)
            log.info("wakeup.listening")
            self._deaf.recovered()
            self._away.recovered()
            self._backoff.reset()
            self._wakings.hears(True)
            try:
                await self._hear(connection, wake)
            finally:
                self._wakings.hears(False)

    async def _hear(self, connection: "AsyncConnection[Any]", wake: Callable[[], None]) -> None:
        """Look while the process is awake. When it goes to sleep, and at first, a claim tells the database so."""
        is_awake = True
        while True:
            was_awake, is_awake = is_awake, self._wakings.is_awake
            if was_awake and not is_awake:
                wake()
            seconds = _LOOK_SECONDS if is_awake else _DOZE_SECONDS
            async with aclosing(connection.notifies(timeout=seconds, stop_after=1)) as notices:
                async for _ in notices:
                    wake()
            if is_awake and await self._is_ready(connection):
                self._wakings.found()

    async def _is_ready(self, connection: "AsyncConnection[Any]") -> bool:
        answer = await connection.execute("select public.outbox_has_ready(%s)", [self._wakings.is_claiming], prepare=True)
        row = await answer.fetchone()
        return row is not None and bool(row[0])

    async def _self_test(self, connection: "AsyncConnection[Any]", wake: Callable[[], None]) -> None:
        """Send a notice from a second connection. From the same connection it would arrive even through a pooler."""
        channel = f"outbox_self_test_{uuid4().hex}"
        await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
        async with await self._connect() as other:
            await other.execute("select pg_notify(%s, '')", (channel,))

        async with aclosing(connection.notifies(timeout=self._self_test_seconds)) as notices:
            async for notice in notices:
                if notice.channel == channel:
                    break
                wake()
            else:
                raise Deaf("notices do not arrive here: use a direct connection or a session-mode pooler (port 5432)")
        await connection.execute(sql.SQL("unlisten {}").format(sql.Identifier(channel)))

    async def _connect(self) -> "AsyncConnection[Any]":
        return await AsyncConnection.connect(self._url, connect_timeout=self._connect_seconds, **_CONNECTION)


def reason(error: Exception) -> str:
    """Why there is no connection, in few words: ``db.example.com:5432: Connection refused``.

    libpq names the server after two beginnings that say no more than the name of the event.
    """
    line = str(error).partition("\n")[0]
    found = _REASON.fullmatch(line)
    if found is None:
        return line or type(error).__name__
    server = "" if found["host"] is None else f"{found['host']}:{found['port']}: "
    return f"{server}{found['why'].strip()}"
