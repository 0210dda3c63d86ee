"""An event loop whose time is virtual: where nothing is ready it jumps to the next timer, and never waits.

Everything a history does happens on one such loop, in one order that depends on the seed alone.
"""

import asyncio
import contextvars
import itertools
import selectors
from collections.abc import Coroutine, Generator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

T = TypeVar("T")

EPOCH: Final = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""The calendar time at second zero of the loop's clock."""


class Hang(Exception):
    """A task waits for an event that can never come: no timer is set and nothing is ready."""


def calendar(seconds: float) -> datetime:
    """The loop's time as an instant."""
    return EPOCH + timedelta(seconds=seconds)


def seconds(at: datetime) -> float:
    """An instant as the loop's time."""
    return (at - EPOCH).total_seconds()


class _Jump(selectors.DefaultSelector):
    """Takes no real events. Asked to wait, it moves the clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Hang("nothing is scheduled and a task still waits")
        self.now += max(0.0, timeout)
        return []


class _NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks are walked in the same order in every run."""

    _numbers = itertools.count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. ``adopt`` may be set to learn of every task that is made."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        _NumberedTask._numbers = itertools.count()
        self.set_task_factory(_make_task)
        self.set_debug(False)

    def time(self) -> float:
        return self._jump.now


owner: contextvars.ContextVar["Owner | None"] = contextvars.ContextVar("owner", default=None)
"""The process that a task belongs to. Tasks inherit it from the task that makes them."""


class Owner:
    """Something whose tasks end together."""

    def __init__(self) -> None:
        self.tasks: dict[int, asyncio.Task[Any]] = {}

    def take(self, task: asyncio.Task[Any]) -> None:
        number = hash(task)
        self.tasks[number] = task
        task.add_done_callback(lambda _: self.tasks.pop(number, None))


def _make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **kwargs: Any
) -> asyncio.Task[Any]:
    task = _NumberedTask(coroutine, loop=loop, **kwargs)
    boss = owner.get()
    if boss is not None:
        boss.take(task)
    return task


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on a loop of its own, from second zero, to its end. Raises :class:`Hang`."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        _finish(loop)


def _finish(loop: VirtualLoop) -> None:
    left = sorted(asyncio.all_tasks(loop), key=hash)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()
