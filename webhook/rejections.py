"""The alarm for callbacks whose signature does not verify.

Either they are forged, or a configured secret is wrong. In that case all of them are lost, because providers do not repeat a
callback after a 4xx, and the reconcile job has to fetch what they said.
"""

import asyncio

import structlog

from jobs.gateway.errors import GatewayError
from jobs.gateway.recorder import Recorder

log = structlog.get_logger()


class Rejections:
    """Counts each rejection, and reports at most once in ``pause`` seconds: forged callbacks must not fill log or database.

    One of several ``workers`` reports its own count, and so much more rarely.
    """

    def __init__(self, recorder: Recorder, *, pause: float = 30.0, workers: int = 1) -> None:
        self._recorder = recorder
        self._pause = pause * workers
        self._count = 0
        self._reporter: asyncio.Task[None] | None = None

    def note(self) -> None:
        """Count one more rejection."""
        self._count += 1
        if self._reporter is None:
            self._reporter = asyncio.create_task(self._report())

    async def aclose(self) -> None:
        """Stop reporting."""
        if self._reporter is not None:
            self._reporter.cancel()
            await asyncio.wait([self._reporter])

    async def _report(self) -> None:
        try:
            while self._count:
                count, self._count = self._count, 0
                log.error("callback.rejected", count=count, hint="a signature did not verify; check SINCH_WEBHOOK_SECRETS")
                await self._record(count)
                await asyncio.sleep(self._pause)
        finally:
            self._reporter = None

    async def _record(self, count: int) -> None:
        try:
            await self._recorder.record_rejected_callbacks(count)
        except GatewayError as error:
            self._count += count
            log.warning("callback.rejection_not_noted", error=str(error))
