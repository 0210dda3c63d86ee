"""Which fault applies to a request. Random numbers come from the seed, so that the same requests meet the same faults again."""

from collections.abc import Sequence
from random import Random

from sandbox.simulator.behaviour import Behaviour, Fault
from sandbox.simulator.http import Call


class Faults:
    """The current faults, and how often each was applied: the first ones as often as given, the others not yet."""

    def __init__(self, behaviour: Behaviour, struck: Sequence[int] = ()) -> None:
        self._faults = behaviour.requests
        self._random = Random(behaviour.seed)
        self.struck = [*struck, *[0] * (len(self._faults) - len(struck))]

    def choose(self, call: Call) -> Fault | None:
        """The first fault that matches this request. It counts as applied."""
        for index, fault in enumerate(self._faults):
            if self._applies(fault, self.struck[index], call):
                self.struck[index] += 1
                return fault
        return None

    def _applies(self, fault: Fault, struck: int, call: Call) -> bool:
        if fault.on not in (call.kind, "any") or (fault.plan is not None and fault.plan != call.plan):
            return False
        if fault.provider not in (call.provider, None):
            return False
        if fault.times is not None and struck >= fault.times:
            return False
        if fault.contains is not None and not _contains(call, fault.contains):
            return False
        return fault.probability >= 1 or self._random.random() < fault.probability


def _contains(call: Call, text: str) -> bool:
    return text.encode() in call.body or text in call.raw_query
