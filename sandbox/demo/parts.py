"""The processes of the demo, each started as a user would start it, and their end."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from jobs.runtime import settings
from sandbox.demo.interrupts import Interrupts
from sandbox.local import ports, processes
from sandbox.local.binaries import REPOSITORY
from sandbox.local.stack import LocalStack
from sandbox.simulator.control import Control

SENDER = "+12025550100"
READY_SECONDS = 30.0
_STOP_SECONDS = 11.0
_LINES_SHOWN = 15


class PartFailed(Exception):
    """A process of the demo did not start, or ended. The text names it and shows the end of its log."""


@dataclass(frozen=True, slots=True)
class Child:
    """One process and its log file."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def check(self) -> None:
        """Raises :class:`PartFailed` if it has ended."""
        if self.process.poll() is not None:
            raise self.failed(f"the {self.name} ended with exit code {self.process.returncode}")

    def failed(self, why: str) -> PartFailed:
        return PartFailed(f"{why}; the end of {self.log}:\n{tail(self.log)}")

    def stop(self) -> None:
        processes.stop(self.process, (signal.SIGTERM, _STOP_SECONDS))


@dataclass(frozen=True, slots=True)
class Parts:
    """The running processes, and the folder with their logs."""

    stack: LocalStack
    simulator: Control
    children: Sequence[Child]
    folder: Path

    def check(self) -> None:
        """Raises :class:`PartFailed` for the first process that has ended."""
        for child in self.children:
            child.check()

    def last_words(self, name: str) -> str:
        """The end of a process's log, and its path."""
        log = self.folder / f"{name}.log"
        return f"the end of {log}:\n{tail(log)}"


@contextmanager
def running(
    stack: LocalStack,
    folder: Path,
    *,
    messages_per_second: float,
    seed: int,
    interrupts: Interrupts,
    progress: Callable[[str], None],
) -> Iterator[Parts]:
    """Start everything, and stop everything when the block ends. Children also die with this process (Linux)."""
    children: list[Child] = []
    with ExitStack() as open_parts:
        open_parts.callback(stack.stop)
        open_parts.callback(_stop, children)
        open_parts.callback(interrupts.end, lambda: _kill(children))
        stack.start()

        progress("starting the Sinch simulator, the scheduler and the webhook app")
        sinch_port, webhook_port = ports.free_port(), ports.free_port()
        environment = _environment(stack, sinch_port, webhook_port, messages_per_second)
        for name, arguments in (
            ("simulator", ["simulator", "--port", str(sinch_port), "--seed", str(seed)]),
            ("webhook", ["webhook", "--port", str(webhook_port)]),
            ("scheduler", ["run"]),
        ):
            children.append(_start(name, arguments, folder, environment))
        simulator, webhook, _ = children
        _wait_for(f"{environment['SINCH_BASE_URL']}/_sim/health", simulator)
        _wait_for(f"http://{ports.HOST}:{webhook_port}/readyz", webhook)

        control = open_parts.enter_context(Control(environment["SINCH_BASE_URL"]))
        yield Parts(stack, control, tuple(children), folder)


def _environment(stack: LocalStack, sinch_port: int, webhook_port: int, messages_per_second: float) -> dict[str, str]:
    """The settings of all three processes. The user's own settings and ``.env`` do not apply."""
    return {
        **os.environ,
        **dict.fromkeys(settings.names() - {"LOG_LEVEL"}, ""),
        # If another checkout is installed, this one is still the one to run.
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "NO_PROXY": ports.HOST,
        "no_proxy": ports.HOST,
        **stack.env,
        "SINCH_SERVICE_PLAN_ID": "demo-plan",
        "SINCH_API_TOKEN": secrets.token_urlsafe(24),
        "SINCH_BASE_URL": f"http://{ports.HOST}:{sinch_port}",
        "SINCH_FROM_NUMBER": SENDER,
        "SINCH_CALLBACK_URL": f"http://{ports.HOST}:{webhook_port}/webhooks/sinch/delivery",
        "SINCH_WEBHOOK_SECRETS": secrets.token_urlsafe(24),
        "SINCH_MESSAGES_PER_SECOND": str(messages_per_second),
        # Shorter than in production, so that lookups and missing reports take seconds instead of minutes.
        "SETTLE_SECONDS": "3",
        "RECONCILE_AFTER_SECONDS": "5",
        "RECONCILE_INTERVAL_SECONDS": "2",
    }


def _start(name: str, arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> Child:
    log = folder / f"{name}.log"
    log.write_bytes(b"")
    # Killed with this process: the services that a drain needs end too.
    command = [sys.executable, "-m", "scheduler", *arguments]
    return Child(name, processes.start(command, log=log, cwd=folder, dies_by="KILL", env=environment), log)


def _wait_for(url: str, child: Child) -> None:
    def answers() -> bool:
        child.check()
        try:
            return httpx.get(url, timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    if not processes.wait_until(answers, READY_SECONDS):
        raise child.failed(f"the {child.name} did not answer within {READY_SECONDS:.0f} s")


def _stop(children: Sequence[Child]) -> None:
    """Stop all at the same time; the simulator last, because the others may still call it."""
    for child in children[1:]:
        child.process.terminate()
    for child in reversed(children):
        child.stop()


def _kill(children: Sequence[Child]) -> None:
    for child in children:
        child.process.kill()


def tail(log: Path) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:])
