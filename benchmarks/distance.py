"""A network between a process and Supabase: each byte arrives so much later, in order, however many are under way."""

import asyncio
from contextlib import AbstractContextManager, suppress

from benchmarks.link import CHUNK, linked

ROUND_TRIP_SECONDS = 0.04
"""From one region of a cloud to a neighbouring one, which is farther than a worker should be from its database."""
AWAY = f"Supabase {ROUND_TRIP_SECONDS * 1000:.0f} ms away"
"""What a case is called that has this network in between."""


def afar(url: str) -> AbstractContextManager[str]:
    """Give another URL for ``url``, which is on this machine: by that a round trip takes ROUND_TRIP_SECONDS longer."""
    return linked(url, lambda: (_carry, _carry))


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until the source closes, or either side goes away."""
    loop = asyncio.get_running_loop()
    try:
        with suppress(ConnectionError):
            while data := await source.read(CHUNK):
                loop.call_later(ROUND_TRIP_SECONDS / 2, target.write, data)
    finally:
        # After what is still on its way.
        loop.call_later(ROUND_TRIP_SECONDS / 2, target.close)
