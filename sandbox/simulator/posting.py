"""A small HTTP/1.1 client that only posts: kept-alive connections, one request at a time on each.

General clients spend more on a request than the receiver does; a load of thousands of callbacks a second must not be
limited by the one who makes it.
"""

import asyncio
import base64
import ssl
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, urlsplit

_HEAD_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """The destination of a URL. ``head`` holds the request line and the headers that never change."""

    host: str
    port: int
    tls: bool
    head: bytes


@lru_cache(maxsize=256)
def target(url: str) -> Target:
    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}", "Content-Type: application/json"]
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
    return Target(host, parts.port or (443 if tls else 80), tls, "\r\n".join(lines).encode())


class Poster:
    """Posts bodies and reads the status. Free connections wait here for the next post to the same host."""

    def __init__(self) -> None:
        self._free: defaultdict[Target, list[Connection]] = defaultdict(list)

    async def post(self, url: str, headers: dict[str, str], body: bytes, timeout: float) -> int:  # noqa: ASYNC109  a total
        """The status of the answer. Raises OSError if there was none within ``timeout`` seconds."""
        place = target(url)
        connection = self._take(place)
        try:
            async with asyncio.timeout(timeout):
                if connection is None:
                    connection = await Connection.open(place)
                status = await connection.post(headers, body)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            _close(connection)
            raise OSError(f"no usable answer: {error}") from error
        except BaseException:
            _close(connection)
            raise
        if connection.reusable:
            self._free[place].append(connection)
        else:
            connection.close()
        return status

    def close(self) -> None:
        for connections in self._free.values():
            for connection in connections:
                connection.close()
        self._free.clear()

    def _take(self, place: Target) -> "Connection | None":
        free = self._free[place]
        while free:
            connection = free.pop()
            if connection.reusable:
                return connection
            connection.close()
        return None


class Connection:
    """One socket."""

    def __init__(self, place: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self._keep = True

    @classmethod
    async def open(cls, place: Target) -> "Connection":
        tls = ssl.create_default_context() if place.tls else None
        reader, writer = await asyncio.open_connection(place.host, place.port, ssl=tls, limit=_HEAD_LIMIT)
        return cls(place, reader, writer)

    @property
    def reusable(self) -> bool:
        return self._keep and not self._reader.at_eof() and not self._writer.is_closing()

    async def post(self, headers: dict[str, str], body: bytes) -> int:
        lines = "".join([f"\r\n{name}: {value}" for name, value in headers.items()])
        self._writer.write(b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (self._place.head, lines.encode(), len(body), body))
        await self._writer.drain()
        return await self._answer()

    def close(self) -> None:
        self._writer.transport.abort()

    async def _answer(self) -> int:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        fields = dict(line.split(":", 1) for line in head[1:] if ":" in line)
        length = fields.get("content-length", "").strip()
        if length:
            await self._reader.readexactly(int(length))
        elif status not in (204, 304):
            # Chunked or until the end of the connection: too rare to keep the connection for.
            self._keep = False
        if "close" in fields.get("connection", ""):
            self._keep = False
        return status


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
