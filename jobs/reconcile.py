"""Fetches the delivery reports that no callback brought."""

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

import structlog

from jobs.gateway.gateway import Gateway
from jobs.gateway.halves import record_page
from jobs.gateway.pages import Pages
from jobs.gateway.provider_outage import ProviderOutage
from jobs.gateway.restore_check import RestoreCheck
from jobs.gateway.values import Plan, Window
from jobs.providers.base import Provider, ProviderError, Report, Unusable
from jobs.runtime.clocks import Clocks
from jobs.runtime.job import FALLBACK_INTERVAL_SECONDS, Job
from jobs.runtime.settings import EngineSettings

log = structlog.get_logger()

_DISPATCHES_AT_ONCE: Final = 200
_REPORTS_A_CALL: Final = 1000
_MOST_UNANSWERED: Final = 3
"""Questions in a row without an answer that end a tick. Each of them may take a whole deadline."""
_Question = tuple[Callable[[], Awaitable[bool]], list[str]]
"""A request to the provider, which returns whether its answer was whole, and the batches that it is about."""


class Reconciliation(Job):
    """The reconcile job of one plan. With ``restores`` it also looks for signs of a restored database.

    A provider's feed of finished reports covers many small batches in one listing. The job asks by id for big batches, for
    those that the feed did not cover, and for all where the provider has no feed.
    """

    name = "reconcile"

    def __init__(
        self,
        *,
        gateway: Gateway,
        provider: Provider,
        plan: Plan,
        settings: EngineSettings,
        outage: ProviderOutage,
        clocks: Clocks,
        restores: RestoreCheck | None = None,
    ) -> None:
        self.interval = max(FALLBACK_INTERVAL_SECONDS, settings.reconcile_interval_seconds)
        self._gateway = gateway
        self._provider = provider
        self._plan = plan
        self._outage = outage
        self._restores = restores
        self._clocks = clocks
        self._deadline = settings.lease_seconds / 3
        self._pages = Pages(gateway)

    async def tick(self) -> None:
        try:
            while await self._reconcile():
                pass
            if self._restores is not None:
                await self._restores.look_again()
        except ProviderError as error:
            # A later tick asks for the rest.
            await self._outage.unanswered(self.name, error)
        except _OutOfRequests:
            log.info("reconcile.out_of_requests", plan=self._plan.plan)

    async def _reconcile(self) -> bool:
        """Ask for some of the missing reports. Returns whether more are due."""
        missing = await self._gateway.claim_reconciliation(self._plan, limit=_DISPATCHES_AT_ONCE)
        by_batch = [*missing.batches] if self._provider.has_feed else [*missing.batches, *missing.by_feed]
        # In random order: otherwise the same few batches without an answer would come first each time.
        random.shuffle(by_batch)
        questions: list[_Question] = [
            (partial(self._read_batches, some), some) for some in _groups(by_batch, self._provider.batches_a_question)
        ]
        if missing.feed is not None and self._provider.has_feed:
            questions.insert(0, (partial(self._read_feed, missing.feed), list(missing.by_feed)))
        await self._go_through(questions)
        return missing.more

    async def _go_through(self, questions: Sequence[_Question]) -> None:
        """Ask each question. One without an answer delays no other, as long as the provider answers some.

        Raises the last ProviderError if the provider answered none, if an error concerns every question, or after three
        questions in a row without an answer.
        """
        unanswered: list[tuple[ProviderError, list[str]]] = []
        answered, in_a_row = False, 0
        stop: Exception | None = None
        for ask, batches in questions:
            try:
                is_whole = await ask()
            except _OutOfRequests as error:
                stop = error
            except ProviderError as error:
                unanswered.append((error, batches))
                in_a_row += 1
                if not error.is_about_the_question or in_a_row == _MOST_UNANSWERED:
                    stop = error
            else:
                answered, in_a_row = True, 0
                await self._gateway.finish_reconciliation(self._plan, batches, answered=is_whole)
            if stop is not None:
                break
        if unanswered and not answered:
            stop = unanswered[-1][0]
        elif answered:
            await self._leave_for_later((error, batches) for error, batches in unanswered if error.is_about_the_question)
        if stop is not None:
            raise stop

    async def _leave_for_later(self, unanswered: Iterable[tuple[ProviderError, list[str]]]) -> None:
        for error, batches in unanswered:
            log.warning("reconcile.unanswered", plan=self._plan.plan, error=error.error, batches=len(batches))
            await self._gateway.finish_reconciliation(self._plan, batches, answered=False)

    async def _read_feed(self, window: Window) -> bool:
        """Read the feed to its end, or as far as the plan's share for polling goes. Returns whether that was the end.

        A feed that is longer than the share counts as asked all the same: otherwise the job would begin it again for ever.
        """
        await self._draw()
        # Both ways, because the database's clock may have been right when the batches were accepted.
        start, end = (self._clocks.to_provider(at) for at in (window.start, window.end))
        reading = await self._pages.read(
            lambda page: self._provider.finished_reports(
                start=min(window.start, start), end=max(window.end, end), page=page, deadline=self._deadline
            ),
            record=self._record_some,
            may_go_on=lambda: self._gateway.draw_requests(self._plan, "poll"),
        )
        if reading.error is not None:
            raise reading.error
        self._outage.answered(self.name)
        return reading.whole

    async def _read_batches(self, batch_ids: Sequence[str]) -> bool:
        await self._draw()
        try:
            reports = await self._provider.batch_reports(batch_ids, deadline=self._deadline)
        except ProviderError as error:
            if error.unreadable is not None:
                await self._gateway.keep_callbacks([Unusable(error.error, error.unreadable)])
            raise
        self._outage.answered(self.name)
        for batch_id in reports.unknown:
            log.warning("reconcile.batch_unknown", plan=self._plan.plan, batch=batch_id)
        await self._record(reports.items)
        if reports.unusable:
            await self._gateway.keep_callbacks(reports.unusable)
        return True

    async def _record(self, reports: Sequence[Report]) -> None:
        for start in range(0, len(reports), _REPORTS_A_CALL):
            some = reports[start : start + _REPORTS_A_CALL]
            await record_page(some, record=self._record_some, recorder=self._gateway)

    async def _record_some(self, reports: Sequence[Report]) -> None:
        await self._gateway.record_reports(reports, source="reconcile")

    async def _draw(self) -> None:
        if not await self._gateway.draw_requests(self._plan, "poll"):
            raise _OutOfRequests


def _groups(batch_ids: Sequence[str], size: int) -> list[list[str]]:
    return [list(batch_ids[start : start + size]) for start in range(0, len(batch_ids), size)]


class _OutOfRequests(Exception):
    """The plan's share for polling is used up for now."""
