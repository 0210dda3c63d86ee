"""Group commit: items that arrive together are committed together, and each request is answered after the commit.

A call costs far more than one item in it. A group is therefore sent once all requests that have arrived were read, and the next
group gathers while that call is in flight: under load groups grow, and the number of calls does not. A group that the database
refuses is halved until the refused item is alone; the other items are committed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

import structlog

from jobs.gateway.errors import GatewayRefused, GatewayUnavailable
from jobs.gateway.halves import in_halves

log = structlog.get_logger()
T = TypeVar("T")
_QUIET_TURNS, _MOST_TURNS = 3, 20

WAITING: Final = 10_000
"""How many items of one kind may wait."""
CALLS: Final = 3
"""How many database calls of one kind may be in flight."""


class Overloaded(Exception):
    """More items wait than may wait."""


@dataclass(slots=True)
class _Ticket:
    """One request that waits for its items. Its future may be cancelled meanwhile, when the client disconnects.

    ``repeated``: all its items so far had been committed before.
    """

    future: asyncio.Future[bool]
    left: int
    repeated: bool = True

    def committed(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result(self.repeated)

    def failed(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


_Entries = Sequence[tuple[T, _Ticket]]


class GroupCommit(Generic[T]):
    """Collects items of one kind from many requests into one database call.

    ``commit`` stores all items or none, in the order of ``order``, so that two processes that store the same rows do not
    deadlock. It returns the places of items that were stored before. ``set_aside`` receives the single item that the database
    refuses. At most ``waiting`` items wait, and one call takes at most ``size``. A call that takes longer than ``seconds``
    counts as failed.

    A group is sent once ``crowd`` items wait, once three turns of the event loop bring no item, and after twenty turns in any
    case. One call is in flight at a time, and up to ``calls`` while ``crowd`` items wait.
    """

    def __init__(
        self,
        *,
        commit: Callable[[Sequence[T]], Awaitable[Collection[int]]],
        order: Callable[[T], Any],
        set_aside: Callable[[T, GatewayRefused], Awaitable[None]],
        waiting: int = WAITING,
        size: int = 1_000,
        calls: int = CALLS,
        crowd: int = 100,
        seconds: float = 10.0,
    ) -> None:
        self._commit = commit
        self._order = order
        self._set_aside = set_aside
        self._most_waiting = waiting
        self._size = size
        self._calls = calls
        self._crowd = min(crowd, size)
        self._seconds = seconds
        self._waiting: deque[tuple[T, _Ticket]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def add(self, items: Sequence[T]) -> bool:
        """Return when all of ``items`` are committed: whether all of them had been committed before.

        Raises at once :class:`Overloaded` or, once this is closed, GatewayUnavailable; later whatever the call raised. If the
        caller is cancelled meanwhile, the items are committed all the same. One request with more items than may wait is let in
        alone.
        """
        if self._is_closed:
            raise GatewayUnavailable("stopping")
        if self._waiting and len(self._waiting) + len(items) > self._most_waiting:
            raise Overloaded
        if not items:
            return True
        ticket = _Ticket(asyncio.get_running_loop().create_future(), len(items))
        self._waiting.extend((item, ticket) for item in items)
        self._wake_worker()
        return await ticket.future

    async def aclose(self) -> None:
        """Take no more items, and wait a second for the waiting ones. The rest is not acknowledged: the provider repeats it."""
        self._is_closed = True
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=1.0)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        while self._waiting:
            _, ticket = self._waiting.popleft()
            ticket.failed(GatewayUnavailable("stopped before it was committed"))

    def _wake_worker(self) -> None:
        if self._workers and (len(self._workers) >= self._calls or len(self._waiting) < self._crowd):
            return
        self._workers.add(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                # Another worker may have taken all items meanwhile.
                if group := [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]:
                    await self._settle_or_fail(group)
        finally:
            # Here and not in a callback of the task, which would run a turn later: until then an item could arrive, find a
            # worker that has finished, and wait for ever.
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _gather(self) -> None:
        """Wait for the requests that are being read. This counts turns, not time: an idle loop turns in microseconds."""
        quiet = turns = 0
        while len(self._waiting) < self._crowd and quiet < _QUIET_TURNS and turns < _MOST_TURNS:
            before = len(self._waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == before else 0
            turns += 1

    async def _settle_or_fail(self, group: _Entries[T]) -> None:
        """Settle the group, or fail its requests: whatever happens, no request waits for ever."""
        try:
            await in_halves(group, attempt=self._try, settle=self._settle)
        except BaseException as error:
            for _, ticket in group:
                ticket.failed(GatewayUnavailable("stopped while committing") if not isinstance(error, Exception) else error)
            if not isinstance(error, Exception):
                raise

    async def _settle(self, part: _Entries[T], error: Exception | None) -> None:
        if error is None:
            for _, ticket in part:
                ticket.committed()
        elif isinstance(error, GatewayUnavailable):
            for _, ticket in part:
                ticket.failed(error)
        else:
            await self._settle_alone(*part[0], error)

    async def _try(self, part: _Entries[T]) -> Exception | None:
        try:
            async with asyncio.timeout(self._seconds):
                entries = sorted(part, key=lambda entry: self._order(entry[0]))
                repeated = await self._commit([item for item, _ in entries])
        except TimeoutError:
            return GatewayUnavailable(f"the database did not answer within {self._seconds:g} s")
        except Exception as error:  # noqa: BLE001  # an error that one item causes must not reach the others' requests
            return error
        if len(repeated) < len(entries):
            for place, (_, ticket) in enumerate(entries):
                ticket.repeated = ticket.repeated and place in repeated
        return None

    async def _settle_alone(self, item: T, ticket: _Ticket, error: Exception) -> None:
        if not isinstance(error, GatewayRefused):
            log.error("commit.failed", exc_info=error)
            ticket.failed(error)
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._set_aside(item, error)
        except Exception as second:  # noqa: BLE001  # it could not even be kept: this request alone fails
            ticket.failed(second)
        else:
            ticket.repeated = False
            ticket.committed()
