"""All open connections of a process: how long each may take, and which one ends when there are too many.

Every limit counts here, and not in the HTTP parser, so it holds with each of them.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from enum import Enum, IntEnum
from typing import Final, Protocol

from starlette.types import Scope

from webhook.limits import Limits
from webhook.tally import Tally


class Phase(IntEnum):
    """What a connection is doing."""

    NEW = 0
    """It has sent nothing yet."""
    HEAD = 1
    """It sends the request line or headers."""
    BODY = 2
    """It sends the body, and the app waits for it."""
    ANSWERING = 3
    """The app has the whole request. It sees to its own time, and what it commits must not be interrupted."""
    SURPLUS = 4
    """It still sends the body of a request that is answered. To hang up at once would lose the answer."""
    UNREAD = 5
    """It does not read its answers."""
    IDLE = 6
    """Its last request is answered. Proxies keep such connections to reuse them."""


class Fault(Enum):
    """Why a connection is ended, as the log counts it."""

    TOO_MANY = "too_many_connections"
    SLOW_HEAD = "slow_headers"
    LARGE_HEAD = "large_headers"
    SLOW_BODY = "slow_bodies"
    LARGE_BODY = "large_bodies"
    MEMORY = "too_many_bytes"
    UNREAD = "answers_not_read"
    PIPELINED = "pipelined"
    INVALID = "invalid_http"
    IDLE = "idle"


_OVERDUE: Final = {
    Phase.NEW: Fault.IDLE,
    Phase.HEAD: Fault.SLOW_HEAD,
    Phase.BODY: Fault.SLOW_BODY,
    Phase.SURPLUS: Fault.SLOW_BODY,
    Phase.UNREAD: Fault.UNREAD,
    Phase.IDLE: Fault.IDLE,
}
_HOLDS_NOTHING: Final = (Phase.SURPLUS, Phase.IDLE)
_SWEEP_SECONDS: Final = 1.0

Queue = dict["Client", float]
"""Connections in one phase, with the time at which each entered it: the one that has been in it for longest comes first."""


class Client(Protocol):
    """One connection. ``held`` is the number of bytes of its unanswered request."""

    phase: Phase
    queue: Queue | None
    held: int
    peer: "Peer"

    def end(self, fault: Fault) -> None:
        """Answer if the client waits for that, and close. Calls :meth:`Connections.closing` at once."""
        ...


class Peer:
    """What the app knows of a connection, as ``scope["state"]["peer"]``.

    It sets ``is_trusted`` once the connection has carried an authenticated callback. Such a connection ends after all others.
    """

    __slots__ = ("_connections", "is_trusted")

    def __init__(self, connections: "Connections | None") -> None:
        self._connections = connections
        self.is_trusted = False

    @property
    def is_crowded(self) -> bool:
        """Whether nearly all connections wait for answers, so that no more callbacks can be taken."""
        return self._connections is not None and self._connections.is_crowded


def peer_of(scope: Scope) -> Peer:
    """The connection of a request. Another server than :mod:`webhook.server` knows of none."""
    peer: Peer | None = scope.get("state", {}).get("peer")
    return Peer(None) if peer is None else peer


class Connections:
    """The open connections of one process, in one event loop."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.tally = Tally("connections.limited", fields=self._figures, seconds=limits.log_seconds)
        self._clock = clock
        self._queues: list[tuple[Queue, Queue]] = [({}, {}) for _ in Phase]
        self._seconds = {
            Phase.NEW: limits.idle_seconds,
            Phase.HEAD: limits.head_seconds,
            Phase.BODY: limits.body_seconds,
            Phase.SURPLUS: limits.body_seconds,
            Phase.UNREAD: limits.unread_seconds,
            Phase.IDLE: limits.idle_seconds,
        }
        self._crowd = limits.connections * 15 // 16
        self._open = 0
        self._closing = 0
        self._held = 0
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def is_crowded(self) -> bool:
        """Whether so many requests are being answered that the few other connections are left to health checks."""
        unknown, trusted = self._queues[Phase.ANSWERING]
        return len(unknown) + len(trusted) > self._crowd

    @property
    def acceptable(self) -> int:
        """How many connections may be accepted now without running out of files. Those they replace close a turn later."""
        return self.limits.connections + self.limits.spare_connections - self._open - self._closing

    def opened(self, client: Client) -> None:
        """Add a connection. If there are too many now, the one that has made no progress for longest ends, perhaps this one."""
        self._open += 1
        self.enter(client, Phase.NEW)
        self.make_room(self._open - self.limits.connections)
        if self._sweeper is None:
            self._sweep_later()

    def enter(self, client: Client, phase: Phase) -> None:
        """Begin a phase. More bytes do not begin it anew."""
        if client.queue is not None:
            del client.queue[client]
        if client.held and phase in _HOLDS_NOTHING:
            self._release(client)
        client.phase = phase
        client.queue = self._queues[phase][client.peer.is_trusted]
        client.queue[client] = self._clock()

    def hold(self, client: Client, size: int) -> None:
        """Count bytes of an unanswered request. If all hold too much, the oldest large request ends, perhaps this one."""
        size = min(size, self.limits.body_bytes + self.limits.head_bytes - client.held)
        client.held += size
        self._held += size
        while self._held > self.limits.held_bytes:
            victim = next(self._large_requests(), None)
            if victim is None:
                return
            victim.end(Fault.MEMORY)

    def closing(self, client: Client) -> None:
        """Forget a connection, whose file is still open."""
        if client.queue is not None:
            del client.queue[client]
            client.queue = None
            self._release(client)
            self._open -= 1
            self._closing += 1

    def closed(self, client: Client) -> None:
        """Count the file of a connection as free again."""
        self.closing(client)
        self._closing -= 1

    def make_room(self, number: int) -> None:
        """End so many connections that make no progress. Requests that are being answered never end."""
        for _ in range(number):
            victim = self._longest_stuck()
            if victim is None:
                return
            victim.end(Fault.TOO_MANY)

    def sweep(self) -> None:
        """End the connections whose phase takes too long."""
        now = self._clock()
        for phase, fault in _OVERDUE.items():
            for queue in self._queues[phase]:
                while queue:
                    client, since = next(iter(queue.items()))
                    if now - since < self._seconds[phase]:
                        break
                    client.end(fault)

    def _sweep_later(self) -> None:
        often = min(_SWEEP_SECONDS, *(seconds / 4 for seconds in self._seconds.values()))
        self._sweeper = asyncio.get_running_loop().call_later(often, self._sweep_on)

    def _sweep_on(self) -> None:
        self._sweeper = None
        self.sweep()
        if self._open:
            self._sweep_later()

    def _longest_stuck(self) -> Client | None:
        for trusted in (False, True):
            queues = [self._queues[phase][trusted] for phase in _OVERDUE]
            firsts = [next(iter(queue.items())) for queue in queues if queue]
            if firsts:
                return min(firsts, key=lambda first: first[1])[0]
        return None

    def _large_requests(self) -> Iterator[Client]:
        for trusted in (False, True):
            for phase in (Phase.BODY, Phase.HEAD):
                for client in self._queues[phase][trusted]:
                    if client.held > self.limits.small_bytes:
                        yield client

    def _release(self, client: Client) -> None:
        self._held -= client.held
        client.held = 0

    def _figures(self) -> dict[str, int]:
        return {"open": self._open, "held_bytes": self._held}
