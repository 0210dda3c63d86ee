"""Whether the processes of this machine are alive: each answers on a socket in the run directory, and `outbox health` asks.

The event loop answers, so an answer proves that it turns. Nothing is written while a process runs, and the socket of a process
that was killed refuses connections.
"""

import asyncio
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog

log = structlog.get_logger()

Inspection = Callable[[bool], Awaitable[str | None]]
"""What is wrong with this process, None if nothing is. The argument: whether it must be ready for work, or only alive."""

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # the folder in it belongs to this user alone
"""Containers can write here, even where their root is read-only."""
_NAME: Final = re.compile(r"([a-z]+)-(\d+)-[0-9a-f]+\.sock")
_ASKING_SECONDS: Final = 10.0
_LONGEST_ANSWER: Final = 10_000


@dataclass(frozen=True, slots=True)
class Health:
    """One process: its name (``scheduler``, ``webhook``, ``all``), and what is wrong with it. None: it is well."""

    process: str
    pid: int
    problem: str | None


@asynccontextmanager
async def answering(process: str, directory: Path | None, inspection: Inspection) -> AsyncIterator[None]:
    """Answer `outbox health` while the block runs. ``directory`` is the setting OUTBOX_RUN_DIR.

    A process that finds no directory to write to logs a warning and works without.
    """
    path: Path | None = None
    server: asyncio.Server | None = None
    try:
        path, listener = _listen(process, directory)
        server = await asyncio.start_unix_server(_answer_with(inspection), sock=listener)
    except OSError as error:
        log.warning(
            "health.unavailable", setting="OUTBOX_RUN_DIR", error=str(error), meaning="outbox health does not see this process"
        )
    try:
        yield
    finally:
        if server is not None:
            server.close()
        if path is not None:
            path.unlink(missing_ok=True)


def ask(directory: Path | None, *, ready: bool, seconds: float) -> list[Health]:
    """Ask all processes of this user that answer in ``directory``, or in the usual places. Takes ``seconds`` in all."""
    until = time.monotonic() + seconds
    found = [_ask(path, ready=ready, until=until) for path in _sockets(directory)]
    return [health for health in found if health is not None]


def answers(process: str, pid: int, directory: Path | None) -> bool:
    """Whether the process has come so far that it answers."""
    return any(path.name.startswith(f"{process}-{pid}-") for path in _sockets(directory))


async def hangs(process: str, pid: int, directory: Path | None, *, seconds: float = _ASKING_SECONDS) -> bool:
    """Whether the process has a socket and does not answer there within ``seconds``, so that its event loop does not turn."""
    path = next((path for path in _sockets(directory) if path.name.startswith(f"{process}-{pid}-")), None)
    if path is None:
        return False
    try:
        await asyncio.to_thread(_problem, path, ready=False, until=time.monotonic() + seconds)
    except (ConnectionRefusedError, FileNotFoundError):
        return False  # It is ending.
    except (OSError, ValueError):
        return True
    return False


def places(directory: Path | None) -> list[Path]:
    """The directories that hold sockets, the first that can be used first."""
    if directory is not None:
        return [directory]
    name = f"outbox-{os.getuid()}"
    folders = [_SHARED_MEMORY] if _SHARED_MEMORY.is_dir() else []
    with suppress(FileNotFoundError):
        folders.append(Path(tempfile.gettempdir()))
    return [folder / name for folder in folders]


def _sockets(directory: Path | None) -> list[Path]:
    return [path for place in places(directory) if _is_ours(place) for path in sorted(place.glob("*.sock"))]


def _is_ours(place: Path) -> bool:
    """Whether another user cannot have put sockets there."""
    return place.is_dir() and not place.is_symlink() and place.stat().st_uid in {os.getuid(), 0}


def _listen(process: str, directory: Path | None) -> tuple[Path, socket.socket]:
    """A socket in the first directory that can be used. Raises OSError, of the last one, if there is none."""
    failed: OSError = FileNotFoundError("there is no directory for temporary files")
    for place in places(directory):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours(place):
                raise PermissionError(f"{place} belongs to another user")
            _clear(place)
            return _listen_in(place, f"{process}-{os.getpid()}-{uuid4().hex[:8]}")
        except OSError as error:
            failed = error
    raise failed


def _listen_in(place: Path, name: str) -> tuple[Path, socket.socket]:
    """The socket gets its name once it listens: one that refuses connections counts as left behind."""
    early, path = place / name, place / f"{name}.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(early))
        listener.listen()
        early.rename(path)
    except OSError:
        listener.close()
        early.unlink(missing_ok=True)
        raise
    return path, listener


def _clear(place: Path) -> None:
    """Remove the sockets that killed processes left behind."""
    for path in place.glob("*.sock"):
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as asking, suppress(OSError):
            asking.setblocking(False)
            try:
                asking.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def _answer_with(inspection: Inspection) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ValueError), closing(writer):
            async with asyncio.timeout(_ASKING_SECONDS):
                problem = await inspection(await reader.readline() == b"ready\n")
                writer.write(json.dumps({"problem": problem}).encode() + b"\n")
                await writer.drain()

    return answer


def _ask(path: Path, *, ready: bool, until: float) -> Health | None:
    """None for a socket that a process left behind. It is removed."""
    named = _NAME.fullmatch(path.name)
    if named is None:
        return None
    process, pid = named[1], int(named[2])
    try:
        return Health(process, pid, _problem(path, ready=ready, until=until))
    except (ConnectionRefusedError, FileNotFoundError):
        with suppress(OSError):
            path.unlink()
        return None
    except (OSError, ValueError):
        # A full queue of connections, a timeout and half an answer all say the same.
        return Health(process, pid, "does not answer")


def _problem(path: Path, *, ready: bool, until: float) -> str | None:
    answer = b""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as asking:
        asking.settimeout(max(until - time.monotonic(), 0.01))
        asking.connect(str(path))
        asking.sendall(b"ready\n" if ready else b"alive\n")
        while not answer.endswith(b"\n") and len(answer) < _LONGEST_ANSWER:
            asking.settimeout(max(until - time.monotonic(), 0.01))
            received = asking.recv(_LONGEST_ANSWER)
            if not received:
                break
            answer += received
    problem = json.loads(answer)["problem"]
    return None if problem is None else str(problem)
