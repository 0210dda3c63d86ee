"""Sends callbacks about messages: one loop driven by the clock, with one entry per batch and none per message."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from random import Random

from sandbox.simulator.behaviour import CANCELLED, DISPATCHED, QUEUED
from sandbox.simulator.callbacks import Callbacks, Notice
from sandbox.simulator.clock import NEVER, Clock
from sandbox.simulator.report_faults import PlannedReport, apply_faults
from sandbox.simulator.sinch.batches import Batch
from sandbox.simulator.sinch.life import State
from sandbox.simulator.sinch.plans import Plan
from sandbox.simulator.sinch.reports import batch_report, recipient_report

WHOLE_BATCH = -1
_AT_ONCE = 500
_SHORTEST_WAIT = 0.01


class Timeline:
    """The callbacks that one batch still has to make, computed when the first is due."""

    def __init__(self, batch: Batch, url: str, plan: Plan) -> None:
        self.batch = batch
        self._url = url
        self._plan = plan
        self._left: list[PlannedReport] | None = None

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
            return Notice(self._url, self._plan, lambda: batch_report(batch, report.at, full=batch.reporting == "full"))
        return Notice(self._url, self._plan, lambda: recipient_report(batch, report.index, State(report.outcome, report.at)))


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
        planned += reports if honest else apply_faults(reports, faults, random)
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


class Reporter:
    """Queues callbacks when they are due, no faster than they can be sent."""

    def __init__(self, clock: Clock, callbacks: Callbacks) -> None:
        self._clock = clock
        self._callbacks = callbacks
        self._due: list[tuple[int, int, Timeline]] = []
        self._entries = count()
        self._timelines: dict[int, Timeline] = {}
        self._wake = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None
        callbacks.on_change = self._wake.set

    def watch(self, batch: Batch, url: str, plan: Plan) -> None:
        timeline = self._timelines[batch.ordinal] = Timeline(batch, url, plan)
        self._schedule(timeline)
        self._wake.set()

    def cancel(self, batch: Batch, now: int) -> None:
        timeline = self._timelines.get(batch.ordinal)
        if timeline is not None:
            timeline.cancel(now)
            self._schedule(timeline)
            self._wake.set()

    def forget(self, batch: Batch) -> None:
        self._timelines.pop(batch.ordinal, None)

    def hurry(self, now: int) -> None:
        for timeline in list(self._timelines.values()):
            if timeline.batch.start <= now:
                timeline.hurry(now)
                self._schedule(timeline)
        self._wake.set()

    def clear(self) -> None:
        self._due.clear()
        self._timelines.clear()

    def wake(self) -> None:
        self._wake.set()

    def idle(self) -> bool:
        """Whether nothing is due now and nothing is being sent. Callbacks that wait for a later retry do not count."""
        return self._upcoming() > self._clock.now() and self._callbacks.idle()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            wait = self._send_due()
            self.on_change()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _send_due(self) -> float | None:
        """Queue what is due. Returns the seconds until more is due, or None if only a change can make more due."""
        now = self._clock.now()
        self._callbacks.retry_due(now)
        while self._due and self._due[0][0] <= now:
            if self._callbacks.full():
                return None
            _, _, timeline = heapq.heappop(self._due)
            if self._timelines.get(timeline.batch.ordinal) is timeline and timeline.next_at() <= now:
                self._callbacks.put(timeline.take(now, _AT_ONCE))
                self._schedule(timeline)
        upcoming = self._upcoming()
        return None if upcoming == NEVER else max((upcoming - now) / 1000, _SHORTEST_WAIT)

    def _upcoming(self) -> int:
        return min(self._due[0][0] if self._due else NEVER, self._callbacks.next_retry())

    def _schedule(self, timeline: Timeline) -> None:
        upcoming = timeline.next_at()
        if upcoming == NEVER:
            self._timelines.pop(timeline.batch.ordinal, None)
        else:
            heapq.heappush(self._due, (upcoming, next(self._entries), timeline))
