"""Everything that the simulator stores: what the providers share, and each provider's own."""

from collections.abc import Sequence

from sandbox.simulator.behaviour import Behaviour
from sandbox.simulator.core import Core
from sandbox.simulator.faults import Faults
from sandbox.simulator.http import Answer, Call
from sandbox.simulator.sinch.plans import PlanSettings
from sandbox.simulator.sinch.provider import Sinch
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.vonage.provider import Vonage


class World:
    """Both providers behind their APIs. Must be made and used inside one event loop."""

    def __init__(self, behaviour: Behaviour, plans: list[PlanSettings], applications: Sequence[ApplicationSettings]) -> None:
        self.core = Core(behaviour)
        self.sinch = Sinch(self.core, plans)
        self.vonage = Vonage(self.core, applications)
        self.faults = Faults(behaviour)
        self.outstanding = 0
        self._answered: dict[tuple[str, str], Answer] = {}

    @property
    def behaviour(self) -> Behaviour:
        return self.core.behaviour

    def behave(self, behaviour: Behaviour, *, anew: bool = True) -> None:
        """Behave like this from now on. Unless ``anew``, applied faults stay used up. Accepted messages keep their states."""
        self.core.behave(behaviour)
        self.faults = Faults(behaviour, () if anew else self.faults.struck)
        self.sinch.behave()
        self.vonage.behave()

    async def reset(self) -> None:
        """Delete everything except plans, applications and the behaviour; clock and seed start again."""
        await self.core.reset()
        self._answered = {}
        self.sinch.reset()
        self.vonage.reset()
        self.behave(self.behaviour)
        self.core.changed()

    def remember(self, call: Call, answer: Answer) -> None:
        """Keep the latest answer to a request of each kind that met no fault."""
        self._answered[call.provider, call.kind] = answer

    def remembered(self, call: Call) -> Answer:
        return self._answered.get((call.provider, call.kind), Answer(500))

    def advance(self, seconds: float) -> None:
        self.core.clock.advance(seconds)
        self.core.reporter.wake()

    async def settle(self, seconds: float, *, retries: bool) -> bool:
        """Let every message become final and every callback be tried, now. False if that took too long."""
        now = self.core.clock.now()
        self.sinch.hurry(now)
        self.vonage.hurry(now)
        self.core.reporter.hurry(now)
        if retries:
            self.core.callbacks.retry_now()
        return await self.core.wait_until(self.core.reporter.idle, seconds)
