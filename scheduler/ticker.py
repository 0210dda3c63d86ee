"""One job on the clock: its ticks, their failures, and wakeups between ticks."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

import structlog

from jobs.gateway.errors import GatewayUnavailable
from jobs.runtime.job import Job
from jobs.runtime.outage import Outage
from jobs.schema.admission import SchemaUnfit
from scheduler.backoff import Backoff
from scheduler.clock import Clock
from scheduler.monitors import Monitor

log = structlog.get_logger()

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0


class Ticker:
    """Runs one job's ticks, never two at once. No failure of the job leaves this class.

    While Supabase is away, the next tick waits longer each time. Any other failure is logged, and the next tick comes as usual.
    ``supabase`` is the outage that all jobs of the process share. ``end`` is called where the process must end.
    """

    def __init__(self, job: Job, *, clock: Clock, supabase: Outage, end: Callable[[SchemaUnfit], None]) -> None:
        self.job = job
        self._clock = clock
        self._supabase = supabase
        self._end = end
        self._monitor = Monitor(job.name, job.interval)
        self._backoff = Backoff(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        self._tick: asyncio.Task[bool] | None = None
        self._running = False
        self._hastened = False
        self._again = False
        self._away = False
        self._stopped = False

    def start(self) -> None:
        """Schedule the job on the clock."""
        self._clock.every(self.job.interval, self.run, name=self.job.name)

    @property
    def open(self) -> asyncio.Task[bool] | None:
        """The running tick, or None."""
        return None if self._tick is None or self._tick.done() else self._tick

    def wake(self) -> None:
        """Run a tick at once, or one more after the running tick, which may have claimed before the rows were inserted.

        While Supabase is away this does nothing: the next tick that reaches it finds everything.
        """
        if self._stopped or self._backoff.active:
            return
        if self._running:
            self._again = True
            self.job.notice()
        elif not self._hastened:
            self._hastened = True
            self._clock.hasten(self.job.name)

    def stop(self) -> None:
        """Let the running tick be the last one."""
        self._stopped, self._again = True, False

    async def run(self) -> None:
        """Run one tick, and another one for a wake that came meanwhile. The clock calls this.

        Each tick is a task of its own, because APScheduler logs the cancellation of a call as an error. Between the last check
        of ``_again`` and the return there must be no await, or a wake in between would be lost.
        """
        self._running, self._hastened = True, False
        while True:
            self._again = False
            self._tick = asyncio.create_task(self.tick(), name=f"tick {self.job.name}")
            await asyncio.wait({self._tick})
            if self._away:
                self._clock.postpone(self.job.name, self._backoff.next())
            else:
                self._backoff.reset()
            if self._away or not self._again:
                break
        self._running = False

    async def tick(self) -> bool:
        """Run one tick. Returns whether it succeeded."""
        began = monotonic()
        succeeded = await self._attempt()
        self._monitor.ticked("ok" if succeeded else "error", seconds=monotonic() - began)
        return succeeded

    async def _attempt(self) -> bool:
        self._away = False
        try:
            await self.job.tick()
        except GatewayUnavailable as error:
            self._away = True
            self._supabase.failed(self.job.name, job=self.job.name, error=str(error))
            return False
        except SchemaUnfit as error:
            self._end(error)
            return False
        except Exception:
            # A bug in one job must not stop the others. At level error it goes to Sentry.
            log.exception("tick.failed", job=self.job.name)
            return False
        self._supabase.recovered(self.job.name, job=self.job.name)
        return True
