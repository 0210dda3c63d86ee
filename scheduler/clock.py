"""APScheduler as a clock: it decides only when a call is made."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

_SHORTEST, _LONGEST = 1.02, 1.08
_CHECK_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 1.0


class Clock:
    """Calls coroutine functions again and again, each never twice at once.

    A long call delays no other function. The calls that would overlap it are skipped. Intervals and delays are in seconds.
    """

    def __init__(self) -> None:
        # The default grace time of one second would silently drop calls that a busy loop delays.
        defaults = {"max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)
        self._watch: asyncio.Task[None] | None = None
        # APScheduler warns about each call that it skips because the one before still runs.
        logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)

    def every(self, interval: float, call: Callable[[], Awaitable[None]], *, name: str) -> None:
        """Make ``call`` once at the start, and then every ``interval`` seconds, a little late each time."""
        self._scheduler.add_job(call, Rhythm(interval), id=name, name=name, next_run_time=_now())

    def hasten(self, name: str) -> None:
        """Make this call at once."""
        self.postpone(name, 0.0)

    def postpone(self, name: str, seconds: float) -> None:
        """Make the next call ``seconds`` from now instead of when it was due."""
        self._scheduler.modify_job(name, next_run_time=_now() + timedelta(seconds=seconds))

    def start(self) -> None:
        self._scheduler.start()
        self._watch = asyncio.create_task(self._watch_steps(), name="clock watch")

    def pause(self) -> None:
        """Make no new calls. Running calls go on."""
        if self._watch is not None:
            self._watch.cancel()
        self._scheduler.pause()

    async def stop(self) -> None:
        """Remove every call. Running calls are cancelled."""
        self._scheduler.shutdown(wait=False)
        # The scheduler shuts down in the loop's next round.
        await asyncio.sleep(0)

    async def _watch_steps(self) -> None:
        """Make all calls due when the wall clock is set back. APScheduler uses it: no call would be due for that long."""
        ahead = _wall_ahead()
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            before, ahead = ahead, _wall_ahead()
            if ahead < before - _STEP_SECONDS:
                self._all_due()

    def _all_due(self) -> None:
        for job in self._scheduler.get_jobs():
            self.hasten(job.id)


class Rhythm(BaseTrigger):  # type: ignore[misc]  # APScheduler ships without types
    """Fires every ``interval`` seconds and a few hundredths, so that processes that start together drift apart.

    It never fires sooner: a job with an interval of one second costs at most one call a second.

    APScheduler's own interval trigger counts up from the last time it fired: after a machine slept for a week, it walks
    through every second of that week.
    """

    __slots__ = ("_interval",)

    def __init__(self, interval: float) -> None:
        self._interval = interval

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + timedelta(seconds=self._interval * random.uniform(_SHORTEST, _LONGEST))


def _now() -> datetime:
    return datetime.now(UTC)


def _wall_ahead() -> float:
    return time.time() - time.monotonic()
