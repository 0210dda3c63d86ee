"""Passes the items of callbacks to the database."""

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeVar

import structlog

from jobs.gateway.errors import GatewayRefused, GatewayUnavailable
from jobs.gateway.halves import refused, without_raw
from jobs.gateway.recorder import Recorder
from jobs.providers.base import CallbackItem, Inbound, Report, Summary, Unusable
from jobs.runtime.outage import Outage
from webhook.groups import CALLS, WAITING, GroupCommit

log = structlog.get_logger()
Kind = TypeVar("Kind", Report, Inbound, Summary, Unusable)
_SOURCE = "webhook"
_NONE_REPEATED: Final = frozenset[int]()
"""Only reports are told apart."""


class Intake:
    """Sorts items by kind; each kind has its own group commit.

    One of several ``workers`` takes its part of the limits: all of them wait for one database.
    """

    def __init__(self, recorder: Recorder, *, workers: int = 1) -> None:
        self._recorder = recorder
        limits = {"waiting": max(1, WAITING // workers), "calls": math.ceil(CALLS / workers)}
        self._outage = Outage("database.away", ended="database.back")
        self._reports = GroupCommit[Report](
            commit=self._record_reports,
            order=lambda report: (report.batch_id, report.recipient),
            set_aside=self._keep_refused,
            **limits,
        )
        self._inbounds = GroupCommit[Inbound](
            commit=self._record_inbounds,
            order=lambda inbound: (inbound.sender, inbound.inbound_id),
            set_aside=self._keep_refused,
            **limits,
        )
        self._summaries = GroupCommit[Summary](
            commit=self._reconcile_soon, order=lambda summary: summary.batch_id, set_aside=self._keep_refused, **limits
        )
        self._unusables = GroupCommit[Unusable](
            commit=self._keep_unusables, order=lambda unusable: unusable.raw, set_aside=_give_up, **limits
        )

    async def take(self, items: Sequence[CallbackItem]) -> bool:
        """Return when all items are committed: whether all are reports that had been committed before.

        Raises :class:`webhook.groups.Overloaded` or the error of the database call. Some items may be committed then; taking
        them again does no harm.
        """
        repeated = False
        try:
            if reports := _of(Report, items):
                repeated = await self._reports.add(reports) and len(reports) == len(items)
            if len(reports) < len(items):
                await self._take_rest(items)
        except GatewayUnavailable as error:
            self._outage.failed(error=str(error))
            raise
        self._outage.recovered()
        return repeated

    async def _take_rest(self, items: Sequence[CallbackItem]) -> None:
        if inbounds := _of(Inbound, items):
            await self._inbounds.add(inbounds)
        if summaries := _of(Summary, items):
            await self._summaries.add(summaries)
        if unusables := _of(Unusable, items):
            await self._unusables.add(unusables)

    async def aclose(self) -> None:
        """Wait until the waiting items are committed."""
        groups = (self._reports, self._inbounds, self._summaries, self._unusables)
        await asyncio.gather(*(group.aclose() for group in groups))

    async def _record_reports(self, reports: Sequence[Report]) -> frozenset[int]:
        return await self._recorder.record_reports(reports, source=_SOURCE)

    async def _record_inbounds(self, inbounds: Sequence[Inbound]) -> frozenset[int]:
        await self._recorder.record_inbounds(inbounds, source=_SOURCE)
        return _NONE_REPEATED

    async def _reconcile_soon(self, summaries: Sequence[Summary]) -> frozenset[int]:
        await self._recorder.reconcile_soon(summaries)
        return _NONE_REPEATED

    async def _keep_unusables(self, unusables: Sequence[Unusable]) -> frozenset[int]:
        await self._recorder.keep_callbacks(unusables)
        log.error("callback.unusable", items=len(unusables), why=unusables[0].why)
        return _NONE_REPEATED

    async def _keep_refused(self, item: Report | Inbound | Summary, error: GatewayRefused) -> None:
        await self._recorder.keep_callbacks([refused(item, error)])
        log.error("callback.refused", kind=type(item).__name__.lower(), code=error.code, error=str(error))
        with suppress(GatewayRefused):
            if isinstance(item, Report):
                await self._record_reports([without_raw(item)])
            elif isinstance(item, Inbound):
                await self._record_inbounds([without_raw(item)])


def _of(kind: type[Kind], items: Sequence[CallbackItem]) -> list[Kind]:
    return [item for item in items if isinstance(item, kind)]


async def _give_up(_unusable: Unusable, error: GatewayRefused) -> None:
    """The database refuses the item even as bytes: raise, so that the provider tries again later."""
    raise error
