"""Sends callbacks and tries again as the provider does.

An answer of 2xx ends it, 5xx is tried again, 429 likewise and slows everything down, and other answers are final: the event is
lost. A bounded number is in flight at once, a bounded number waits.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import msgspec
from msgspec import Struct

from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.clock import NEVER, Clock
from sandbox.simulator.posting import Poster

_WAITING_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a provider tries again: ``delays`` are the seconds before each retry, ``success`` the statuses that end it.

    ``unanswered`` says whether it also tries again without an answer.
    """

    delays: tuple[float, ...]
    success: range
    unanswered: bool


@dataclass(slots=True)
class Notice:
    """One callback. ``make`` gives its body, the same at every try; ``sign`` the headers of one try.

    ``sign`` takes the body and the number of failed tries. ``failed`` counts those.
    """

    url: str
    make: Callable[[], Struct]
    sign: Callable[[bytes, int], dict[str, str]]
    schedule: Schedule
    failed: int = 0


class Figures(Struct, kw_only=True):
    """The callbacks so far, counted in tries, and how many are in flight now."""

    tries: int = 0
    acknowledged: int = 0
    refused: int = 0
    throttled: int = 0
    failed: int = 0
    unreachable: int = 0
    given_up: int = 0
    waiting: int = 0
    in_flight: int = 0
    to_be_retried: int = 0


class Tried(Struct, kw_only=True):
    """One try, if they are recorded. ``status`` 0 means that there was no answer."""

    at: int
    url: str
    status: int
    body: msgspec.Raw


class Callbacks:
    """The queue of callbacks, the callbacks in flight and those to be retried."""

    def __init__(self, clock: Clock, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.figures = Figures()
        self.tried: list[Tried] = []
        self.awaited = 0
        """The number of requests that wait for a try to end. While it is 0, a try wakes no one up."""
        self.on_change: Callable[[], None] = lambda: None
        self._clock = clock
        self._poster = Poster()
        self._waiting: deque[Notice] = deque()
        self._retries: list[tuple[int, int, Notice]] = []
        self._numbers = count()
        self._senders: set[asyncio.Task[None]] = set()
        self._allowed = float(behaviour.callback_connections)

    def put(self, notices: list[Notice]) -> None:
        self._waiting.extend(notices)
        self._start_senders()

    @property
    def concluded(self) -> int:
        """The number of tries that have ended."""
        figures = self.figures
        return figures.acknowledged + figures.refused + figures.throttled + figures.failed + figures.unreachable

    def full(self) -> bool:
        return len(self._waiting) >= _WAITING_LIMIT

    def idle(self) -> bool:
        return not self._waiting and not self._senders

    def next_retry(self) -> int:
        return self._retries[0][0] if self._retries else NEVER

    def retry_due(self, now: int) -> None:
        """Queue callbacks again whose time to retry has come."""
        due: list[Notice] = []
        while self._retries and self._retries[0][0] <= now and len(self._waiting) + len(due) < _WAITING_LIMIT:
            due.append(heapq.heappop(self._retries)[2])
        if due:
            self.put(due)

    def retry_now(self) -> None:
        """Make every callback due that waits for a retry."""
        self._retries = [(0, number, notice) for _, number, notice in self._retries]
        heapq.heapify(self._retries)
        self.on_change()

    def report(self) -> Figures:
        return msgspec.structs.replace(
            self.figures, waiting=len(self._waiting), in_flight=len(self._senders), to_be_retried=len(self._retries)
        )

    async def clear(self) -> None:
        """Delete everything, and cancel callbacks in flight."""
        self._waiting.clear()
        self._retries.clear()
        self.tried.clear()
        self.figures = Figures()
        for sender in list(self._senders):
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        self._allowed = float(self.behaviour.callback_connections)

    async def aclose(self) -> None:
        await self.clear()
        self._poster.close()

    def _start_senders(self) -> None:
        for _ in range(min(len(self._waiting), int(self._allowed) - len(self._senders))):
            sender = asyncio.create_task(self._send())
            self._senders.add(sender)
            sender.add_done_callback(self._sender_done)

    def _sender_done(self, sender: asyncio.Task[None]) -> None:
        self._senders.discard(sender)
        # Several 429s at the same moment end more senders than the new limit asks for.
        self._start_senders()
        if not self._senders:
            self.on_change()

    async def _send(self) -> None:
        while self._waiting and len(self._senders) <= max(1, int(self._allowed)):
            notice = self._waiting.popleft()
            if len(self._waiting) == _WAITING_LIMIT // 2:
                self.on_change()
            self._judge(notice, await self._try(notice))
            if self.awaited:
                self.on_change()

    async def _try(self, notice: Notice) -> int:
        """One try; 0 if there was no answer."""
        body = msgspec.json.encode(notice.make())
        now, headers = self._clock.now(), notice.sign(body, notice.failed)
        self.figures.tries += 1
        try:
            status = await self._poster.post(notice.url, headers, body, self.behaviour.callback_timeout)
        except OSError:
            status = 0
        if self.behaviour.record_callbacks:
            self.tried.append(Tried(at=now, url=notice.url, status=status, body=msgspec.Raw(body)))
        return status

    def _judge(self, notice: Notice, status: int) -> None:
        figures = self.figures
        if status in notice.schedule.success:
            figures.acknowledged += 1
            self._allowed = min(self._allowed + 0.1, float(self.behaviour.callback_connections))
        elif status == 429:
            figures.throttled += 1
            self._allowed = max(self._allowed / 2, 1.0)
            self._again(notice)
        elif status >= 500:
            figures.failed += 1
            self._again(notice)
        elif status == 0:
            figures.unreachable += 1
            if notice.schedule.unanswered:
                self._again(notice)
            else:
                figures.given_up += 1
        else:
            figures.refused += 1

    def _again(self, notice: Notice) -> None:
        if notice.failed == len(notice.schedule.delays):
            self.figures.given_up += 1
            return
        delay = notice.schedule.delays[notice.failed] * self.behaviour.retry_scale
        notice.failed += 1
        heapq.heappush(self._retries, (self._clock.now() + int(delay * 1000), next(self._numbers), notice))
        self.on_change()
