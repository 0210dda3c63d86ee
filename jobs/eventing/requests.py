"""The deliveries that a process has leased: those that wait for a slot, and those under way."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import structlog

from jobs.eventing.client import AT_ONCE, DEADLINE_SECONDS, EventClient
from jobs.gateway.eventing import EventDelivery, EventResult
from jobs.runtime.metrics import EVENTS_DELIVERIES
from jobs.runtime.outage import Outage

log = structlog.get_logger()

LEASE_SECONDS: Final = 60.0
MOST_LEASED: Final = 32
"""More in one claim cost less, and more wait if an endpoint hangs."""
_AT_ONCE_TO_ONE: Final = 6
"""An endpoint that hangs leaves two requests to the others."""
_LATEST_START_SECONDS: Final = LEASE_SECONDS - DEADLINE_SECONDS - 5.0
"""A request that begins later might end after its lease, and another process would send the event too."""


class Requests:
    """The deliveries that the process has leased: those that wait for a slot, and those under way."""

    def __init__(self, client: EventClient) -> None:
        self._client = client
        self._tasks: set[asyncio.Task[EventResult | None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._slots_of: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE_TO_ONE))
        self._hung_at: dict[str, float] = {}
        self._outages: defaultdict[str, Outage] = defaultdict(
            lambda: Outage("event_endpoint.failing", ended="event_endpoint.working")
        )

    @property
    def leased(self) -> int:
        return len(self._tasks)

    def start(self, deliveries: Sequence[EventDelivery]) -> None:
        """Send each as soon as a slot is free."""
        now = _now()
        for delivery in deliveries:
            self._tasks.add(asyncio.create_task(self._send(delivery, now), name=f"event {delivery.id}"))

    async def wait(self, seconds: float | None, *, most: int = 0, stop: asyncio.Event | None = None) -> float:
        """Return when at most ``most`` are left, when ``stop`` is set, or after so many seconds. Returns how long that took."""
        began = _now()
        until = None if seconds is None else began + seconds
        stopped = None if stop is None else asyncio.create_task(stop.wait())
        try:
            while True:
                open_tasks = {task for task in self._tasks if not task.done()}
                rest = None if until is None else until - _now()
                if len(open_tasks) <= most or (rest is not None and rest <= 0) or (stop is not None and stop.is_set()):
                    return _now() - began
                everything = open_tasks if stopped is None else {*open_tasks, stopped}
                await asyncio.wait(everything, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if stopped is not None:
                stopped.cancel()

    def take_results(self) -> list[EventResult]:
        """The results since the last call, without those of deliveries that were dropped."""
        done = {task for task in self._tasks if task.done()}
        self._tasks -= done
        return [result for task in done if (result := task.result()) is not None]

    async def aclose(self) -> None:
        """Cut off what is open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._client.aclose()

    async def _send(self, delivery: EventDelivery, claimed_at: float) -> EventResult | None:
        """One attempt. None if it was not made: its lease ends by itself, and the delivery is due again."""
        async with self._slots_of[delivery.endpoint], self._slots:
            has_hung = self._hung_at.get(delivery.endpoint, claimed_at) > claimed_at
            if has_hung or _now() > claimed_at + _LATEST_START_SECONDS:
                return None
            result = await self._client.deliver(delivery)
        self._note(delivery, result)
        return result

    def _note(self, delivery: EventDelivery, result: EventResult) -> None:
        name, outage = delivery.endpoint, self._outages[delivery.endpoint]
        outcome = "delivered" if result.error is None else "no_answer" if result.status is None else "refused"
        EVENTS_DELIVERIES.labels(name, outcome).inc()
        if result.error is None:
            self._hung_at.pop(name, None)
            outage.recovered(endpoint=name)
            log.debug(
                "event.delivered", endpoint=name, event_id=delivery.event_id, type=delivery.type, attempt=delivery.attempt
            )
            return
        if result.status is None:
            self._hung_at[name] = _now()
        outage.failed(endpoint=name, event_id=delivery.event_id, attempt=delivery.attempt, error=result.error)


def _now() -> float:
    return asyncio.get_running_loop().time()
