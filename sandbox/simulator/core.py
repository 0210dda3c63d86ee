"""The parts that both providers share: clock, books, behaviour, callbacks, and waiting for any of them to change."""

import asyncio
from collections.abc import Callable
from random import Random

from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.books import Books
from sandbox.simulator.callbacks import Callbacks
from sandbox.simulator.clock import Clock
from sandbox.simulator.reporting import Reporter


class Core:
    """Must be made and used inside one event loop. ``random`` is drawn from the seed, ``ids`` is not."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.clock = Clock()
        self.books = Books()
        self.ids = Random()
        self.callbacks = Callbacks(self.clock, behaviour)
        self.reporter = Reporter(self.clock, self.callbacks)
        self._changed = asyncio.Event()
        self._ordinals = 0
        self.behave(behaviour)

    def behave(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.callbacks.behaviour = behaviour
        self.random = Random(behaviour.seed)

    async def reset(self) -> None:
        """Delete everything except the behaviour; the clock starts again."""
        self.reporter.clear()
        await self.callbacks.clear()
        self.clock.reset()
        self.books = Books()
        self._ordinals = 0

    def next_ordinal(self) -> int:
        """The number of the next accepted request, counted over both providers from 1."""
        self._ordinals += 1
        return self._ordinals

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until something becomes true. False if it did not within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def changed(self) -> None:
        """Something changed that a caller may be waiting for."""
        self._changed.set()

    async def run(self) -> None:
        """Keep sending callbacks about messages."""
        self.reporter.on_change = self.changed
        try:
            await self.reporter.run()
        finally:
            await self.callbacks.aclose()
