"""Jobs that a test controls."""

import asyncio
from collections.abc import Sequence

from jobs.runtime.job import Job

HOUR = 3600.0
A_WHILE = 30.0


class Work(Job):
    """A job. Each tick takes the next of ``answers``: an exception is raised, None ends well; with none left all end well.

    A tick that began waits for ``may_end``.
    """

    interval = HOUR

    def __init__(self, name: str = "dispatch", answers: Sequence[Exception | None] = ()) -> None:
        self.name = name
        self.answers = list(answers)
        self.ticks = 0
        self.under_way = 0
        self.was_cancelled = False
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._began = asyncio.Semaphore(0)

    async def tick(self) -> None:
        self.ticks += 1
        self.under_way += 1
        assert self.under_way == 1
        self._began.release()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        finally:
            self.under_way -= 1
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer

    async def begins(self, times: int = 1) -> None:
        """Return when this many more ticks have begun."""
        for _ in range(times):
            await asyncio.wait_for(self._began.acquire(), A_WHILE)


class DrainingWork(Work):
    """A job with requests open between its ticks, which end when ``requests_end`` is set."""

    def __init__(self, name: str = "dispatch", answers: Sequence[Exception | None] = ()) -> None:
        super().__init__(name, answers)
        self.requests_end = asyncio.Event()
        self.draining = asyncio.Event()
        self.drains = 0
        self.finished = 0

    async def drain(self) -> None:
        self.drains += 1
        self.draining.set()
        await self.requests_end.wait()

    async def finish(self) -> None:
        await self.requests_end.wait()
        self.finished += 1
