"""The processes of the demo, each started as a user would start it, and their end."""

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import httpx
import psycopg

from jobs.runtime import settings
from sandbox.demo.interrupts import Interrupts
from sandbox.local import ports, processes
from sandbox.local.binaries import REPOSITORY
from sandbox.local.stack import LocalStack
from sandbox.simulator.behaviour import ProviderName
from sandbox.simulator.control import Control
from sandbox.simulator.vonage.tokens import make_private_key

SENDER = "+12025550100"
READY_SECONDS = 30.0
_STOP_SECONDS = 11.0
_LINES_SHOWN = 15
_SIGN_IN = re.compile(r"sign in at (\S+).*\n")
_FULL_SPEED = "1000000"


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
    """The running processes, and the folder with their logs. Each provider has a simulator of its own."""

    stack: LocalStack
    simulators: Mapping[ProviderName, Control]
    children: list[Child]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    """Addresses of pages for a browser, by name."""

    def check(self) -> None:
        """Raises :class:`PartFailed` for the first process that has ended."""
        for child in self.children:
            child.check()

    def kill_scheduler(self) -> int:
        """Kill the scheduler with SIGKILL, which it cannot handle. Returns its process id."""
        child = self._take("scheduler")
        child.process.kill()
        child.process.wait()
        return child.process.pid

    def start_scheduler(self, **settings: str) -> int:
        """Start a scheduler, which appends to the log of the one before. Returns its process id."""
        child = _start("scheduler", ["run"], self.folder, {**self.environment, **settings})
        self.children.append(child)
        return child.process.pid

    def hasten(self) -> int:
        """Stop the scheduler with SIGTERM and start one whose rate is not limited. Returns the new process id."""
        self._take("scheduler").stop()
        return self.start_scheduler(**{f"{name.upper()}_MESSAGES_PER_SECOND": _FULL_SPEED for name in self.simulators})

    def _take(self, name: str) -> Child:
        """Remove the process from those that must run."""
        child = next(child for child in self.children if child.name == name)
        self.children.remove(child)
        return child

    def last_words(self, name: str) -> str:
        """The end of a process's log, and its path."""
        log = self.folder / f"{name}.log"
        return f"the end of {log}:\n{tail(log)}"


@contextmanager
def running(
    stack: LocalStack,
    folder: Path,
    providers: Sequence[ProviderName],
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

        progress(f"starting {_simulators(providers)}, the scheduler and the webhook app")
        origins = {name: f"http://{ports.HOST}:{ports.free_port()}" for name in providers}
        webhook_port = ports.free_port()
        environment = _environment(stack, origins, f"http://{ports.HOST}:{webhook_port}", messages_per_second)
        for name, url in origins.items():
            arguments = ["simulator", "--port", url.rpartition(":")[2], "--seed", str(seed)]
            own = "simulator" if len(providers) == 1 else f"{name}-simulator"
            children.append(_start(own, arguments, folder, environment))
        simulators = tuple(children)
        webhook = _start("webhook", ["webhook", "--port", str(webhook_port)], folder, environment)
        children.append(webhook)
        (folder / "scheduler.log").write_bytes(b"")
        scheduler = _start("scheduler", ["run"], folder, environment)
        children.append(scheduler)
        dashboard = None
        if find_spec("jinja2") is not None:
            dashboard = _start("dashboard", ["dashboard", "--port", str(ports.free_port())], folder, environment)
            children.append(dashboard)
        for url, simulator in zip(origins.values(), simulators, strict=True):
            _wait_for(f"{url}/_sim/health", simulator)
        _wait_for(f"http://{ports.HOST}:{webhook_port}/readyz", webhook)
        _wait_for_claims(stack, scheduler)

        controls = {name: open_parts.enter_context(Control(url)) for name, url in origins.items()}
        pages = {_phones(name, origins): f"{url}/_sim/phones" for name, url in origins.items()}
        if dashboard is not None:
            pages["dashboard"] = _sign_in(dashboard)
        yield Parts(stack, controls, children, folder, environment, pages)


def _phones(name: str, origins: Mapping[ProviderName, str]) -> str:
    return "phones" if len(origins) == 1 else f"{name.capitalize()}'s phones"


def _sign_in(dashboard: Child) -> str:
    """The address that signs in once, which the dashboard prints when it is ready."""
    found: list[str] = []

    def printed() -> bool:
        dashboard.check()
        found.extend(_SIGN_IN.findall(dashboard.log.read_text(errors="replace")))
        return bool(found)

    if not processes.wait_until(printed, READY_SECONDS):
        raise dashboard.failed("the dashboard did not print its address")
    return found[0]


def _simulators(providers: Sequence[ProviderName]) -> str:
    return f"the {' simulator, the '.join(name.capitalize() for name in providers)} simulator"


def _environment(
    stack: LocalStack, origins: Mapping[ProviderName, str], webhooks: str, messages_per_second: float
) -> dict[str, str]:
    """The settings of all processes. The user's own settings and ``.env`` do not apply."""
    accounts = {"sinch": _sinch, "vonage": _vonage}
    environment = {
        **os.environ,
        **dict.fromkeys(settings.names() - {"LOG_LEVEL"}, ""),
        # If another checkout is installed, this one is still the one to run.
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "NO_PROXY": ports.HOST,
        "no_proxy": ports.HOST,
        **stack.env,
        "OUTBOX_PROVIDERS": ",".join(origins),
        # Shorter than in production, so that lookups and missing reports take seconds instead of minutes.
        "SETTLE_SECONDS": "3",
        "LEASE_SECONDS": "10",
        "RECONCILE_AFTER_SECONDS": "5",
        "RECONCILE_INTERVAL_SECONDS": "2",
    }
    for name, url in origins.items():
        environment.update(accounts[name](url, webhooks, messages_per_second))
    return environment


def _sinch(url: str, webhooks: str, messages_per_second: float) -> dict[str, str]:
    return {
        "SINCH_SERVICE_PLAN_ID": "demo-plan",
        "SINCH_API_TOKEN": secrets.token_urlsafe(24),
        "SINCH_BASE_URL": url,
        "SINCH_FROM_NUMBER": SENDER,
        "SINCH_CALLBACK_URL": f"{webhooks}/webhooks/sinch/delivery",
        "SINCH_WEBHOOK_SECRETS": secrets.token_urlsafe(24),
        "SINCH_MESSAGES_PER_SECOND": str(messages_per_second),
    }


def _vonage(url: str, webhooks: str, messages_per_second: float) -> dict[str, str]:
    return {
        "VONAGE_APPLICATION_ID": "00000000-0000-4000-8000-000000000001",
        "VONAGE_PRIVATE_KEY": make_private_key(),
        "VONAGE_API_KEY": "demo1234",
        "VONAGE_API_SECRET": secrets.token_urlsafe(24),
        "VONAGE_BASE_URL": url,
        "VONAGE_FROM_NUMBER": SENDER,
        "VONAGE_CALLBACK_URL": f"{webhooks}/webhooks/vonage/status",
        "VONAGE_SIGNATURE_SECRETS": secrets.token_urlsafe(32),
        "VONAGE_MESSAGES_PER_SECOND": str(messages_per_second),
        "VONAGE_REPORTS": "1",
    }


def _start(name: str, arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> Child:
    log = folder / f"{name}.log"
    if name != "scheduler":
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


def _wait_for_claims(stack: LocalStack, scheduler: Child) -> None:
    """Until the scheduler claims messages: the demo's times count from then on, however slow the machine is."""
    with psycopg.connect(stack.admin_url, autocommit=True) as db:

        def claims() -> bool:
            scheduler.check()
            return db.execute("select exists (select from outbox_engine.running_dispatchers)").fetchone() == (True,)

        if not processes.wait_until(claims, READY_SECONDS):
            raise scheduler.failed(f"the scheduler claimed no message within {READY_SECONDS:.0f} s")


def _stop(children: Sequence[Child]) -> None:
    """Stop all at the same time; simulators last, because the others may still call them."""
    for child in children:
        if not child.name.endswith("simulator"):
            child.process.terminate()
    for child in reversed(children):
        child.stop()


def _kill(children: Sequence[Child]) -> None:
    for child in children:
        child.process.kill()


def tail(log: Path) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:])
