"""A measured process: it reports that it is ready, works on a command, reports the result, and stays until it is released."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_END_SECONDS: Final = 15.0


@contextmanager
def started(arguments: Sequence[str], environment: Mapping[str, str], **how: Any) -> Iterator["subprocess.Popen[Any]"]:
    """Python with these arguments, until the block ends. Ctrl-C reaches only the measuring process, which ends this one."""
    process = subprocess.Popen([sys.executable, *arguments], env={**os.environ, **environment}, start_new_session=True, **how)
    with process:  # which closes its pipes, and must not wait for it before sending it the command to end
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@dataclass(frozen=True, slots=True)
class Worker:
    """The measuring end of the pipe."""

    process: "subprocess.Popen[str]"

    def work(self) -> dict[str, Any]:
        """Send the command to begin, and return the result."""
        assert self.process.stdin is not None  # noqa: S101  # for the type checker: it is a pipe
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.listen()

    def listen(self) -> dict[str, Any]:
        assert self.process.stdout is not None  # noqa: S101
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args!r} ended with exit code {self.process.wait()}")
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def ready(module: str, *arguments: str, environment: Mapping[str, str]) -> Iterator[Worker]:
    """``python -m module`` in a process of its own, ready to begin."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(["-m", module, *arguments], environment, text=True, **pipes) as process:
        worker = Worker(process)
        worker.listen()
        yield worker


def peak_mib(pid: int) -> float:
    """The peak resident memory since the program began; `getrusage` would include that of the process it was forked from."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        raise SystemExit("the most memory a process held is read from /proc/<process>/status, which only Linux has")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:")) / 1024


def say(**what: Any) -> None:
    """In the worker: send one line to the measuring process."""
    print(json.dumps(what), flush=True)


def wait() -> None:
    """In the worker: wait for the command to begin, or to end."""
    sys.stdin.readline()
