"""How messages end: rules for particular numbers first, then shares of all, otherwise delivered."""

from collections import Counter
from collections.abc import Sequence
from random import Random

from sandbox.simulator.outcomes import Outcome, Rule, Share


class RuleBook:
    """Finds the rule for a number by its ending. One book serves all messages of a behaviour, because some rules count."""

    def __init__(self, rules: Sequence[Rule], shares: Sequence[Share], otherwise: Outcome) -> None:
        self._rules = {rule.suffix: rule for rule in rules}
        self._lengths = sorted({len(suffix) for suffix in self._rules}, reverse=True)
        self._refused = tuple(rule.suffix for rule in rules if rule.refused)
        self._shares = shares
        self._otherwise = otherwise
        self._counts: Counter[tuple[str, str]] = Counter()

    def first_refused(self, recipients: Sequence[str]) -> int | None:
        """The place of the first recipient that is refused when sent."""
        if not self._refused:
            return None
        return next((index for index, number in enumerate(recipients) if number.endswith(self._refused)), None)

    def outcome(self, recipient: str, random: Random) -> Outcome:
        rule = self._find(recipient)
        if rule is not None and rule.outcome is not None and self._still_holds(rule, recipient):
            return rule.outcome
        return self._shared(random) if self._shares else self._otherwise

    def _find(self, recipient: str) -> Rule | None:
        for length in self._lengths:
            rule = self._rules.get(recipient[-length:])
            if rule is not None:
                return rule
        return None

    def _still_holds(self, rule: Rule, recipient: str) -> bool:
        if rule.times is None:
            return True
        self._counts[rule.suffix, recipient] += 1
        return self._counts[rule.suffix, recipient] <= rule.times

    def _shared(self, random: Random) -> Outcome:
        drawn = random.random()
        for share in self._shares:
            if drawn < share.share:
                return share.outcome
            drawn -= share.share
        return self._otherwise
