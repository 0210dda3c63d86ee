"""Tells an app's own servers what happened to messages: claims deliveries, sends them, and records the results."""

import asyncio
import math
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import structlog

from jobs.eventing.client import DEADLINE_SECONDS, EventClient
from jobs.eventing.requests import LEASE_SECONDS, MOST_LEASED, Requests
from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.eventing import EventResult
from jobs.gateway.gateway import Gateway
from jobs.runtime.job import Job
from jobs.runtime.outage import Outage
from jobs.runtime.waking import Wakings

log = structlog.get_logger()

_NO_ENDPOINT_SECONDS: Final = 30.0
_PAUSES: Final = 2.0
_BUSY_PAUSES: Final = 4.0
_LONGEST_WAIT_COUNTED: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 6.0
_LONG_WAIT_SECONDS: Final = 60.0


class Events(Job):
    """The events job. Any number of processes share the deliveries.

    An event arrives at least once: it counts as delivered when the answer of its endpoint is recorded. If the process dies
    before that, the event goes again when the lease ends, with the same id.

    A tick lasts until nothing is due, or for ``tick_seconds``; what is left then is the next tick's. After each step it pauses
    for twice as long as the step took, and for four times as long while the process sends messages.
    """

    name = "events"
    interval = 1.0

    def __init__(
        self, *, gateway: Gateway, worker: str, client: EventClient, wakings: Wakings, tick_seconds: float = math.inf
    ) -> None:
        self._gateway = gateway
        self._tick_seconds = tick_seconds
        self._worker = worker
        self._wakings = wakings
        self._requests = Requests(client)
        self._unrecorded: list[EventResult] = []
        self._waiting = Outage("events.waiting", ended="events.going_on")
        self._not_before = 0.0
        self._draining = asyncio.Event()
        self._ticking = asyncio.Lock()

    async def tick(self) -> None:
        if _now() < self._not_before:
            return
        async with self._ticking:
            ends = _now() + self._tick_seconds
            while not self._draining.is_set() and await self._step():
                if _now() >= ends:
                    await self._requests.wait(DEADLINE_SECONDS, stop=self._draining)
                    await self._record()
                    return

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
        began = _now()
        await self._record()
        more = self._requests.leased == MOST_LEASED or await self._claim()
        in_calls = _now() - began
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
            self._worker, most=MOST_LEASED - self._requests.leased, lease=LEASE_SECONDS, busy=busy
        )
        self._requests.start(claim.deliveries)
        self._not_before = 0.0 if claim.endpoints else _now() + _NO_ENDPOINT_SECONDS
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
        seconds = took * (_BUSY_PAUSES if self._wakings.is_claiming else _PAUSES)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._draining.wait(), min(seconds, _LONGEST_PAUSE_SECONDS))

    def _note_waiting(self, since: datetime | None) -> None:
        if since is not None and (datetime.now(UTC) - since).total_seconds() > _LONG_WAIT_SECONDS:
            self._waiting.failed(since=since.isoformat(), meaning="events wait for a transaction that is open since then")
        else:
            self._waiting.recovered()


def _now() -> float:
    return asyncio.get_running_loop().time()
