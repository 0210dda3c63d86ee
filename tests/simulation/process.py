"""A process inside the loop: it can stall, it can die at any await, and it calls the database through a bad network."""

import asyncio
from typing import Any, Final, Protocol

from jobs.gateway.errors import GatewayUnavailable
from tests.simulation.chaos import Chaos
from tests.simulation.clockwork import Owner, calendar, owner
from tests.simulation.database import Database
from tests.simulation.witness import Witness

_CALL_TIMEOUT: Final = 15.0


class Observer(Protocol):
    """Called for every call to the database."""

    def asked(self, process: str, function: str, arguments: dict[str, Any]) -> None:
        """The caller calls."""
        ...

    def carried_out(self, process: str, function: str, arguments: dict[str, Any], answer: Any) -> None:
        """The database executed the call, whether or not the caller gets the answer."""
        ...

    def unanswered(self, process: str, function: str, arguments: dict[str, Any]) -> None:
        """The caller is about to get a timeout."""
        ...


class Process(Owner):
    """Tasks that live and die together."""

    def __init__(self, name: str, chaos: Chaos, witness: Witness) -> None:
        super().__init__()
        self.name = name
        self.alive = True
        self.stalled_until = 0.0
        self._chaos = chaos
        self._witness = witness

    def start(self, story: Any) -> "asyncio.Task[Any]":
        token = owner.set(self)
        try:
            return asyncio.create_task(story, name=self.name)
        finally:
            owner.reset(token)

    def die(self) -> None:
        """SIGKILL: none of its tasks runs on, and nothing it still tries has an effect."""
        if not self.alive:
            return
        self.alive = False
        self._witness.say(self.name, "dies")
        for task in list(self.tasks.values()):
            task.cancel()

    async def breathe(self) -> None:
        """A point at which the process may die or stall."""
        self.check()
        if self._chaos.happens("process.crash"):
            self.die()
            self.check()
        if self._chaos.happens("process.stall"):
            self.stalled_until = self._now() + self._chaos.between(0.2 * self._chaos.profile.lease, self._chaos.longest_stall)
            self._witness.say(self.name, f"stalls for {self.stalled_until - self._now():.1f} s")
        while self.stalled_until > self._now():
            await asyncio.sleep(self.stalled_until - self._now())
            self.check()

    def check(self) -> None:
        """A dead process does nothing more."""
        if not self.alive:
            raise asyncio.CancelledError

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class Wire:
    """Replaces :class:`jobs.gateway.rpc.Rpc`: real functions in a real database behind an API that loses calls."""

    def __init__(self, process: Process, database: Database, chaos: Chaos, witness: Witness, observer: Observer) -> None:
        self._process = process
        self._database = database
        self._chaos = chaos
        self._witness = witness
        self._observer = observer

    async def call(self, function: str, arguments: dict[str, Any]) -> Any:
        self._observer.asked(self._process.name, function, arguments)
        await self._process.breathe()
        chaos = self._chaos
        if chaos.outage or chaos.happens("call.lost"):
            return await self._give_up(function, arguments, "lost on the way there")
        if chaos.happens("call.late"):
            self._execute_late(function, arguments)
            return await self._give_up(function, arguments, "timed out, to arrive later")

        await asyncio.sleep(chaos.latency() + (chaos.between(0, _CALL_TIMEOUT) if chaos.happens("call.slow") else 0))
        self._process.check()
        answer = self._execute(function, arguments)
        if chaos.happens("call.unanswered"):
            return await self._give_up(function, arguments, "lost on the way back")
        await asyncio.sleep(chaos.latency())
        await self._process.breathe()
        return answer

    async def _give_up(self, function: str, arguments: dict[str, Any], why: str) -> Any:
        await asyncio.sleep(self._chaos.between(0, _CALL_TIMEOUT))
        await self._process.breathe()
        self._witness.say(self._process.name, f"{function}: {why}")
        self._observer.unanswered(self._process.name, function, arguments)
        raise GatewayUnavailable(f"{function}: {why}")

    async def aclose(self) -> None:
        pass

    def _execute(self, function: str, arguments: dict[str, Any]) -> Any:
        self._database.set_clock(calendar(asyncio.get_running_loop().time()))
        answer = self._database.call(function, arguments)
        self._observer.carried_out(self._process.name, function, arguments, answer)
        return answer

    def _execute_late(self, function: str, arguments: dict[str, Any]) -> None:
        """The request waits in a queue and is executed after its caller gave up."""

        def arrive() -> None:
            try:
                self._execute(function, arguments)
            except Exception as error:  # noqa: BLE001  # the caller gave up
                self._witness.say(self._process.name, f"{function}, late: {error}")

        delay = self._chaos.latency() + self._chaos.between(0, 3 * _CALL_TIMEOUT)
        asyncio.get_running_loop().call_later(delay, arrive)
