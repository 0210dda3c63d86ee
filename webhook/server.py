"""The HTTP server: uvicorn, with limits on connections. It accepts connections itself.

A loop that accepts everything at once, as asyncio's and uvloop's do, runs out of files in a burst: asyncio then accepts nothing
for a second, uvloop drops whatever else waits, and `/healthz` with it.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn

from webhook.connections import Connections
from webhook.limits import Limits, open_files
from webhook.protocols import LimitedH11

_MOST_AT_ONCE: Final = 128
"""Connections accepted in one turn of the event loop, so that a turn stays short."""
_RECEIVE_BUFFER: Final = 32 * 1024
"""Bytes. Linux reserves twice as much, for its own use too."""
_TURN_SECONDS: Final = 0.001
_PAUSE_SECONDS: Final = 0.1
_OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class LimitedConfig(uvicorn.Config):
    """A configuration whose connections are limited, in as many files as the process may open.

    ``parser`` is ``httptools``, ``h11``, or ``auto`` for the faster one that is installed.
    """

    def __init__(self, app: Any, *, limits: Limits, parser: str = "auto", **how: Any) -> None:
        self.connections = Connections(limits.within(open_files(limits.connections)))
        make: Any = _protocol_factory(self.connections, parser)
        super().__init__(app, http=make, **how)


class LimitedServer(uvicorn.Server):
    """Accepts a few connections at a time."""

    config: LimitedConfig

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting from ``sockets``."""
        await super().startup(sockets=[])
        for listener in sockets or ():
            self.servers.append(_Acceptor(listener, self._protocol, self.config.connections))  # type: ignore[arg-type]

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return protocol


class _Acceptor:
    """Accepts connections from one listener until it is closed. uvicorn closes it as it would an asyncio server."""

    def __init__(self, listener: socket.socket, make: Callable[[], asyncio.Protocol], connections: Connections) -> None:
        self._listener = listener
        self._make = make
        self._connections = connections
        listener.setblocking(False)
        # Accepted connections inherit this, and with it the most that is read of one before the others have their turn.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._task = asyncio.create_task(self._accept_on(), name="accept")

    def close(self) -> None:
        self._task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.wait([self._task])

    async def _accept_on(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            most = min(self._connections.acceptable, _MOST_AT_ONCE)
            if most < 1:
                await asyncio.sleep(_TURN_SECONDS)
                continue
            try:
                batch = [(await loop.sock_accept(self._listener))[0]]
            except OSError as error:
                await self._recover(error)
                continue
            batch += self._accept_waiting(most - 1)
            await asyncio.gather(
                *(loop.connect_accepted_socket(self._make, client) for client in batch), return_exceptions=True
            )

    def _accept_waiting(self, most: int) -> list[socket.socket]:
        accepted: list[socket.socket] = []
        try:
            while len(accepted) < most:
                client, _ = self._listener.accept()
                client.setblocking(False)
                accepted.append(client)
        except OSError:
            # Nothing waits, or the next call says what is wrong.
            pass
        return accepted

    async def _recover(self, error: OSError) -> None:
        """Other parts of the process took the spare files: end some connections. Any other error is about one client."""
        if error.errno in _OUT_OF_FILES:
            self._connections.make_room(self._connections.limits.spare_connections)
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            await asyncio.sleep(_TURN_SECONDS)


def _protocol_factory(connections: Connections, parser: str) -> Callable[..., asyncio.Protocol]:
    limited: Any = LimitedH11
    if parser != "h11":
        try:
            from webhook.httptools_protocol import LimitedHttptools

            limited = LimitedHttptools
        except ImportError:
            if parser != "auto":
                raise

    def make(**how: Any) -> asyncio.Protocol:
        protocol: asyncio.Protocol = limited(connections, **how)
        return protocol

    return make
