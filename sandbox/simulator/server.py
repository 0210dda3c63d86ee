"""Running the simulator: inside this process for tests, or as a process of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn

from sandbox.listening import listen
from sandbox.simulator.app import Simulator
from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.control import Control
from sandbox.simulator.lines import Lines, protocol
from sandbox.simulator.sinch.plans import PlanSettings
from sandbox.simulator.vonage.applications import ApplicationSettings


class Server(uvicorn.Server):
    """uvicorn without its signal handling: its owner decides when to stop, and learns when it answers."""

    on_start: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, config: uvicorn.Config, lines: Lines) -> None:
        super().__init__(config)
        self._lines = lines
        self._reopening: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._sockets = sockets or []
        self.on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Some callbacks have minutes to wait yet.
        if self._reopening is not None:
            self._reopening.cancel()
        self._lines.hang_up_all()
        for exchange in self.server_state.tasks:
            exchange.cancel()
        await super().shutdown(sockets)

    def stop(self) -> None:
        self.should_exit = True

    def refuse(self, seconds: float, but: tuple[str, int]) -> None:
        """Stop listening for so many seconds (with 0, not at all), and hang up on all clients but one."""
        self._lines.hang_up_all(but=but)
        if not seconds:
            return
        address = self._sockets[0].getsockname()
        for server in self.servers:
            server.close()
        for listener in self._sockets:
            listener.close()
        self._reopening = asyncio.get_running_loop().create_task(self._reopen(seconds, address[0], address[1]))

    async def _reopen(self, seconds: float, host: str, port: int) -> None:
        await asyncio.sleep(seconds)
        listener = listen(host, port)
        protocol_class: Any = self.config.http_protocol_class
        make = partial(protocol_class, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        self._sockets = [listener]
        self.servers = [await asyncio.get_running_loop().create_server(make, sock=listener)]


@dataclass(frozen=True, slots=True)
class Running:
    """A running simulator. ``url`` is the value for ``SINCH_BASE_URL`` and ``VONAGE_BASE_URL``."""

    url: str
    plan: PlanSettings
    application: ApplicationSettings
    control: Control


def make_server(behaviour: Behaviour, plans: Sequence[PlanSettings], applications: Sequence[ApplicationSettings]) -> Server:
    lines = Lines()
    simulator = Simulator(behaviour, plans, applications, lines)
    config = uvicorn.Config(
        simulator,
        http=protocol(lines),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    server = Server(config, lines)
    simulator.refuse = server.refuse
    return server


@contextmanager
def running(
    behaviour: Behaviour | None = None,
    plan: PlanSettings | None = None,
    application: ApplicationSettings | None = None,
) -> Iterator[Running]:
    """A simulator in a thread of this process, on a free port of the loopback interface."""
    plan, application = plan or PlanSettings(), application or ApplicationSettings()
    listener = listen("127.0.0.1", 0)
    server = make_server(behaviour or Behaviour(), [plan], [application])
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="simulator")
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with Control(url) as control:
            control.health()
            yield Running(url, plan, application, control)
    finally:
        server.stop()
        thread.join()
        listener.close()


@contextmanager
def process(*options: str) -> Iterator[Running]:
    """A simulator as a process of its own, on a free port. ``options`` are those of ``outbox simulator``."""
    command = [sys.executable, "-m", "sandbox.simulator", "--port", "0", *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    try:
        url = _announced(child)
        with Control(url) as control:
            yield Running(url, control.plans()[0], control.vonage.applications()[0], control)
    finally:
        child.terminate()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _announced(child: "subprocess.Popen[str]") -> str:
    for line in child.stdout or ():
        name, _, value = line.strip().partition("=")
        if name == "SINCH_BASE_URL":
            return value
    raise RuntimeError(f"the simulator ended with exit code {child.wait()} before it was ready")


def serve(server: Server, listener: socket.socket, on_start: Callable[[], None]) -> None:
    """Run until SIGINT or SIGTERM, calling ``on_start`` once the port listens and the signals are handled."""
    server.on_start = on_start

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        await server.serve(sockets=[listener])

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(main())
