"""The process: runs the ticks of its jobs until it is stopped, then drains within its time limits."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog

from jobs.gateway.errors import GatewayError, GatewayUnavailable
from jobs.runtime.job import Job
from jobs.runtime.outage import Outage
from jobs.schema.admission import SchemaUnfit
from scheduler.backoff import Backoff
from scheduler.clock import Clock
from scheduler.ticker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Ticker

log = structlog.get_logger()

DRAIN_SECONDS: Final = 9.0
"""Open requests are left to recovery this long after the signal. The contract's limit of 10 s leaves one second for closing."""
FINISH_SECONDS: Final = 60.0
"""How long a single run waits for the requests that it began. A request's own deadline is a third of a lease."""
_WIND_DOWN_SECONDS: Final = 0.3

WOKEN: Final = "dispatch"
"""The kind of job that a notice of new rows wakes."""
LAST: Final = ("events", "upkeep")
"""A single run does these last: the events are those of the jobs before them, and upkeep logs the alarms of all."""


class Listener(Protocol):
    """Notices new rows sooner than the next tick."""

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever rows may have been inserted. Runs until cancelled, or until it cannot work."""
        ...


class Process:
    """Runs jobs, either until :meth:`stop` or once each. Durations are in seconds.

    ``admission`` is asked before the first tick. It raises GatewayUnavailable to be asked again later, and any other exception
    where the process may not work. A job that raises SchemaUnfit later stops the process as :meth:`stop` does. ``has_ready``
    answers whether rows are ready to be sent: a single run asks it where some of its accounts cannot send.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        listener: Listener | None = None,
        admission: Callable[[], Awaitable[None]] | None = None,
        has_ready: Callable[[], Awaitable[bool]] | None = None,
        drain_seconds: float = DRAIN_SECONDS,
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        self._clock = Clock()
        self._supabase = Outage("supabase.away", ended="supabase.back")
        self._tickers = [Ticker(job, clock=self._clock, supabase=self._supabase, end=self._end) for job in jobs]
        self._listener = listener
        self._admission = admission
        self._has_ready = has_ready
        self._drain_seconds = drain_seconds
        self._finish_seconds = finish_seconds
        self._stopping = asyncio.Event()
        self._unfit: SchemaUnfit | None = None
        self._was_admitted = admission is None

    async def problem(self, ready: bool) -> str | None:
        """Why this process is not well, for `outbox health`: that it answers shows that it is alive."""
        if not ready:
            return None
        if self._stopping.is_set():
            return "is stopping"
        if self._supabase.ongoing:
            return "Supabase does not answer"
        return None if self._was_admitted else "the schema of the database is not known yet"

    def stop(self) -> None:
        """Begin no more ticks, drain, and let :meth:`run` or :meth:`run_once` return."""
        self._stopping.set()

    def wake(self, name: str | None = None) -> None:
        """Start a tick of this job at once; without a name, of each dispatch job."""
        for ticker in self._tickers:
            if ticker.job.name == name or (name is None and ticker.job.kind == WOKEN):
                ticker.wake()

    async def run(self) -> None:
        """Run ticks until stopped. Raises what ``admission`` raises, and SchemaUnfit of a job once it is stopped."""
        log.info("scheduler.started", jobs=[ticker.job.name for ticker in self._tickers])
        if await self._is_admitted_in_time():
            await self._tick_until_stopped()
        log.info("scheduler.stopped")
        if self._unfit is not None:
            raise self._unfit

    def _end(self, unfit: SchemaUnfit) -> None:
        if self._unfit is None:
            log.error("schema.unfit", meaning=str(unfit))
            self._unfit = unfit
        self.stop()

    async def _tick_until_stopped(self) -> None:
        for ticker in self._tickers:
            ticker.start()
            ticker.job.wake_others_with(self.wake)
        self._clock.start()
        listening = None if self._listener is None else asyncio.create_task(self._listen(self._listener), name="listener")

        await self._stopping.wait()

        log.info("scheduler.stopping")
        if listening is not None:
            listening.cancel()
        self._clock.pause()
        await self._drain()
        await self._clock.stop()

    async def _is_admitted_in_time(self) -> bool:
        """Ask until the database answers. False if the process is stopped before that."""
        asking = asyncio.create_task(self._ask_until_admitted(), name="admission")
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if asking.done():
            asking.result()
            return not self._stopping.is_set()
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        return False

    async def _ask_until_admitted(self) -> None:
        backoff = Backoff(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        while True:
            if await self._is_admitted():
                return
            await asyncio.sleep(backoff.next())

    async def _is_admitted(self) -> bool:
        """Ask once. False if the database does not answer."""
        if self._admission is None:
            return True
        try:
            await self._admission()
        except GatewayUnavailable as error:
            self._supabase.failed("admission", job="admission", error=str(error))
            return False
        self._supabase.recovered("admission")
        self._was_admitted = True
        return True

    async def run_once(self) -> bool:
        """Run one tick of each job, and finish all requests. Dispatch jobs tick once more, for rows that others made due.

        Returns whether all of it succeeded. False if due work is left until an operator corrects an account, a setting or the
        network, or if the run was stopped. What one account cannot send and another did is not left. Raises what ``admission``
        raises, and SchemaUnfit of a job.
        """
        working = asyncio.create_task(self._tick_each(), name="single run")
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()

        drained = await self._drain(*() if working.done() else (working,))
        succeeded = working.done() and not working.cancelled() and working.result()
        log.info("scheduler.ran_once", succeeded=succeeded and drained)
        if self._unfit is not None:
            raise self._unfit
        return succeeded and drained

    async def _tick_each(self) -> bool:
        if not await self._is_admitted():
            return False
        last = [ticker for ticker in self._tickers if ticker.job.kind in LAST]
        succeeded = await asyncio.gather(*(ticker.tick() for ticker in self._tickers if ticker not in last))
        finished = await self._finish()
        if finished and all(succeeded):
            succeeded += await asyncio.gather(*(ticker.tick() for ticker in self._tickers if ticker.job.kind == WOKEN))
            finished = await self._finish()
        succeeded += [await ticker.tick() for ticker in last]

        is_work_left = await self._is_work_left()
        return all(succeeded) and finished and not is_work_left and not self._stopping.is_set()

    async def _is_work_left(self) -> bool:
        """Whether a job that is stopped left due work which no other job did."""
        stopped = [ticker.job for ticker in self._tickers if ticker.job.stopped]
        is_any_well = any(ticker.job.kind == WOKEN and ticker.job not in stopped for ticker in self._tickers)
        if not stopped or not is_any_well or self._has_ready is None or not all(job.others_may_help for job in stopped):
            return bool(stopped)
        try:
            return await self._has_ready()
        except GatewayError as error:
            log.warning("scheduler.work_left_unknown", error=str(error))
            return True

    async def _finish(self) -> bool:
        jobs = [ticker.job for ticker in self._tickers]
        return await _within(self._finish_seconds, {f"finish {job.name}": job.finish() for job in jobs})

    async def _drain(self, *others: "asyncio.Task[Any]") -> bool:
        """Wait for open work, then cancel the rest. Returns whether all of it ended by itself."""
        for ticker in self._tickers:
            ticker.stop()
        open_ticks = [ticker.open for ticker in self._tickers if ticker.open is not None]
        drains = {f"drain {ticker.job.name}": ticker.job.drain() for ticker in self._tickers}
        return await _within(self._drain_seconds, drains, *open_ticks, *others)

    async def _listen(self, listener: Listener) -> None:
        try:
            await listener.listen(self.wake)
        except Exception:
            # Wakeups only save time: the next tick finds every row anyway.
            log.exception("wakeup.failed")


async def _within(seconds: float, work: dict[str, Coroutine[Any, Any, None]], *tasks: "asyncio.Task[Any]") -> bool:
    """Run everything concurrently for at most ``seconds``, then cancel the rest. Returns whether everything succeeded."""
    everything = {*tasks, *(asyncio.create_task(coroutine, name=name) for name, coroutine in work.items())}
    if not everything:
        return True
    done, cut = await asyncio.wait(everything, timeout=seconds)

    for task in cut:
        task.cancel()
    if cut:
        log.warning("work.cut_off", open=sorted(task.get_name() for task in cut), seconds=seconds)
        await asyncio.wait(cut, timeout=_WIND_DOWN_SECONDS)

    failed = [task for task in done if not task.cancelled() and task.exception() is not None]
    for task in failed:
        log.error("work.failed", what=task.get_name(), exc_info=task.exception())
    return not cut and not failed
