"""A network between a process and Supabase: each byte arrives later by a fixed time, in order, however many are in flight."""

import asyncio
from contextlib import AbstractContextManager, suppress

from benchmarks.link import CHUNK, linked

ROUND_TRIP_SECONDS = 0.04
"""From one region of a cloud to a neighbouring one, which is farther than a worker should be from its database."""
AWAY = f"Supabase {ROUND_TRIP_SECONDS * 1000:.0f} ms away"
"""The name of a case with this network in between."""


def afar(url: str) -> AbstractContextManager[str]:
    """Yield another URL for ``url``, a server on this machine; a round trip to it takes ROUND_TRIP_SECONDS longer."""
    return linked(url, lambda: (_carry, _carry))


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until the source closes, or either side disconnects."""
    loop = asyncio.get_running_loop()
    try:
        with suppress(ConnectionError):
            while data := await source.read(CHUNK):
                loop.call_later(ROUND_TRIP_SECONDS / 2, target.write, data)
    finally:
        # After the bytes that are still in flight.
        loop.call_later(ROUND_TRIP_SECONDS / 2, target.close)
