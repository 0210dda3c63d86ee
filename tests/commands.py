"""The ``outbox`` command for tests that run it often: a process of its own for each run, and the imports only once.

A server imports the command, and forks for each run. The new process gets the environment and the folder of that run. Three
quarters of what a command costs are its imports. Commands that are sent signals are started by the tests themselves.
"""

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryFile
from typing import Any

from jobs.runtime.tls import trust

Ran = subprocess.CompletedProcess[str]
_CERTIFICATES = {"SSL_CERT_FILE", "SSL_CERT_DIR"}
_ROOT = Path(__file__).parents[1]
_HAS_SAFE_FORK = sys.platform == "linux"
"""Elsewhere the libraries of the system may not be used after a fork."""


def outbox(*arguments: object, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 120) -> Ran:
    """Run ``python -m scheduler`` with these arguments, to its end, with nothing on stdin."""
    words = [str(argument) for argument in arguments]
    if not _HAS_SAFE_FORK:
        command = [sys.executable, "-m", "scheduler", *words]
        return subprocess.run(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
    code, out, err = _server().ask({"words": words, "env": dict(env), "cwd": str(cwd or Path.cwd())}, timeout)
    return Ran(words, code, out, err)


@cache
def _server() -> "_Server":
    return _Server()


class _Server:
    """It ends when its socket is closed, which it is with this process."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.commands", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
        self._socket, self._answers = ours, ours.makefile("rb")

    def ask(self, run: dict[str, Any], timeout: float) -> tuple[int, str, str]:
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(json.dumps(run).encode() + b"\n")
            code, out, err = json.loads(self._answers.readline())
        except BaseException:
            # What it would answer later belongs to this run.
            _server.cache_clear()
            self.close()
            raise
        return code, out, err

    def close(self) -> None:
        """End it, and a run that hangs."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._answers.close()
        self._socket.close()


def close() -> None:
    """End the server, if one runs."""
    if _server.cache_info().currsize:
        _server().close()
        _server.cache_clear()


def _serve(connection: socket.socket) -> bool:
    """Run what is asked for. Returns whether this is the process of a run, which has to begin."""
    for line in connection.makefile("rb"):
        run = json.loads(line)
        with TemporaryFile() as out, TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                _become(run, out.fileno(), err.fileno())
                connection.close()
                return True
            _, status = os.waitpid(child, 0)
            said = [_content(out.fileno()), _content(err.fileno())]
        connection.sendall(json.dumps([os.waitstatus_to_exitcode(status), *said]).encode() + b"\n")
    return False


def _become(run: dict[str, Any], out: int, err: int) -> None:
    os.environ.clear()
    os.environ.update(run["env"])
    if _CERTIFICATES & run["env"].keys():
        trust.cache_clear()
    time.tzset()
    os.chdir(run["cwd"])
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv[1:] = run["words"]


def _content(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode()


def _import_everything() -> None:
    """What the commands import, also what their libraries import when they are first used."""
    import scheduler.commands

    for name in ("anyio._backends._asyncio", "webhook.commands", "webhook.app", "dashboard.commands", "sandbox.local.commands"):
        import_module(name)
    for module in walk_packages(scheduler.commands.__path__, "scheduler.commands."):
        import_module(module.name)
    # Reading the certificates is a third of what most commands cost.
    trust(trust_env=True)
    # Memory that the garbage collector writes to is copied in each process.
    gc.freeze()


def _run() -> None:
    """Run the command and end, without taking apart what was imported, which takes longer than most commands."""
    from scheduler.cli import main

    try:
        main()
    except SystemExit as end:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)


def _main() -> None:
    _import_everything()
    with suppress(KeyboardInterrupt), socket.socket(fileno=int(sys.argv[1])) as connection:
        if not _serve(connection):
            return
    _run()


if __name__ == "__main__":
    _main()
