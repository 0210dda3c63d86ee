"""Holds callbacks back while the database's schema does not fit this package."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jobs.gateway.errors import GatewayUnavailable
from jobs.schema.compatibility import Fit, Verdict

log = structlog.get_logger()

_AGAIN_SECONDS: Final = 2.0


class SchemaGate:
    """Closed until ``check`` finds that the schema fits, which it asks every ``again`` seconds; open from then on.

    A provider repeats a callback that is answered with 503, so nothing is lost at a closed gate. :meth:`watch` ends if waiting
    cannot help: ``unfit`` then holds the reason.
    """

    def __init__(self, check: Callable[[], Awaitable[Verdict]], *, again: float = _AGAIN_SECONDS) -> None:
        self._check = check
        self._again = again
        self._reason: str | None = "the schema of the database is not known yet"
        self.unfit: str | None = None

    @property
    def reason(self) -> str | None:
        """Why callbacks are held back, or None if they are not."""
        return self._reason

    async def watch(self) -> None:
        """Return once the gate is open, or ``unfit`` is set."""
        while True:
            if await self._is_decided():
                return
            await asyncio.sleep(self._again)

    async def _is_decided(self) -> bool:
        try:
            verdict = await self._check()
        except GatewayUnavailable as error:
            self._hold(str(error))
            return False
        except Exception:
            log.exception("schema.check_failed")
            return False
        if verdict.allows_work:
            self._reason = None
            log.info("schema.fits")
            return True
        self._hold(verdict.message)
        if verdict.fit is Fit.TOO_NEW:
            self.unfit = verdict.message
        return self.unfit is not None

    def _hold(self, reason: str) -> None:
        """Log each reason once."""
        if reason != self._reason:
            self._reason = reason
            log.warning("callbacks.held_back", reason=reason)
