"""Wakeups by the database: at once, again after a lost connection, and never through a pooler."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain, repeat
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from jobs.runtime.settings import SettingsError
from jobs.runtime.waking import Wakings
from sandbox.local.stack import LocalStack
from scheduler import wakeup as wakeup_module
from scheduler.wakeup import Wakeup
from tests.engine import insert
from tests.stack import Connection

A_WHILE = 30.0
NOTICE = b"A"


class Bell:
    """Rings when it is called."""

    def __init__(self) -> None:
        self._rings = asyncio.Semaphore(0)

    def __call__(self) -> None:
        self._rings.release()

    async def rings(self) -> None:
        await asyncio.wait_for(self._rings.acquire(), A_WHILE)


@asynccontextmanager
async def listening(url: str, wake: Callable[[], None], *, self_test_seconds: float = A_WHILE) -> AsyncIterator[None]:
    listener = Wakeup(SecretStr(url), Wakings(), self_test_seconds=self_test_seconds)
    task = asyncio.create_task(listener.listen(wake))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Between:
    """A proxy in front of PostgreSQL. Without ``notices`` it holds them back, as a transaction-mode pooler does in effect."""

    def __init__(self, url: str, *, notices: bool = True) -> None:
        self._target = urlsplit(url)
        self._notices = notices
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.refuses = False
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Between"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        user, _, _ = self._target.netloc.rpartition("@")
        port = server.sockets[0].getsockname()[1]
        # Encryption off: the proxy has to read the kinds of the messages.
        self.url = urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{port}", query="sslmode=disable"))
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await asyncio.gather(*self._serving)

    def cut(self) -> None:
        """Close every connection."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._open.add(writer)
        if self.refuses:
            writer.transport.abort()
            return
        there, out = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._open.add(out)
        ways = {asyncio.create_task(_copy(reader, out)), asyncio.create_task(self._answer(there, writer))}
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        writer.transport.abort()
        out.transport.abort()
        await asyncio.wait(ways)

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await there.readexactly(5)
                body = await there.readexactly(int.from_bytes(head[1:]) - 4)
                if self._notices or head[:1] != NOTICE:
                    writer.write(head + body)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)


def events(logs: Sequence[Mapping[str, object]]) -> list[object]:
    return [entry["event"] for entry in logs if entry["log_level"] != "debug"]


async def test_new_row_wakes_the_listener(stack: LocalStack, db: Connection) -> None:
    bell = Bell()
    async with listening(stack.db_url, bell):
        await bell.rings()  # Once it listens it wakes the job, because it may have missed notices.
        db.execute("select outbox_engine.fall_asleep(60)")

        insert(db)

        await bell.rings()


async def test_reconnecting_wakes_for_the_missed_rows(stack: LocalStack, db: Connection) -> None:
    bell = Bell()
    async with Between(stack.db_url).running() as between, listening(between.url, bell):
        await bell.rings()

        with capture_logs() as logs:
            between.cut()
            insert(db)
            await bell.rings()

    assert "wakeup.listening" in events(logs)


async def test_unreachable_database_is_logged_once_until_it_returns(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup_module, "_FIRST_PAUSE_SECONDS", 0.01)
    bell, tries = Bell(), iter(chain(repeat(True, 4), repeat(False)))
    async with Between(stack.db_url).running() as between:
        between.refuses = True
        connect = psycopg.AsyncConnection.connect

        async def counted(*args: object, **options: object) -> object:
            between.refuses = next(tries)
            return await connect(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(wakeup_module.AsyncConnection, "connect", counted)  # type: ignore[attr-defined]
        with capture_logs() as logs:
            async with listening(between.url, bell):
                await bell.rings()

    assert events(logs) == ["wakeup.away", "wakeup.listening"]


async def test_missing_notices_are_logged_once(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process continues at its interval."""
    monkeypatch.setattr(wakeup_module, "_DEAF_PAUSE_SECONDS", 0.0)
    said, tests = asyncio.Event(), 0
    listen_once = Wakeup._listen_once

    async def counted(self: Wakeup, wake: Callable[[], None]) -> None:
        nonlocal tests
        tests += 1
        if tests == 3:
            said.set()
        await listen_once(self, wake)

    monkeypatch.setattr(Wakeup, "_listen_once", counted)
    with capture_logs() as logs:
        async with (
            Between(stack.db_url, notices=False).running() as between,
            listening(between.url, lambda: None, self_test_seconds=0.1),
        ):
            await asyncio.wait_for(said.wait(), A_WHILE)

    (warning,) = (entry for entry in logs if entry["log_level"] != "debug")
    assert (warning["event"], warning["setting"]) == ("wakeup.polling", "OUTBOX_DB_URL")
    assert "5432" in str(warning["reason"])


@pytest.mark.parametrize("url", ["postgres hunter2", "postgresql://postgres:p@hunter2@127.0.0.1:5432/postgres"])
def test_invalid_connection_string_is_refused_without_repeating_it(url: str) -> None:
    """An @ in a password that is not written as %40 moves the rest of the password into the host."""
    with pytest.raises(SettingsError, match="OUTBOX_DB_URL") as refused:
        Wakeup(SecretStr(url), Wakings())

    assert "hunter2" not in str(refused.value)
