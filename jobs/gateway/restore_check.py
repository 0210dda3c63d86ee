"""Finds out from the provider's list whether the database was restored from a backup."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import Final

import structlog

from jobs.gateway.adopting import KNOWN, UNKNOWN
from jobs.gateway.errors import FunctionMissing
from jobs.gateway.gateway import Gateway
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.values import Plan
from jobs.providers.base import ListedReference, Provider, ProviderError
from jobs.runtime.outage import Outage

log = structlog.get_logger()

LISTED: Final = timedelta(days=14)
"""How far the provider's list reaches back."""
_BEFORE_NEWEST_KNOWN: Final = timedelta(minutes=15)
"""How far back a reading goes beyond the newest request that the database knows."""
_PAGES_AT_START: Final = 20
_PAGES_AT_RECONCILE: Final = 2
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_NOTE_SECONDS: Final = 10.0
_NAME: Final = "restore check"


class RestoreCheck:
    """Reads the newest requests in the provider's list, and asks the database for their references.

    A reference of this installation that the database does not know stops all sending (the database does that). An account
    claims nothing until one reading of its list has succeeded, and one of each other account's list was tried: after a restore,
    the first claim would send messages a second time, also those that another account sent. ``project`` is the host of the
    project's URL. If the database does not send from that project, claims bring nothing, so they need no reading. Without
    ``has_list`` there is nothing to read.
    """

    def __init__(
        self,
        *,
        gateway: Gateway,
        provider: Provider,
        plan: Plan,
        outage: ProviderOutage,
        deadline: float,
        project: str | None = None,
        has_list: bool = True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._gateway = gateway
        self._provider = provider
        self._plan = plan
        self._outage = outage
        self._deadline = deadline
        self._project = project
        self._has_list = has_list
        self._clock = clock
        self._waiting = Outage("sending.waits", ended="sending.begins")
        self._restored = Outage("database.restored")
        self._pause = _FIRST_PAUSE_SECONDS
        self._again_at = self._note_at = 0.0
        self._reading = asyncio.Lock()
        self._is_tried = self._is_read = False
        self._round = 0
        self.passed = False
        """Whether the account may claim, since the start of the process, or since the database was away."""
        self.others: tuple[RestoreCheck, ...] = ()
        """The checks of the process's other accounts."""

    async def allows_claims(self) -> bool:
        """Read the lists that have not been read. False if this account's cannot be read now; further calls try again.

        Claims wait for no provider but their own. Raises :class:`jobs.gateway.errors.GatewayUnavailable`.
        """
        if not self.passed and self._clock() >= self._again_at:
            if await self._gateway.check_references(self._plan, [], project=self._project) is None:
                return True
            began = self._round
            if await self._read_own():
                for one in self.others:
                    await one.read_for_others()
                self.passed = began == self._round
            if self.passed:
                self._waiting.recovered(plan=self._plan.plan)
        if not self.passed:
            await self._note_waiting()
        return self.passed

    async def read_for_others(self) -> None:
        """Read the list, unless that was tried. If it cannot be read, the account's own dispatch job goes on trying."""
        async with self._reading:
            if not self._is_tried:
                await self._try_to_read()
        if not self._is_read:
            log.warning(
                "restore_check.left_out", plan=self._plan.plan, meaning="others begin to send before this plan's list is read"
            )

    def begin_again(self) -> None:
        """Have the lists read before the next claim, because the database did not answer: it may be restored by then.

        What this process saw of it need not show that, if other processes made the last requests.
        """
        if self.passed:
            for one in (self, *self.others):
                one.forget()

    def forget(self) -> None:
        """The list has to be read again."""
        self.passed = self._is_tried = self._is_read = False
        self._pause, self._again_at = _FIRST_PAUSE_SECONDS, 0.0
        self._round += 1

    async def look_again(self) -> None:
        """Read the newest requests again. Raises ProviderError if the list cannot be read."""
        if self.passed:
            try:
                await self._read(pages=_PAGES_AT_RECONCILE, kind="poll")
            except _NotNow:
                log.debug("restore_check.out_of_requests", plan=self._plan.plan)

    async def _note_waiting(self) -> None:
        """Let operators see that the dispatch job runs: without a claim, nothing else shows it."""
        if self._clock() < self._note_at:
            return
        self._note_at = self._clock() + _NOTE_SECONDS
        try:
            await self._gateway.note_waiting(self._plan)
        except FunctionMissing:
            self._note_at = inf  # The database has an older schema.

    async def _read_own(self) -> bool:
        async with self._reading:
            if not self._is_read and self._clock() >= self._again_at:
                await self._try_to_read()
        return self._is_read

    async def _try_to_read(self) -> None:
        began, is_read = self._round, False
        try:
            if self._has_list:
                await self._read(pages=_PAGES_AT_START, kind="lookup")
            is_read = True
        except ProviderError as error:
            await self._outage.unanswered(_NAME, error)
            self._wait(error.error, error.retry_after)
        except _NotNow:
            self._wait("the plan allows no request now", None)
        # The database may have been away meanwhile.
        if began == self._round:
            self._is_tried, self._is_read = True, is_read

    def _wait(self, why: str, seconds: float | None) -> None:
        self._waiting.failed(
            plan=self._plan.plan, error=why, meaning="until the provider's list can be read, a restore cannot be ruled out"
        )
        self._again_at = self._clock() + (seconds or self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    async def _read(self, *, pages: int, kind: str) -> None:
        """Read until a little before the newest request that the database knows, at most ``pages`` pages of 100."""
        start = datetime.now(UTC) - LISTED
        enough: datetime | None = None
        for page in range(pages):
            if not await self._gateway.draw_requests(self._plan, kind):
                raise _NotNow
            listing = await self._provider.references(start=start, page=page, deadline=self._deadline)
            self._outage.answered(_NAME)
            verdicts = await self._gateway.check_references(self._plan, listing.items, project=self._project)
            if verdicts is None:
                raise _NotNow
            if UNKNOWN in verdicts:
                self._restored.failed(plan=self._plan.plan, meaning="nothing is sent until outbox adopt was run")
                return
            times = [item.created_at for item in listing.items if item.created_at is not None]
            if enough is None:
                enough = _newest_known(listing.items, verdicts)
            if listing.last or (enough is not None and times and min(times) < enough - _BEFORE_NEWEST_KNOWN):
                return
        log.debug("restore_check.bounded", plan=self._plan.plan, pages=pages)


def _newest_known(items: Sequence[ListedReference], verdicts: Sequence[str]) -> datetime | None:
    known = (item.created_at for item, verdict in zip(items, verdicts, strict=True) if verdict == KNOWN)
    return max((at for at in known if at is not None), default=None)


class _NotNow(Exception):
    """The plan allows no request now, or the database was just bound to another project."""
