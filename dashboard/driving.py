"""Drives bulk actions, one stretch after another, beside the pages that show them.

The database stores how far an action is with each stretch. If this process ends, the scheduler's upkeep goes on with it, or a
dashboard as soon as an operator opens its page.
"""

import asyncio
from typing import Final

import structlog

from jobs.gateway.errors import GatewayError
from jobs.gateway.operating import Operating

log = structlog.get_logger()

_STRETCH: Final = 500
_PAUSE_SECONDS: Final = 0.5
"""Between stretches that found another driver at work, and after a failure."""
_MOST_FAILURES: Final = 5


class Driver:
    """The bulk actions that this process works on."""

    def __init__(self, operating: Operating) -> None:
        self._operating = operating
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def drive(self, bulk: int) -> None:
        """Work on this action until it ends. Nothing happens if that goes on already."""
        if bulk not in self._tasks:
            task = asyncio.create_task(self._work(bulk))
            self._tasks[bulk] = task
            task.add_done_callback(lambda _task: self._tasks.pop(bulk, None))

    async def aclose(self) -> None:
        """Stop behind the stretches that are being worked on. What is left waits for another driver."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, bulk: int) -> None:
        failures = 0
        before = None
        while failures < _MOST_FAILURES:
            try:
                action = await self._operating.browsing.continue_bulk(bulk, most=_STRETCH)
            except GatewayError as error:
                failures += 1
                log.warning("dashboard.bulk_failed", bulk=bulk, error=type(error).__name__)
                await asyncio.sleep(_PAUSE_SECONDS * 2**failures)
                continue
            if action is None or action.state != "running":
                return
            if action == before:
                await asyncio.sleep(_PAUSE_SECONDS)
            failures, before = 0, action
