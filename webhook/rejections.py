"""Alarm for callbacks that claim to be a provider's and are not believed.

If they are forged, that is worth knowing. If a secret is wrong, every one of them is lost, for providers do not repeat after a
4xx: so reconciliation has to ask for what they said.
"""

import asyncio

import structlog

from jobs.gateway.errors import GatewayError
from jobs.gateway.recorder import Recorder

log = structlog.get_logger()


class Rejections:
    """Counts at once, tells at most every ``pause`` seconds: whoever forges may not fill the log or the database."""

    def __init__(self, recorder: Recorder, *, pause: float = 30.0) -> None:
        self._recorder = recorder
        self._pause = pause
        self._count = 0
        self._teller: asyncio.Task[None] | None = None

    def note(self) -> None:
        """One more."""
        self._count += 1
        if self._teller is None:
            self._teller = asyncio.create_task(self._tell())

    async def aclose(self) -> None:
        """Stop telling."""
        if self._teller is not None:
            self._teller.cancel()
            await asyncio.wait([self._teller])

    async def _tell(self) -> None:
        try:
            while self._count:
                count, self._count = self._count, 0
                log.error("callback.rejected", count=count, hint="a signature did not verify; check SINCH_WEBHOOK_SECRETS")
                await self._tell_database(count)
                await asyncio.sleep(self._pause)
        finally:
            self._teller = None

    async def _tell_database(self, count: int) -> None:
        try:
            await self._recorder.record_rejected_callbacks(count)
        except GatewayError as error:
            self._count += count
            log.warning("callback.rejection_not_noted", error=str(error))
