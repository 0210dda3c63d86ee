"""Holds callbacks back while the database's schema does not fit this package."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jobs.gateway.errors import GatewayUnavailable
from jobs.runtime.outage import Outage
from jobs.schema.compatibility import Fit, Verdict

log = structlog.get_logger()

_AGAIN_SECONDS: Final = 2.0
_ONCE_OPEN_SECONDS: Final = 30.0


class SchemaGate:
    """Closed until ``check`` finds that the schema fits, which it asks every ``again`` seconds.

    A provider repeats a callback that is answered with 503, so nothing is lost at a closed gate. Once open, it asks every
    ``once_open`` seconds, and only a breaking version closes it: an outage, or an API that reloads its schema, must not fail
    callbacks. :meth:`watch` ends if waiting cannot help: ``unfit`` then holds the reason. ``decided`` is set once the database
    has answered, whether the gate is then open or not.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[Verdict]],
        *,
        again: float = _AGAIN_SECONDS,
        once_open: float = _ONCE_OPEN_SECONDS,
    ) -> None:
        self._check = check
        self._again = again
        self._once_open = once_open
        self.decided = asyncio.Event()
        self._reason: str | None = "the schema of the database is not known yet"
        self._failure: str | None = None
        self._supabase = Outage("supabase.away", ended="supabase.back")
        self.unfit: str | None = None

    @property
    def reason(self) -> str | None:
        """Why callbacks are held back, or None if they are not."""
        return self._reason

    async def watch(self) -> None:
        """Return once ``unfit`` is set."""
        while True:
            await self._look()
            if self.unfit is not None:
                return
            await asyncio.sleep(self._once_open if self._reason is None else self._again)

    async def _look(self) -> None:
        try:
            verdict = await self._check()
        except GatewayUnavailable as error:
            self._failure = None
            # The words of `outbox run`, also where the gate stays open.
            self._supabase.failed(job="schema", error=str(error))
            self._hold(str(error))
        except Exception as error:
            # Once for each error. Callbacks are held back, or not, as before.
            if repr(error) != self._failure:
                self._failure = repr(error)
                log.exception("schema.check_failed")
        else:
            self._failure = None
            self._supabase.recovered(job="schema")
            self._decide(verdict)

    def _decide(self, verdict: Verdict) -> None:
        if verdict.fit is Fit.TOO_NEW:
            self.unfit = self._reason = verdict.message
            log.error("schema.unfit", meaning=verdict.message)
        elif not verdict.allows_work:
            self._hold(verdict.message)
        elif self._reason is not None:
            self._reason = None
            log.info("schema.fits")
        self.decided.set()

    def _hold(self, reason: str) -> None:
        """Log each reason once. An open gate stays open."""
        if self._reason is not None and reason != self._reason:
            self._reason = reason
            log.warning("callbacks.held_back", reason=reason)
