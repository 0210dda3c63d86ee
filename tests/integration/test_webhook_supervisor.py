"""The parent of the webhook app's workers, with workers that end at once."""

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE, Process

import pytest
from structlog.testing import capture_logs

from jobs.runtime import restarts
from webhook import workers
from webhook.commands import listen_each
from webhook.workers import CANNOT_WORK, CannotWork, Workers

ENDLESS = "import sys; sys.stdin.read()"


class Programs(Workers):
    """Runs a program of the test for each listener, and says how often one was started."""

    def __init__(self, *programs: str) -> None:
        self.listeners = listen_each("127.0.0.1", 0, len(programs))
        super().__init__(self.listeners)
        self._programs = dict(zip(self.listeners, programs, strict=True))
        self.started = 0

    async def _start(self, listener: socket.socket) -> Process:
        self.started += 1
        return await asyncio.create_subprocess_exec(sys.executable, "-c", self._programs[listener], stdin=PIPE, stdout=PIPE)

    async def until(self, started: int) -> None:
        async with asyncio.timeout(30):
            while self.started < started:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.01)


def is_listening(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


async def test_worker_in_a_pause_gets_no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "_PAUSES", (600.0,))
    programs = Programs("", ENDLESS)
    ending, other = programs.listeners

    keeping = asyncio.create_task(programs.keep())
    async with asyncio.timeout(30):
        while is_listening(ending):  # noqa: ASYNC110  # the socket has no event for it
            await asyncio.sleep(0.01)
    assert is_listening(other)
    programs.stop()
    await keeping

    assert programs.started == 2


async def test_socket_listens_again_before_the_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "_PAUSES", (0.001,))
    programs = Programs("", ENDLESS)
    ending, _ = programs.listeners
    listened: list[bool] = []
    start = programs._start

    async def noting(listener: socket.socket) -> Process:
        listened.append(is_listening(ending))
        return await start(listener)

    monkeypatch.setattr(programs, "_start", noting)
    keeping = asyncio.create_task(programs.keep())
    await programs.until(4)
    programs.stop()
    await keeping

    assert set(listened) == {True}


async def test_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(ENDLESS)
    start = programs._start
    errors = [OSError("out of memory")]

    async def failing(listener: socket.socket) -> Process:
        if errors:
            raise errors.pop()
        return await start(listener)

    monkeypatch.setattr(programs, "_start", failing)
    with capture_logs() as logs:
        keeping = asyncio.create_task(programs.keep())
        await programs.until(1)
        programs.stop()
        await keeping

    (ended,) = [entry for entry in logs if entry["event"] == "worker.ended"]
    assert "out of memory" in ended["error"]


async def test_one_worker_that_cannot_work_ends_all() -> None:
    programs = Programs(f"import sys; print('the reason'); sys.exit({CANNOT_WORK})", ENDLESS)

    with pytest.raises(CannotWork, match=r"^the reason$"):
        await asyncio.wait_for(programs.keep(), 30)


async def test_worker_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_STOP_SECONDS", 0.01)
    programs = Programs("import signal; signal.pause()")

    with capture_logs() as logs:
        keeping = asyncio.create_task(programs.keep())
        await programs.until(1)
        programs.stop()
        await asyncio.wait_for(keeping, 30)

    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["worker.killed"]
