"""The sockets behind requests, so that a fault can break one off: an ASGI app has no other way to reach its connection."""

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

Address = tuple[str, int]


class Lines:
    """Open connections by the client's address."""

    def __init__(self) -> None:
        self._open: dict[Address, asyncio.Transport] = {}

    def add(self, client: Address, transport: asyncio.Transport) -> None:
        self._open[client] = transport

    def remove(self, client: Address) -> None:
        self._open.pop(client, None)

    def hang_up(self, client: Address, *, reset: bool) -> None:
        """Break a connection off: with a TCP reset, or after what was written has gone out."""
        transport = self._open.get(client)
        if transport is None:
            return
        if reset:
            # Closing with a linger time of zero sends RST in place of FIN.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def hang_up_all(self, *, but: Address | None = None) -> None:
        for client, transport in list(self._open.items()):
            if client != but:
                transport.abort()


def protocol(lines: Lines) -> type[asyncio.Protocol]:
    """The HTTP protocol of uvicorn, the fast one where it is installed, that keeps ``lines`` up to date."""
    base: Any = H11Protocol
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        base = HttpToolsProtocol
    except ImportError:
        pass

    class Tracked(base):  # type: ignore[misc]  # which of the two is known only now
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if self.client is not None:
                lines.add(self.client, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self.client is not None:
                lines.remove(self.client)

    return Tracked
