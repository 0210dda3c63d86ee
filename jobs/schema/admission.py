"""Asks a database for its schema before a process works with it."""

from collections.abc import Awaitable, Callable

import structlog

from jobs.schema.compatibility import Fit, Verdict, judge
from jobs.schema.installed import InstalledSchema
from jobs.schema.releases import Releases

log = structlog.get_logger()


class SchemaUnfit(Exception):
    """A process must not work with the database as it is. The text is one line that says what to do."""


class Admission:
    """Compares the versions that ``ask`` answers with those this package knows. Warns once of newer ones that do no harm."""

    def __init__(self, ask: Callable[[], Awaitable[InstalledSchema | None]], known: Releases) -> None:
        self._ask = ask
        self._known = known
        self._warned = False
        self._compared = known.newest

    @property
    def known(self) -> int:
        """The newest version that this package knows."""
        return self._known.newest

    @property
    def compared(self) -> int:
        """The newest version that was compared. Ask again when the database has a newer one."""
        return self._compared

    async def check(self) -> Verdict:
        """Raises :class:`jobs.gateway.errors.GatewayUnavailable` where the database does not answer."""
        installed = await self._ask()
        verdict = judge(self._known, installed)
        if installed is not None:
            self._compared = max(self._compared, installed.newest)
        if verdict.fit is Fit.NEWER and not self._warned:
            self._warned = True
            log.warning("schema.newer", meaning=verdict.message)
        return verdict

    async def require(self) -> None:
        """The same; raises :class:`SchemaUnfit` where the process may not work."""
        verdict = await self.check()
        if not verdict.allows_work:
            raise SchemaUnfit(verdict.message)
