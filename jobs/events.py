"""Tells an app's own servers what happened to messages: claims deliveries, sends them, and records the results."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Final

import structlog

from jobs.eventing.client import AT_ONCE, DEADLINE_SECONDS, EventClient
from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.eventing import EventDelivery, EventResult
from jobs.gateway.gateway import Gateway
from jobs.runtime.job import Job
from jobs.runtime.outage import Outage
from jobs.runtime.settings import EventsSettings
from jobs.runtime.waking import Wakings

log = structlog.get_logger()

MOST_LEASED: Final = 32
"""Deliveries that the process has claimed and not recorded. More in one call cost less, and more wait if one hangs."""
_AT_ONCE_TO_ONE: Final = 6
"""An endpoint that hangs leaves two requests to the others."""
_LEASE_SECONDS: Final = 60.0
_LATEST_START_SECONDS: Final = _LEASE_SECONDS - DEADLINE_SECONDS - 5.0
"""A request that begins later might end after its lease, and another process would send the event too."""
_NO_ENDPOINT_SECONDS: Final = 30.0
_BUSY_PAUSES: Final = 4.0
_LONGEST_WAIT_COUNTED: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 6.0
_LONG_WAIT_SECONDS: Final = 60.0


class Events(Job):
    """The events job. Any number of processes share the deliveries.

    An event arrives at least once: it counts as delivered when the answer of its endpoint is recorded. If the process dies
    before that, the event goes again when the lease ends, with the same id.

    A tick lasts until nothing is due. After each step it pauses for as long as the step took, and for four times as long while
    the process sends messages.
    """

    name = "events"
    interval = 1.0

    def __init__(self, *, gateway: Gateway, worker: str, settings: EventsSettings, wakings: Wakings) -> None:
        self._gateway = gateway
        self._worker = worker
        self._wakings = wakings
        self._requests = _Requests(EventClient(allows_private=settings.events_allow_private_networks))
        self._unrecorded: list[EventResult] = []
        self._waiting = Outage("events.waiting", ended="events.going_on")
        self._not_before = 0.0
        self._draining = asyncio.Event()
        self._ticking = asyncio.Lock()

    async def tick(self) -> None:
        if monotonic() < self._not_before:
            return
        async with self._ticking:
            while not self._draining.is_set() and await self._step():
                pass

    async def finish(self) -> None:
        async with self._ticking:
            await self._requests.wait(None)
            await self._record()

    async def drain(self) -> None:
        """Claim nothing more. Requests that are open six seconds later are cut off, and go again when their leases end."""
        self._draining.set()
        async with self._ticking:
            try:
                await self._requests.wait(_DRAIN_SECONDS)
                await self._record()
            finally:
                await self._requests.aclose()

    async def _step(self) -> bool:
        """Record, claim, send, pause. Returns whether there may be more to do."""
        began = monotonic()
        await self._record()
        more = self._requests.leased == MOST_LEASED or await self._claim()
        in_calls = monotonic() - began
        if not self._requests.leased and not more:
            return False
        # Until half of them are done, or all. The next claim does not wait for an endpoint that hangs.
        most = MOST_LEASED // 2 if more else 0
        waited = await self._requests.wait(self.interval, most=most, stop=self._draining)
        await self._pause(in_calls + min(waited, _LONGEST_WAIT_COUNTED))
        return True

    async def _claim(self) -> bool:
        """Claim as many deliveries as there is room for. Returns whether another claim would bring more."""
        busy = self._wakings.is_claiming
        claim = await self._gateway.claim_events(
            self._worker, most=MOST_LEASED - self._requests.leased, lease=_LEASE_SECONDS, busy=busy
        )
        self._requests.start(claim.deliveries)
        self._not_before = 0.0 if claim.endpoints else monotonic() + _NO_ENDPOINT_SECONDS
        self._note_waiting(claim.waits_since)
        return claim.more

    async def _record(self) -> None:
        """Record the results so far. Those that the database did not take are recorded with the next ones."""
        results, self._unrecorded = self._unrecorded + self._requests.take_results(), []
        if not results:
            return
        try:
            disabled = await self._gateway.record_event_results(results)
        except GatewayUnavailable:
            self._unrecorded = results
            raise
        for one in disabled:
            log.warning("event_endpoint.disabled", endpoint=one.endpoint, reason=one.reason)

    async def _pause(self, took: float) -> None:
        seconds = took * (_BUSY_PAUSES if self._wakings.is_claiming else 1.0)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._draining.wait(), min(seconds, _LONGEST_PAUSE_SECONDS))

    def _note_waiting(self, since: datetime | None) -> None:
        if since is not None and (datetime.now(UTC) - since).total_seconds() > _LONG_WAIT_SECONDS:
            self._waiting.failed(since=since.isoformat(), meaning="events wait for a transaction that is open since then")
        else:
            self._waiting.recovered()


class _Requests:
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
        now = monotonic()
        for delivery in deliveries:
            self._tasks.add(asyncio.create_task(self._send(delivery, now), name=f"event {delivery.id}"))

    async def wait(self, seconds: float | None, *, most: int = 0, stop: asyncio.Event | None = None) -> float:
        """Return when at most ``most`` are left, when ``stop`` is set, or after so many seconds. Returns how long that took."""
        began = monotonic()
        until = None if seconds is None else began + seconds
        stopped = None if stop is None else asyncio.create_task(stop.wait())
        try:
            while True:
                open_tasks = {task for task in self._tasks if not task.done()}
                rest = None if until is None else until - monotonic()
                if len(open_tasks) <= most or (rest is not None and rest <= 0) or (stop is not None and stop.is_set()):
                    return monotonic() - began
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
            if has_hung or monotonic() > claimed_at + _LATEST_START_SECONDS:
                return None
            result = await self._client.deliver(delivery)
        self._note(delivery, result)
        return result

    def _note(self, delivery: EventDelivery, result: EventResult) -> None:
        name, outage = delivery.endpoint, self._outages[delivery.endpoint]
        if result.error is None:
            self._hung_at.pop(name, None)
            outage.recovered(endpoint=name)
            log.debug(
                "event.delivered", endpoint=name, event_id=delivery.event_id, type=delivery.type, attempt=delivery.attempt
            )
            return
        if result.status is None:
            self._hung_at[name] = monotonic()
        outage.failed(endpoint=name, event_id=delivery.event_id, attempt=delivery.attempt, error=result.error)
