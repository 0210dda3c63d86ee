"""Tells the database that a process has ended."""

import asyncio
from contextlib import suppress
from typing import Final

from jobs.gateway.errors import GatewayError
from jobs.gateway.gateway import Gateway

_SECONDS: Final = 1.0


class Farewell:
    """Says so once the last dispatch job of the process has drained. ``worker`` names the process in the database.

    It only spares operators a line in `outbox status`, so it must not hold up the end of the process.
    """

    def __init__(self, gateway: Gateway, worker: str) -> None:
        self._gateway = gateway
        self._worker = worker
        self._jobs = 0

    def join(self) -> None:
        """One more dispatch job has begun."""
        self._jobs += 1

    async def leave(self) -> None:
        """A dispatch job claims nothing more, and has no request open."""
        self._jobs -= 1
        if self._jobs == 0:
            with suppress(GatewayError, TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    await self._gateway.end_process(self._worker)
