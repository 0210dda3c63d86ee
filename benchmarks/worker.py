"""A process that is measured: says when it is ready, works when told to, says how that went, and stays until it is let go."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Worker:
    """The end of the pipe that measures."""

    process: "subprocess.Popen[str]"

    def work(self) -> dict[str, Any]:
        """Tell it to begin, and return what it says in the end."""
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
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    with process:
        worker = Worker(process)
        worker.listen()
        try:
            yield worker
        finally:
            process.terminate()


def say(**what: Any) -> None:
    """In the worker: one line to whoever measures."""
    print(json.dumps(what), flush=True)


def wait() -> None:
    """In the worker: for the word to begin, or to end."""
    sys.stdin.readline()
