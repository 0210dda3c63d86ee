"""Running the receiver: in a thread of this process for tests, or alone as a command."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from sandbox.listening import listen
from sandbox.receiver.app import Receiver


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: its owner decides when to stop, and learns when it answers."""

    def __init__(self, receiver: Receiver, on_start: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                receiver.app,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._on_start = on_start

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for exchange in self.server_state.tasks:
            exchange.cancel()
        await super().shutdown(sockets)

    def stop(self) -> None:
        self.should_exit = True


@contextmanager
def receiving(*secrets: str) -> Iterator[Receiver]:
    """A receiver in a thread of this process, on a free port of the loopback interface."""
    receiver = Receiver(secrets=list(secrets))
    listener = listen("127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ready = threading.Event()
    server = _Server(receiver, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="receiver")
    thread.start()
    try:
        ready.wait()
        yield receiver
    finally:
        server.stop()
        thread.join()
        listener.close()


def serve(receiver: Receiver, listener: socket.socket, on_start: Callable[[], None]) -> None:
    """Run until SIGINT or SIGTERM, calling ``on_start`` once the port listens."""
    server = _Server(receiver, on_start)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        await server.serve(sockets=[listener])

    asyncio.run(main())
