"""A network between a process and Supabase: each byte arrives so much later, in order, however many are under way."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from sandbox.local.ports import HOST

ROUND_TRIP_SECONDS = 0.04
"""From one region of a cloud to a neighbouring one, which is farther than a worker should be from its database."""
AWAY = f"Supabase {ROUND_TRIP_SECONDS * 1000:.0f} ms away"
"""What a case is called that has this network in between."""
_CHUNK = 1 << 18


@contextmanager
def afar(url: str) -> Iterator[str]:
    """Give another URL for ``url``, which is on this machine: by that a round trip takes ROUND_TRIP_SECONDS longer."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="distance")
    thread.start()
    link = _Link(urlsplit(url).port or 80)
    try:
        yield f"http://{HOST}:{asyncio.run_coroutine_threadsafe(link.listen(), loop).result()}"
    finally:
        asyncio.run_coroutine_threadsafe(link.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Link:
    def __init__(self, port: int) -> None:
        self._port = port
        self._flows: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, HOST, 0, limit=_CHUNK)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        for flow in self._flows:
            flow.cancel()
        await asyncio.gather(*self._flows, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(HOST, self._port, limit=_CHUNK)
        for source, target in ((reader, there_writer), (there_reader, writer)):
            flow = asyncio.create_task(_carry(source, target))
            self._flows.add(flow)
            flow.add_done_callback(self._flows.discard)


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until the source closes, or either side goes away."""
    loop = asyncio.get_running_loop()
    try:
        with suppress(ConnectionError):
            while data := await source.read(_CHUNK):
                loop.call_later(ROUND_TRIP_SECONDS / 2, target.write, data)
    finally:
        # After what is still on its way.
        loop.call_later(ROUND_TRIP_SECONDS / 2, target.close)
