"""The parent of several workers: each is a process that runs the webhook app, and all have one port.

The parent serves nothing. It starts the workers, replaces one that ends, and stops all of them. A worker's stdin is a pipe, and
only the parent has its other end. The worker stops when that end is closed, which also happens when the parent is killed.
"""

import asyncio
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from jobs.runtime.restarts import Restarts

log = structlog.get_logger()

BACKLOG: Final = 2048

CANNOT_WORK: Final = 10
"""The exit code of a worker that would end the same way each time. Its last line on stdout gives the reason."""

_STOP_SECONDS: Final = 9.5
"""A worker cancels requests that are open after eight seconds, and needs a second or so to end."""


class CannotWork(Exception):
    """No worker can serve; the message gives the reason."""


async def supervise(listeners: Sequence[socket.socket]) -> None:
    """Keep a worker serving each of ``listeners`` until SIGTERM or SIGINT. Then the workers finish open requests.

    Returns within ten seconds of the signal. Raises CannotWork, once all workers have ended, if one found that none can work.
    """
    workers = Workers(listeners)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, workers.stop)
    host, port = listeners[0].getsockname()[:2]
    log.info("webhook.listening", host=host, port=port, workers=len(listeners))
    await workers.keep()


class Workers:
    """One worker for each listener."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self._listeners = listeners
        self._stopping = asyncio.Event()
        self._reason: str | None = None

    def stop(self) -> None:
        """Let :meth:`keep` return once all workers have ended."""
        self._stopping.set()

    async def keep(self) -> None:
        """Keep all workers running until :meth:`stop`. Raises CannotWork."""
        await asyncio.gather(*(self._keep_one(listener) for listener in self._listeners))
        if self._reason is not None:
            raise CannotWork(self._reason)

    async def _keep_one(self, listener: socket.socket) -> None:
        restarts = Restarts()
        with listener:
            while not self._stopping.is_set():
                began = time.monotonic()
                ended = await self._run_one(listener)
                if not self._stopping.is_set():
                    pause = restarts.pause_after(time.monotonic() - began)
                    log.error("worker.ended", **ended, replaced_in=pause)
                    await self._rest(listener, pause)

    async def _run_one(self, listener: socket.socket) -> dict[str, object]:
        """Run one worker until it ends. Returns fields for the log."""
        try:
            worker = await self._start(listener)
        except OSError as error:
            return {"error": f"it could not be started: {error}"}
        said = await self._until_end(worker, listener)
        if worker.returncode == CANNOT_WORK:
            self._reason = said
            self.stop()
        return {"worker": worker.pid, "code": worker.returncode}

    async def _start(self, listener: socket.socket) -> Process:
        command = (sys.executable, "-P", "-m", "webhook.worker", str(listener.fileno()), str(len(self._listeners)))
        worker = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, pass_fds=(listener.fileno(),))
        log.info("worker.started", worker=worker.pid)
        return worker

    async def _until_end(self, worker: Process, listener: socket.socket) -> str:
        """Wait for the worker to end by itself, or end it when all stop. Returns what it said."""
        assert worker.stdout is not None  # noqa: S101  # for the type checker: it is a pipe
        ended = asyncio.create_task(worker.stdout.read())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            await self._end(worker, listener, ended)
        await worker.wait()
        return (await ended).decode(errors="replace").strip()

    async def _end(self, worker: Process, listener: socket.socket, ended: "asyncio.Task[bytes]") -> None:
        assert worker.stdin is not None  # noqa: S101  # for the type checker: it is a pipe
        worker.stdin.close()
        listener.close()  # New connections are refused as soon as the worker closes it too.
        _, late = await asyncio.wait([ended], timeout=_STOP_SECONDS)
        if late:
            log.error("worker.killed", worker=worker.pid, hint=f"it did not end within {_STOP_SECONDS:g} s")
            with suppress(ProcessLookupError):
                worker.kill()

    async def _rest(self, listener: socket.socket, seconds: float) -> None:
        """Wait, and meanwhile leave new connections to the other workers where each has a socket of its own."""
        if not seconds:
            return
        owns = len(self._listeners) > 1 and sys.platform == "linux"
        if owns:
            listener.shutdown(socket.SHUT_RD)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        if owns:
            listener.listen(BACKLOG)
