"""A provider without a list, as Vonage: a request has one recipient, and records show it late, by its recipient, or never."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from jobs.providers.base import Batch, Inbound, Page, Report
from tests.simulation.provider import Line

if TYPE_CHECKING:
    from jobs.providers.base import BatchReports, ListedReference, SentBatch

_LATEST_RECORD: Final = 36 * 3600.0


class LineWithoutList(Line):
    """What its records show is a fact, and what they do not show proves nothing."""

    name = "vonage"
    host = "https://other.test"
    has_feed = False
    batches_a_question = 20

    def _listed(self, given_up: float) -> float:
        """Minutes after the request, sometimes hours, also once no faults happen any more."""
        if self._chaos.happens("list.silent"):
            return float("inf")
        now = self._now()
        return max(given_up, now) + self._chaos.pick(
            (0.0, self._chaos.between(60, 1200), self._chaos.between(60, _LATEST_RECORD))
        )

    async def find(
        self,
        reference: str,
        *,
        recipients: Sequence[str] = (),
        since: datetime,
        until: datetime | None = None,
        page: int,
        deadline: float,
    ) -> Page[Batch]:
        if len(recipients) != 1 or until is None:
            self._witness.complain(f"{reference} is looked up for {recipients} until {until}")
        shown = await self._ask(lambda: self._books.records(recipients, since, until), "records", deadline)
        if self._chaos.happens("list.unreferenced"):
            shown = [replace(batch, reference=None) for batch in shown]
        return self._page(shown, page)

    async def references(self, *, start: datetime, page: int, deadline: float) -> "Page[ListedReference]":
        return Page((), last=True)

    async def sent_batches(self, *, start: datetime, end: datetime | None, page: int, deadline: float) -> "Page[SentBatch]":
        return Page((), last=True)

    async def batch_reports(self, batch_ids: Sequence[str], *, deadline: float) -> "BatchReports":
        # Not at the top, because release 0.1.0 has no such value.
        from jobs.providers.base import BatchReports

        found = await self._ask(lambda: {one: self._books.reports_of(one) for one in batch_ids}, "batch reports", deadline)
        return BatchReports(
            tuple(report for reports in found.values() for report in reports or ()),
            unknown=tuple(one for one, reports in found.items() if reports is None),
        )

    async def finished_reports(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Report]:
        self._witness.complain("a provider without a feed of reports was asked for it")
        return Page((), last=True)

    async def inbounds(self, *, start: datetime, end: datetime, page: int, deadline: float) -> Page[Inbound]:
        return Page((), last=True)
