"""A run's system: a local Supabase, a faulty simulator, three schedulers, two webhook apps and their network."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from sandbox.demo.interrupts import Interrupts
from sandbox.demo.parts import READY_SECONDS, Child, PartFailed
from sandbox.local import ports, processes
from sandbox.local.binaries import REPOSITORY
from sandbox.local.stack import MIGRATIONS, LocalStack
from sandbox.simulator.control import Control
from tests import older_release
from tests.chaos.network import Network
from tests.chaos.providers import Accounts, Times

SCHEDULERS: Final = ("scheduler-1", "scheduler-2", "scheduler-3")
WEBHOOKS: Final = ("webhook-1", "webhook-2")
_OLDER: Final = ("scheduler-2", "webhook-2")
_POLITE_SECONDS: Final = 11.0
_OURS: Final = ("SUPABASE_", "SINCH_", "VONAGE_", "OUTBOX_", "WEBHOOK_", "SENTRY_", "LOG_", "ALLOWED_", "RECONCILE_", "EVENTS_")


class Fleet:
    """The running processes. A run kills only processes that it started, each by its own id."""

    def __init__(
        self, stack: LocalStack, network: Network, simulator: Control, folder: Path, commands: Mapping[str, Path]
    ) -> None:
        """``commands`` are the ``outbox`` commands of processes that are not to run from this checkout, by name."""
        self.stack = stack
        self.network = network
        self.simulator = simulator
        self.folder = folder
        self._children: dict[str, Child] = {}
        self._started: dict[str, tuple[list[str], Mapping[str, str]]] = {}
        self._commands = commands

    def start(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> Child:
        self._started[name] = (arguments, environment)
        return self.start_again(name)

    def start_again(self, name: str) -> Child:
        """A new process with the same settings replaces one that ended. It appends to the same log."""
        arguments, environment = self._started[name]
        log = self.folder / f"{name}.log"
        if name in self._commands:
            command = [str(self._commands[name]), *arguments]
            environment = older_release.alone(environment)
        else:
            command = [sys.executable, "-m", "scheduler", *arguments]
        process = processes.start(command, log=log, cwd=self.folder, dies_by="KILL", env=environment)
        self._children[name] = Child(name, process, log)
        return self._children[name]

    def kill(self, name: str) -> None:
        self._children[name].process.kill()
        self._children[name].process.wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        self._children[name].process.send_signal(number)

    def ended(self, name: str) -> bool:
        return self._children[name].process.poll() is not None

    def stop(self) -> None:
        """Stop all processes at the same time. A suspended process must be resumed first, or it cannot end."""
        for child in self._children.values():
            if child.name in SCHEDULERS:
                child.process.send_signal(signal.SIGCONT)
            child.process.terminate()
        for child in self._children.values():
            processes.stop(child.process, (signal.SIGTERM, _POLITE_SECONDS))

    def kill_all(self) -> None:
        for child in self._children.values():
            child.process.kill()


@contextmanager
def running(
    folder: Path,
    times: Times,
    seed: int,
    interrupts: Interrupts,
    say: Callable[[str], None],
    *,
    accounts: Accounts,
    beside: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Fleet]:
    """Start everything, and stop everything when the block ends. Children also die with this process (Linux).

    ``beside`` is the wheel of an earlier release: one scheduler and one webhook app run from it, as during an upgrade.
    ``settings`` are more of the processes' settings.
    """
    with ExitStack() as parts:
        # Durable, so that what was committed outlives the kill: without fsync it would too, but not with commits that do not
        # even wait until the operating system has them.
        stack = LocalStack(
            folder / "supabase",
            port=0,
            migrations=MIGRATIONS if beside is None else older_release.migrations_beside(folder / "migrations"),
            fresh=True,
            durable=True,
            progress=lambda step: say(f"{step} …"),
        )
        parts.callback(stack.stop)
        network = parts.enter_context(Network())
        provider_port = ports.free_port()
        simulator = parts.enter_context(Control(f"http://{ports.HOST}:{provider_port}"))
        earlier = {} if beside is None else dict.fromkeys(_OLDER, older_release.install(beside, folder / "earlier"))
        fleet = Fleet(stack, network, simulator, folder, earlier)
        parts.callback(fleet.stop)
        parts.callback(interrupts.end, fleet.kill_all)
        stack.start()
        say("starting the simulator, three schedulers and two webhook apps")
        _start_all(fleet, provider_port, times, seed, accounts, settings or {})
        yield fleet


def _start_all(
    fleet: Fleet, provider_port: int, times: Times, seed: int, accounts: Accounts, settings: Mapping[str, str]
) -> None:
    network = fleet.network
    webhook_ports = {name: ports.free_port() for name in WEBHOOKS}
    callbacks = network.connect("callbacks", *webhook_ports.values())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "NO_PROXY": ports.HOST,
        "no_proxy": ports.HOST,
        **fleet.stack.env,
        **accounts.settings(
            {name: f"http://{ports.HOST}:{network.connect(name, provider_port)}" for name in accounts.names},
            f"http://{ports.HOST}:{callbacks}",
            times,
        ),
        "LEASE_SECONDS": str(times.lease),
        "SETTLE_SECONDS": str(times.settle),
        "RECONCILE_AFTER_SECONDS": "5",
        "RECONCILE_INTERVAL_SECONDS": "2",
        "LOG_FORMAT": "json",
        **settings,
    }
    started = [fleet.start("simulator", ["simulator", "--port", str(provider_port), "--seed", str(seed)], environment)]
    for name, port in webhook_ports.items():
        started.append(fleet.start(name, ["webhook", "--port", str(port)], _linked(fleet, name, environment)))
    _wait_for(f"http://{ports.HOST}:{provider_port}/_sim/health", started[0])
    accounts.misbehave(fleet.simulator, times)
    for child, port in zip(started[1:], webhook_ports.values(), strict=True):
        _wait_for(f"http://{ports.HOST}:{port}/readyz", child)
    for name in SCHEDULERS:
        fleet.start(name, ["run"], _linked(fleet, name, environment))


def _linked(fleet: Fleet, name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Each process reaches Supabase through its own proxy, so that one of them can lose the connection alone."""
    api = fleet.network.connect(f"{name} to Supabase", _port(environment["SUPABASE_URL"]))
    database = fleet.network.connect(f"{name} to PostgreSQL", _port(environment["OUTBOX_DB_URL"]))
    url = environment["OUTBOX_DB_URL"].replace(f":{_port(environment['OUTBOX_DB_URL'])}/", f":{database}/")
    return {**environment, "SUPABASE_URL": f"http://{ports.HOST}:{api}", "OUTBOX_DB_URL": url}


def _port(url: str) -> int:
    port = urlsplit(url).port
    if port is None:
        raise ValueError(f"{url} names no port")
    return port


def _wait_for(url: str, child: Child) -> None:
    def answers() -> bool:
        child.check()
        try:
            return httpx.get(url, timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    if not processes.wait_until(answers, READY_SECONDS):
        raise PartFailed(f"the {child.name} did not answer within {READY_SECONDS:.0f} s: see {child.log}")
