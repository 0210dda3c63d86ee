"""The alarm for callbacks whose signature does not verify.

Either they are forged, or a configured secret is wrong. In that case all of them are lost, because providers do not repeat a
callback after a 4xx, and the reconcile job has to fetch what they said.
"""

import asyncio
from collections import Counter

import structlog

from jobs.gateway.errors import GatewayError
from jobs.gateway.recorder import Recorder

log = structlog.get_logger()


class Rejections:
    """Counts each rejection, and reports at most once in ``pause`` seconds: forged callbacks must not fill log or database.

    The log has a line for each provider.

    One of several ``workers`` reports its own count, and so much more rarely.
    """

    def __init__(self, recorder: Recorder, *, pause: float = 30.0, workers: int = 1) -> None:
        self._recorder = recorder
        self._pause = pause * workers
        self._counts: Counter[str] = Counter()
        self._unrecorded = 0
        self._reporter: asyncio.Task[None] | None = None

    def note(self, setting: str) -> None:
        """Count one more rejection. ``setting`` gives the secrets that did not verify it."""
        self._counts[setting] += 1
        if self._reporter is None:
            self._reporter = asyncio.create_task(self._report())

    async def aclose(self) -> None:
        """Stop reporting."""
        if self._reporter is not None:
            self._reporter.cancel()
            await asyncio.wait([self._reporter])

    async def _report(self) -> None:
        try:
            while self._counts or self._unrecorded:
                for setting, count in self._counts.items():
                    log.error("callback.rejected", count=count, hint=f"a signature did not verify; check {setting}")
                self._unrecorded += self._counts.total()
                self._counts.clear()
                await self._record()
                await asyncio.sleep(self._pause)
        finally:
            self._reporter = None

    async def _record(self) -> None:
        count, self._unrecorded = self._unrecorded, 0
        try:
            await self._recorder.record_rejected_callbacks(count)
        except GatewayError as error:
            self._unrecorded += count
            log.warning("callback.rejection_not_noted", error=str(error))
