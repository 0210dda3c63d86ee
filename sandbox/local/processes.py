"""Starts programs that end with their parent, and distinguishes a process from another one that got its id."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from time import monotonic, sleep

POLL_SECONDS = 0.02
_HAS_PROC = Path("/proc/self/stat").exists()


@dataclass(frozen=True, slots=True)
class Identity:
    """A process and its start time: the id alone may belong to another process by now."""

    pid: int
    began: str


def identify(pid: int) -> Identity | None:
    """The process that has this id now, or None. A zombie counts as gone."""
    stat = Path(f"/proc/{pid}/stat")
    if _HAS_PROC:
        with suppress(OSError):
            # The name of the program is in parentheses and may itself hold spaces and parentheses.
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            return None if fields[0] == "Z" else Identity(pid, fields[19])
        return None
    listing = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    began = listing.stdout.strip()
    return Identity(pid, began) if began else None


def myself() -> Identity:
    return identify(os.getpid()) or Identity(os.getpid(), "")


def command_line(pid: int) -> str:
    """The command line of the process, or an empty string."""
    if _HAS_PROC:
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout


def start(
    command: Sequence[str | Path], *, log: Path, cwd: Path, dies_by: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a server that logs to a file. When this process dies, the server gets the signal ``dies_by`` (Linux)."""
    with log.open("ab") as output:
        return subprocess.Popen(
            with_death_signal(command, dies_by),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )


def with_death_signal(command: Sequence[str | Path], signal_name: str) -> list[str]:
    words = [str(word) for word in command]
    setpriv = which("setpriv")
    if setpriv is None:
        return words
    if words[0] == setpriv:
        return [setpriv, "--pdeathsig", signal_name, *words[1:]]
    return [setpriv, "--pdeathsig", signal_name, "--", *words]


def stop(process: subprocess.Popen[bytes], *signals: tuple[signal.Signals, float]) -> None:
    """Send each signal in turn and wait the seconds beside it, until the process has ended."""
    for number, seconds in signals:
        if process.poll() is not None:
            return
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    process.kill()
    process.wait()


def end_orphan(orphan: Identity, *signals: tuple[signal.Signals, float]) -> None:
    """The same for a process that is not a child, as long as the id still belongs to it."""
    for number, seconds in (*signals, (signal.SIGKILL, 5.0)):
        if identify(orphan.pid) != orphan:
            return
        with suppress(ProcessLookupError):
            os.kill(orphan.pid, number)
        wait_until(lambda: identify(orphan.pid) != orphan, seconds)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition became true within this many seconds."""
    deadline = monotonic() + seconds
    while not condition():
        if monotonic() > deadline:
            return False
        sleep(POLL_SECONDS)
    return True
