"""`outbox webhook` on a free port, with a chosen HTTP parser, in a process that may open so many files.

``python -m benchmarks.attacked PARSER FILES`` runs it. ``h11`` runs as if nothing of the extra ``fast`` were installed.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from benchmarks.worker import started
from jobs.runtime import settings

PARSERS: Final = ("httptools", "h11")
_FAST: Final = ("httptools", "uvloop")
_LOOK_SECONDS: Final = 0.05


@contextmanager
def attacked(
    parser: str, files: int, environment: Mapping[str, str], log: IO[Any]
) -> "Iterator[tuple[subprocess.Popen[Any], int]]":
    """The process and its port. It logs to ``log``, which must be a file that can be read from its beginning."""
    variables = {**dict.fromkeys(settings.names(), ""), "LOG_FORMAT": "json", **environment}
    with started(["-m", "benchmarks.attacked", parser, str(files)], variables, stderr=log) as process:
        yield process, _port(process, log.name)


def _port(process: "subprocess.Popen[Any]", path: str) -> int:
    while process.poll() is None:
        for line in Path(path).read_bytes().splitlines(keepends=True):
            if b'"webhook.listening"' in line and line.endswith(b"\n"):
                return int(msgspec.json.decode(line)["port"])
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError("outbox webhook ended before it listened")


def main() -> None:
    import resource

    parser, files = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if parser == "h11":
        sys.modules.update(dict.fromkeys(_FAST))  # type: ignore[arg-type]  # None makes an import fail
    sys.argv = ["outbox", "webhook", "--port", "0"]
    from scheduler.cli import main as outbox

    outbox()


if __name__ == "__main__":
    main()
