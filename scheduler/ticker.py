"""One job under the clock: its ticks, what a failed one means, and being woken between them."""

import asyncio
from time import monotonic
from typing import Final

import structlog

from jobs.gateway.errors import GatewayUnavailable
from jobs.runtime.job import Job
from jobs.runtime.outage import Outage
from scheduler.backoff import Backoff
from scheduler.clock import Clock
from scheduler.monitors import Monitor

log = structlog.get_logger()

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0


class Ticker:
    """Runs one job's ticks, never two at once, and lets no failure past.

    Supabase being away makes the next tick wait, longer each time. Any other failure is reported; the next tick comes as usual.
    """

    def __init__(self, job: Job, *, clock: Clock, supabase: Outage) -> None:
        self.job = job
        self._clock = clock
        self._supabase = supabase
        self._monitor = Monitor(job.name, job.interval)
        self._backoff = Backoff(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        self._tick: asyncio.Task[bool] | None = None
        self._running = False
        self._hastened = False
        self._again = False
        self._away = False
        self._stopped = False

    def start(self) -> None:
        """Hand the job to the clock."""
        self._clock.every(self.job.interval, self.run, name=self.job.name)

    @property
    def open(self) -> asyncio.Task[bool] | None:
        """The tick under way, if there is one."""
        return None if self._tick is None or self._tick.done() else self._tick

    def wake(self) -> None:
        """Tick at once, or once more when the tick under way is done: it may have looked before there was something to see.

        While Supabase is away this does nothing; the tick that finds it back sees everything.
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
        """Let the tick under way be the last."""
        self._stopped, self._again = True, False

    async def run(self) -> None:
        """What the clock calls: one tick, and another for a wake that came meanwhile.

        Each is a task of its own, because APScheduler logs the cancelling of what it awaits as an error. Nothing may be awaited
        between the last look at ``_again`` and the return, or a wake in between would be lost.
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
        """One tick. Answers whether it succeeded."""
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
        except Exception:
            # One job's fault must not stop the others; at level error it goes to Sentry.
            log.exception("tick.failed", job=self.job.name)
            return False
        self._supabase.recovered(self.job.name, job=self.job.name)
        return True
