"""A server that answers 204 to every request and does nothing else: ``python -m benchmarks.event_receiver`` prints its port.

An app's own server runs elsewhere, so what this one costs is no cost of events.
"""

import asyncio
import signal
from typing import cast

_ANSWER = b"HTTP/1.1 204 X\r\n\r\n"
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, found, rest = self._received.partition(_END_OF_HEAD)
            lower = head.lower()
            at = lower.find(_LENGTH)
            length = int(lower[at + len(_LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0
            if not found or len(rest) < length:
                return
            self._received = rest[length:]
            self._transport.write(_ANSWER)


async def serve() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve())
