"""The other end of a supervisor's stdin and stdout."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from sandbox.local import processes
from sandbox.local.binaries import REPOSITORY
from sandbox.local.errors import StackError, by_name
from sandbox.local.folder import DataFolder
from sandbox.local.settings import Secrets, Settings
from sandbox.local.supervisor import Options

Progress = Callable[[str], None]
_STOP = (signal.SIGTERM, 20.0)


class SupervisorClient:
    """Starts a supervisor, sends it commands, and stops everything. Safe to use from several threads."""

    def __init__(self, options: Options) -> None:
        folder = DataFolder(Path(options.data_dir))
        folder.make()
        self._log = folder.supervisor_log
        self._turn = Lock()
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.local.supervisor", json.dumps(asdict(options))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=REPOSITORY,
                # Ctrl-C reaches this process alone, which decides what it means for the servers.
                start_new_session=True,
            )

    def wait_until_ready(self, progress: Progress) -> Settings:
        """Return once the API answers. Raises :class:`StackError`; then nothing is left running."""
        try:
            while "ready" not in (message := self._read()):
                progress(message["progress"])
        except BaseException:
            self.stop()
            raise
        kept = message["settings"]
        return Settings(secrets=Secrets(**kept["secrets"]), api_port=kept["api_port"], db_port=kept["db_port"])

    def send(self, command: str) -> None:
        """Send a command, and return when it was executed."""
        with self._turn:
            try:
                self._stdin.write(json.dumps({"do": command}).encode() + b"\n")
                self._stdin.flush()
            except OSError:
                raise StackError(f"the local stack has ended: see {self._log}") from None
            self._read()

    def detach(self) -> None:
        """Leave the stack running when this process ends."""
        self.send("detach")
        self._close()

    def stop(self) -> None:
        """Stop both servers, also while they are being started."""
        processes.stop(self._process, _STOP)
        self._close()

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise StackError(f"the local stack has ended: see {self._log}")
        message: dict[str, Any] = json.loads(line)
        if "failed" in message:
            raise by_name(message["kind"])(message["failed"])
        return message

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
