"""Servers on real sockets that answer, cut answers short, stall and close connections."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: object = None, *, length: int | None = None, **headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    fields = {"content-length": str(len(raw) if length is None else length), **headers}
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


class Server:
    """Gives the same answer to every request, and keeps the requests."""

    def __init__(self, speak: Speak | bytes) -> None:
        self.connections = 0
        self.requests: list[tuple[str, bytes]] = []
        self.heard = asyncio.Event()
        self.reset = asyncio.Event()
        self._speak = speak
        self.origin = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                self.requests.append((head.decode(), await reader.readexactly(length)))
                self.heard.set()
                if isinstance(self._speak, bytes):
                    writer.write(self._speak)
                else:
                    await self._speak(reader, writer)
        except ConnectionResetError:
            self.reset.set()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    @property
    def line(self) -> str:
        return self.requests[-1][0].partition("\r\n")[0]


@asynccontextmanager
async def serving(speak: Speak | bytes, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server until the end of the block; with ``tls`` it is called localhost."""
    server = Server(speak)
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls) as listener:
        origin = "http://127.0.0.1" if tls is None else "https://localhost"
        server.origin = f"{origin}:{listener.sockets[0].getsockname()[1]}"
        yield server
        listener.close()


class Cutting:
    """Cuts its only connection after it heard so many bytes and gave these: with a reset, or by closing it."""

    def __init__(self, heard: int, given: bytes, *, resets: bool) -> None:
        self.connections = 0
        self.origin = ""
        self._heard, self._given, self._resets = heard, given, resets
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> "Cutting":
        self._listener = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await reader.readexactly(self._heard)
            writer.write(self._given)
            await writer.drain()
        finally:
            if self._resets:
                writer.transport.abort()
            else:
                writer.close()


async def stall(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 201 X\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def abort(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
