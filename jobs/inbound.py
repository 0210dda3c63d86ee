"""Fetches messages from phones that no callback brought, because a STOP must not depend on one callback."""

from collections.abc import Sequence
from datetime import timedelta

from jobs.gateway.gateway import Gateway
from jobs.gateway.pages import Pages
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.values import Plan, Window
from jobs.providers.base import Inbound, Provider, ProviderError
from jobs.runtime.clocks import Clocks, monotonic
from jobs.runtime.job import Job
from jobs.runtime.settings import EngineSettings

_DATABASE_OVERLAP = timedelta(minutes=10)
"""By how much the database has two windows overlap."""


class InboundPolling(Job):
    """The inbound job of one plan. It reads the provider's list in overlapping windows, one process at a time."""

    name = "inbound"

    def __init__(
        self,
        *,
        gateway: Gateway,
        provider: Provider,
        plan: Plan,
        settings: EngineSettings,
        outage: ProviderOutage,
        clocks: Clocks,
    ) -> None:
        # At each tick it says that it runs. The database gives it a window when one is due.
        self.interval = settings.reconcile_interval_seconds
        self._every = max(self.interval, provider.inbounds_every.total_seconds())
        self._lag = provider.inbounds_lag
        self._gateway = gateway
        self._provider = provider
        self._plan = plan
        self._outage = outage
        self._clocks = clocks
        self._deadline = settings.lease_seconds / 3
        self._pages = Pages(gateway)

    async def tick(self) -> None:
        window = await self._gateway.claim_inbound_window(self._plan, interval=self._every)
        if window is None:
            return
        window = self._by_provider(window)
        try:
            finished = await self._read(window)
        except ProviderError as error:
            await self._outage.unanswered(self.name, error)
            return
        if finished:
            await self._gateway.finish_inbound_window(self._plan, window)

    def _by_provider(self, window: Window) -> Window:
        """The window up to now by the provider's clock, which dates the messages. The database remembers that end.

        It overlaps the last one by the lag of the listing, and holds at least that: the end of the last window may be of a
        clock that was ahead.
        """
        end = self._clocks.provider_latest(monotonic()) or window.end
        return Window(start=min(window.start + _DATABASE_OVERLAP, end) - self._lag, end=end)

    async def _read(self, window: Window) -> bool:
        """Record every page. False if that was not possible; the next window then starts where this one did.

        The plan's share for polling may have run out, or a page could not be read. The claim of the window has drawn the
        request for the first page.
        """
        reading = await self._pages.read(
            lambda page: self._provider.inbounds(start=window.start, end=window.end, page=page, deadline=self._deadline),
            record=self._record,
            may_go_on=lambda: self._gateway.draw_requests(self._plan, "poll"),
        )
        if reading.error is None:
            self._outage.answered(self.name)
        else:
            await self._outage.unanswered(self.name, reading.error)
        return reading.whole

    async def _record(self, inbounds: Sequence[Inbound]) -> None:
        await self._gateway.record_inbounds(inbounds, source="reconcile")
