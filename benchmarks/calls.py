"""Counts and times a process's calls of database functions on their way to the Supabase API."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from benchmarks.link import CHUNK, Carry, linked

_REQUEST: Final = re.compile(rb"[A-Z]+ /(?:rest/v1/rpc/(\w+))?")


@dataclass(slots=True)
class Call:
    """One call of a function: ``began`` at its request and ``ended`` at its answer's last byte, by `monotonic()`."""

    function: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Calls:
    """``url`` is the URL to give the process instead of Supabase's. ``made`` are its calls so far."""

    url: str
    made: list[Call] = field(default_factory=list)

    def of(self, pattern: str) -> list[Call]:
        """The calls of functions whose names begin with the pattern."""
        return [call for call in self.made if re.match(pattern, call.function)]


@contextmanager
def counted(url: str) -> Iterator[Calls]:
    """Yield another URL for the API at ``url``, and the calls made through it."""
    made: list[Call] = []
    with linked(url, lambda: _ways(made)) as other:
        yield Calls(other, made)


def _ways(made: list[Call]) -> tuple[Carry, Carry]:
    """One connection. HTTP/1.1 without pipelining has one request in flight on it, so an answer belongs to the last request."""
    last: list[Call] = []

    async def there(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        async for data in _read(source, target):
            if found := _REQUEST.match(data):
                now = monotonic()
                last[:] = [Call(found[1].decode(), now, now)] if found[1] else []
                made.extend(last)

    async def back(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        async for _ in _read(source, target):
            for call in last:
                call.ended = monotonic()

    return there, back


async def _read(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    """Each chunk. It is passed on when the next one is requested."""
    try:
        with suppress(ConnectionError):
            while data := await source.read(CHUNK):
                yield data
                target.write(data)
    finally:
        target.close()
