"""A network link between a process and a server on this machine, whose bytes our own code carries."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from sandbox.local.ports import HOST

CHUNK: Final = 1 << 18
Carry = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
"""Carries one direction of a connection until its source closes."""
Ways = Callable[[], tuple[Carry, Carry]]
"""Called once for each connection. Returns the carriers of its bytes to the server and back."""


@contextmanager
def linked(url: str, ways: Ways) -> Iterator[str]:
    """Yield another URL for ``url``, a server on this machine; ``ways`` carries the bytes of its connections."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="link")
    thread.start()
    link = _Link(urlsplit(url).port or 80, ways)
    try:
        yield f"http://{HOST}:{asyncio.run_coroutine_threadsafe(link.listen(), loop).result()}"
    finally:
        asyncio.run_coroutine_threadsafe(link.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Link:
    def __init__(self, port: int, ways: Ways) -> None:
        self._port = port
        self._ways = ways
        self._flows: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, HOST, 0, limit=CHUNK)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        for flow in self._flows:
            flow.cancel()
        await asyncio.gather(*self._flows, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(HOST, self._port, limit=CHUNK)
        there, back = self._ways()
        for flow in (there(reader, there_writer), back(there_reader, writer)):
            task = asyncio.create_task(flow)
            self._flows.add(task)
            task.add_done_callback(self._flows.discard)
