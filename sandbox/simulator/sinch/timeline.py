"""The callbacks that a batch makes, in the mode that it asked for."""

from collections.abc import Callable
from random import Random

from msgspec import Struct

from sandbox.simulator.callbacks import Notice, Schedule
from sandbox.simulator.clock import NEVER
from sandbox.simulator.outcomes import CANCELLED, DELIVERED, DISPATCHED, EXPIRED, QUEUED, State
from sandbox.simulator.report_faults import Contradictions, PlannedReport, apply_faults
from sandbox.simulator.sinch.batches import Batch
from sandbox.simulator.sinch.reports import batch_report, recipient_report

WHOLE_BATCH = -1
SCHEDULE = Schedule(delays=tuple(5.0 * 2**failed for failed in range(15)), success=range(200, 300), unanswered=True)
"""After 5, 10, 20 … 81,920 seconds."""
CONTRADICTIONS = Contradictions(after={DELIVERED: EXPIRED, DISPATCHED: EXPIRED}, otherwise=DELIVERED)
"""They rank below the truth if the truth is Delivered, so that the truth must win."""

Sign = Callable[[bytes, int], dict[str, str]]


class Timeline:
    """The callbacks that one batch still has to make, computed when the first is due."""

    def __init__(self, batch: Batch, url: str, sign: Sign) -> None:
        self.batch = batch
        self._url = url
        self._sign = sign
        self._left: list[PlannedReport] | None = None

    @property
    def ordinal(self) -> int:
        return self.batch.ordinal

    @property
    def start(self) -> int:
        return self.batch.start

    def next_at(self) -> int:
        if self._left is None:
            return self.batch.queue_start
        return self._left[-1].when if self._left else NEVER

    def take(self, now: int, most: int) -> list[Notice]:
        """The callbacks due by ``now``, at most ``most``."""
        left = self._upcoming()
        notices: list[Notice] = []
        while left and left[-1].when <= now and len(notices) < most:
            notices.append(self._notice(left.pop()))
        return notices

    def hurry(self, now: int) -> None:
        """Make everything due."""
        for report in self._upcoming():
            report.when, report.at = min(report.when, now), min(report.at, now)

    def cancel(self, now: int) -> None:
        """Cancelled messages report that, and nothing else."""
        if self._left is None:
            return
        if self.batch.reporting in ("summary", "full"):
            self._left = None
            return
        life = self.batch.life
        taken_back = [index for index in range(len(life)) if life.outcomes[index] == CANCELLED and life.final[index] == now]
        gone = frozenset(taken_back)
        kept = [report for report in self._left if report.index not in gone]
        self._left = _latest_first([*kept, *(PlannedReport(now, index, CANCELLED, now) for index in taken_back)])

    def _upcoming(self) -> list[PlannedReport]:
        if self._left is None:
            self._left = [] if self.batch.empty else _latest_first(_planned(self.batch))
        return self._left

    def _notice(self, report: PlannedReport) -> Notice:
        batch = self.batch
        if report.index == WHOLE_BATCH:
            return self._posted(lambda: batch_report(batch, report.at, full=batch.reporting == "full"))
        return self._posted(lambda: recipient_report(batch, report.index, State(report.outcome, report.at)))

    def _posted(self, make: Callable[[], Struct]) -> Notice:
        return Notice(self._url, make, self._sign, SCHEDULE)


def _latest_first(reports: list[PlannedReport]) -> list[PlannedReport]:
    return sorted(reports, key=lambda report: report.when, reverse=True)


def _planned(batch: Batch) -> list[PlannedReport]:
    """Every report that a batch will make, in the mode that it asked for."""
    life = batch.life
    if batch.reporting in ("summary", "full"):
        last = life.last_change()
        return [] if last == NEVER else [PlannedReport(last, WHOLE_BATCH, QUEUED, last)]
    faults, random = batch.behaviour.reports, Random(f"{batch.behaviour.seed}/{batch.ordinal}/reports")
    honest = not faults.any()
    planned: list[PlannedReport] = []
    for index in range(len(life)):
        reports = _reports_on(batch, index)
        planned += reports if honest else apply_faults(reports, faults, random, CONTRADICTIONS)
    return planned


def _reports_on(batch: Batch, index: int) -> list[PlannedReport]:
    life, reports = batch.life, []
    if batch.reporting == "per_recipient":
        if batch.behaviour.queued_callbacks:
            reports.append(PlannedReport(life.queued, index, QUEUED, life.queued))
        if life.dispatched[index] != NEVER:
            reports.append(PlannedReport(life.dispatched[index], index, DISPATCHED, life.dispatched[index]))
    if life.final[index] != NEVER:
        reports.append(PlannedReport(life.final[index], index, life.outcomes[index], life.final[index]))
    return reports
