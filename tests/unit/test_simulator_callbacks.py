"""The simulator's queue of callbacks."""

import asyncio
from typing import Any

import pytest
from msgspec import Struct

from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.callbacks import Callbacks, Notice, Schedule
from sandbox.simulator.clock import Clock


class Empty(Struct):
    """A body."""


async def test_throttling_of_all_at_once_stops_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver answers the four open callbacks with 429 at the same moment. Those that wait are sent all the same."""
    callbacks = Callbacks(Clock(), Behaviour(callback_connections=4))
    posted, answer, done = 0, asyncio.Event(), asyncio.Event()

    async def post(*_: Any) -> int:
        nonlocal posted
        posted += 1
        if posted > 4:
            return 204
        if posted == 4:
            answer.set()
        await answer.wait()
        return 429

    monkeypatch.setattr(callbacks._poster, "post", post)
    callbacks.on_change = lambda: done.set() if callbacks.idle() else None
    schedule = Schedule(delays=(3600,), success=range(200, 300), unanswered=True)
    callbacks.put([Notice("", Empty, lambda _body, _failed: {}, schedule) for _ in range(10)])

    async with asyncio.timeout(5):
        await done.wait()

    figures = callbacks.report()
    assert (figures.acknowledged, figures.throttled, figures.waiting) == (6, 4, 0)
