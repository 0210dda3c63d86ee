"""Tells the database that a process has ended."""

import asyncio
from contextlib import suppress
from typing import Final

from jobs.gateway.errors import GatewayError
from jobs.gateway.gateway import Gateway

_SECONDS: Final = 1.0
_LATE_SECONDS: Final = 0.5
"""After a drain that was cut off: ten seconds after the signal the process has to be gone."""


class Farewell:
    """Says so once: when the last dispatch job of the process has drained, or else when the process closes.

    ``worker`` names the process in the database.

    It only spares operators a line in `outbox status`, so it must not hold up the end of the process.
    """

    def __init__(self, gateway: Gateway, worker: str) -> None:
        self._gateway = gateway
        self._worker = worker
        self._jobs = 0
        self._is_said = False

    def join(self) -> None:
        """One more dispatch job has begun."""
        self._jobs += 1

    async def leave(self) -> None:
        """A dispatch job claims nothing more, and has no request open."""
        self._jobs -= 1
        if self._jobs == 0:
            await self._say(_SECONDS)

    async def close(self) -> None:
        """The process ends, also if its jobs did not drain in time: their open requests are left to recovery."""
        await self._say(_LATE_SECONDS)

    async def _say(self, seconds: float) -> None:
        if self._is_said:
            return
        self._is_said = True
        with suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gateway.end_process(self._worker)
