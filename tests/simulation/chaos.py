"""What goes wrong in a history, and how badly, drawn from its seed.

Each history suffers from some faults and not from others: one that has them all hides what each alone can do.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

FAULTS: Final[Mapping[str, float]] = {
    # A call to the database
    "call.lost": 0.2,
    "call.unanswered": 0.2,
    "call.late": 0.1,
    "call.slow": 0.2,
    "call.outage": 0.5,
    # A process
    "process.crash": 0.05,
    "process.stall": 0.04,
    "process.drain": 0.3,
    # A request to the provider
    "request.lost": 0.15,
    "request.unanswered": 0.3,
    "request.overdue": 0.15,
    "request.unreachable": 0.1,
    "request.partial": 0.2,
    "request.crash": 0.15,
    # What the provider answers
    "answer.throttled": 0.2,
    "answer.account": 0.5,
    "answer.setting": 0.4,
    "answer.no_callback": 0.1,
    "answer.poisoned_number": 0.15,
    "answer.poisoned_text": 0.3,
    "answer.stale": 0.3,
    # What its lists say
    "list.error": 0.25,
    "list.lag": 0.6,
    "list.paged": 0.5,
    "list.unreferenced": 0.6,
    "list.rewritten": 0.3,
    # What becomes of the messages
    "report.lost": 0.5,
    "report.repeated": 0.3,
    "report.late": 0.3,
    "report.early": 0.3,
    "report.contradicts": 0.1,
    "report.temporary": 0.4,
    "report.failed": 0.3,
    "report.blocked": 0.05,
    "report.opted_out": 0.05,
    "report.never": 0.15,
    "report.odd_time": 0.3,
    # People
    "app.cancels": 0.3,
    "app.schedules": 0.4,
    "app.hurries": 0.3,
    "phone.stops": 0.4,
    "operator.suppresses": 0.2,
    "clock.jumps": 0.5,
}
"""The worst probability of each fault."""

RESTORES: Final[Mapping[str, float]] = {
    # The database is restored from a backup of a minute ago or two, while its processes live on.
    "database.restored": 1.0,
}
"""One history in ten ends with this. Nothing is sent before an operator adopts what was sent, and nothing twice after that."""

CLOCKS: Final[Mapping[str, float]] = {
    # The server's clock is set forward or back by minutes.
    "clock.steps": 0.95,
    # The provider's clock differs by minutes.
    "provider.clock": 1.0,
}
"""Drawn apart from the others, so that these came to the histories that were there."""
MOST_STEP_SECONDS: Final = 4500.0
"""The server's clock is off by no more at any time, and the provider's by no more than twice as much."""

KINDS: Final[Mapping[str, float]] = {
    # The provider takes one recipient a request, and lists no requests.
    "provider.without_list": 1.0,
}
"""One history in five has such a provider."""
WITHOUT_LIST: Final[Mapping[str, float]] = {
    # A request never shows in the records.
    "list.silent": 0.5,
    # A callback comes without a signature, is refused, and comes again.
    "report.unsigned": 0.3,
    # A callback comes up to 72 hours late.
    "report.days_late": 0.3,
    # The provider does not know what became of a message, although it may have been delivered.
    "report.doubted": 0.3,
}
"""Faults that only such a provider has."""

TWO: Final[Mapping[str, float]] = {
    # There are two accounts: one at a provider with a list, and one at a provider without.
    "accounts.two": 1.0,
}
"""One history in four has two accounts."""
WITH_TWO: Final[Mapping[str, float]] = {
    # A process serves one of the accounts only.
    "process.one_account": 0.6,
    # A provider is away for a while.
    "provider.away": 0.7,
    # A report says that the provider stopped a message before it reached a network.
    "report.stopped": 0.3,
    # An operator pauses an account, changes its weights, or keeps the engine from changing them.
    "operator.pauses": 0.6,
    "operator.routes": 0.7,
    "operator.pins": 0.4,
    # An operator has routes that move what a network refused.
    "operator.trusts": 1.0,
}
"""Faults and acts that only a history with two accounts has."""
_OF_AN_ACCOUNT: Final = ("request.", "answer.", "list.", "report.", "provider.", "corner.")
"""What begins so goes wrong at one account. The rest concerns the whole history."""

_HOLDS: Final = ("answer.poisoned_number", "answer.poisoned_text", "answer.setting")
"""These hold texts. The claim of 0.1.0 does not try them again: that takes a process of 0.2.0."""
SINCE_0_2: Final = frozenset({"answer.stale", "list.unreferenced", "list.rewritten", *_HOLDS, *RESTORES, *CLOCKS, *KINDS, *TWO})
"""Faults that release 0.1.0 does not withstand: its histories go without them."""
IS_OLDER: Final = find_spec("jobs.providers.sinch.acceptance") is None
"""Whether the jobs are those of 0.1.0, beside the schema of this checkout."""

CORNERS: Final[Mapping[str, float]] = {
    # The network delivers a request after its sender gave it up and two lookups missed it.
    "corner.late": 0.2,
    # The network delivers a request twice.
    "corner.repeated": 0.1,
    # An attempt is reported as stopped before the carrier and delivered nevertheless.
    "corner.contradicts": 0.2,
}
"""Faults that the promise does not cover. One history in eight has one of these, and the engine must detect and report it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One history's setting. Times are in seconds. At most ``burst`` messages are inserted at once."""

    trouble: float
    messages: int
    numbers: int
    texts: int
    workers: int
    max_recipients: int
    messages_per_second: float | None
    requests_per_minute: int
    lease: float
    settle: float
    reconcile_after: float
    latency: float
    rates: Mapping[str, float]
    provider_ahead: float = 0.0
    burst: int = 1

    @property
    def has_two(self) -> bool:
        """Whether the history has two accounts."""
        return self.rates["accounts.two"] > 0

    @property
    def trusts_network(self) -> bool:
        """Whether another account may send what a network refused."""
        return self.rates["operator.trusts"] > 0

    @property
    def steps(self) -> bool:
        """Whether the clocks differ by minutes at some time, so that no instant of one can be compared with another's."""
        return any(self.rates[name] > 0 for name in CLOCKS)

    @property
    def has_list(self) -> bool:
        """Whether the provider lists its requests, so that their absence can be proved."""
        return not self.rates["provider.without_list"]

    @property
    def jumps(self) -> bool:
        return self.rates["clock.jumps"] > 0


def profile(seed: int | str) -> Profile:
    random = Random(f"profile {seed}")
    share = random.choice((0.1, 0.3, 0.5, 0.8))
    rates = {name: worst * random.random() if random.random() < share else 0.0 for name, worst in FAULTS.items()}
    corner = random.choice(tuple(CORNERS)) if random.random() < 0.125 else None
    rates.update({name: worst if name == corner else 0.0 for name, worst in CORNERS.items()})
    # Drawn by itself, so that the other histories stay as they are.
    rates.update({name: worst if Random(f"{name} {seed}").random() < 0.1 else 0.0 for name, worst in RESTORES.items()})
    clocks = Random(f"clocks {seed}")
    rates.update({name: worst if clocks.random() < 0.25 else 0.0 for name, worst in CLOCKS.items()})
    kinds = Random(f"kind {seed}")
    rates.update({name: worst if kinds.random() < 0.2 else 0.0 for name, worst in KINDS.items()})
    rates.update({name: worst * kinds.random() if kinds.random() < share else 0.0 for name, worst in WITHOUT_LIST.items()})
    two = Random(f"two {seed}")
    rates.update({name: worst if two.random() < 0.25 else 0.0 for name, worst in TWO.items()})
    rates.update({name: worst * two.random() if two.random() < share else 0.0 for name, worst in WITH_TWO.items()})
    if IS_OLDER:
        rates.update(dict.fromkeys(SINCE_0_2, 0.0))
    return Profile(
        trouble=random.uniform(40, 200),
        messages=random.choice((1, 3, 8, 15, 25, 40)),
        numbers=random.choice((1, 4, 12, 30)),
        texts=random.choice((1, 1, 2, 5)),
        workers=random.choice((1, 2, 2, 3, 4)),
        max_recipients=random.choice((1, 2, 4, 10, 1000)),
        messages_per_second=random.choice((None, None, 0.5, 1.0, 3.0, 10.0)),
        requests_per_minute=random.choice((10, 30, 120, 600, 600)),
        lease=random.choice((6.0, 30.0)),
        settle=random.choice((5.0, 20.0)),
        reconcile_after=random.choice((5.0, 60.0, 300.0)),
        latency=random.choice((0.01, 0.1, 0.5)),
        rates=rates,
        # Drawn by itself, so that the other histories stay as they are.
        burst=Random(f"burst {seed}").choice((1, 1, 12)),
        provider_ahead=round(clocks.uniform(-2 * MOST_STEP_SECONDS, 2 * MOST_STEP_SECONDS), 3),
    )


def _worst(certain: Collection[str]) -> dict[str, float]:
    worst = {**FAULTS, **CLOCKS, **RESTORES, **KINDS, **WITHOUT_LIST, **TWO, **WITH_TWO}
    return {name: worst[name] for name in certain}


def _consistent(drawn: Profile, rates: dict[str, float]) -> Profile:
    """The profile with these rates, without faults that a provider of its kind cannot have."""
    ahead = drawn.provider_ahead if rates["provider.clock"] else 0.0
    if not rates["accounts.two"]:
        rates.update(dict.fromkeys(WITH_TWO, 0.0))
    if not rates["provider.without_list"]:
        rates.update(dict.fromkeys(WITHOUT_LIST, 0.0))
        return replace(drawn, rates=rates, provider_ahead=ahead)
    # A 202 does not name its request.
    rates["answer.stale"] = 0.0
    if not rates["accounts.two"]:
        # Without a list, an operator cannot adopt what was sent since a backup.
        rates.update(dict.fromkeys(RESTORES, 0.0))
    return replace(drawn, rates=rates, provider_ahead=ahead, max_recipients=1)


class Chaos:
    """Decides, from the seed, what happens next. After :meth:`end` nothing goes wrong any more.

    ``certain`` names faults that this history suffers from at their worst, whatever the seed says. ``other`` decides for the
    second account, if there is one.
    """

    def __init__(self, seed: int, *, certain: Collection[str] = ()) -> None:
        drawn = profile(seed)
        self.profile = _consistent(drawn, {**drawn.rates, **_worst(certain)})
        self.random = Random(f"chaos {seed}")
        self.ended = False
        self.outage = False
        self.other = _Other(self.profile, seed, certain) if self.profile.has_two else None

    @property
    def accounts(self) -> "tuple[Chaos, ...]":
        """One for each account, the first of which decides for the rest of the history too."""
        return (self,) if self.other is None else (self, self.other)

    def end(self) -> None:
        for account in self.accounts:
            account.ended = True
        self.outage = False

    def happens(self, fault: str) -> bool:
        rate = self.profile.rates[fault]
        return rate > 0 and not self.ended and self.random.random() < rate

    def latency(self) -> float:
        """One course of a request through a network that works."""
        return 0.001 + self.random.expovariate(1 / self.profile.latency) % (10 * self.profile.latency)

    def between(self, least: float, most: float) -> float:
        return self.random.uniform(least, most)

    def pick(self, choices: Sequence[T]) -> T:
        return self.random.choice(choices)

    @property
    def deadline(self) -> float:
        return self.profile.lease / 3

    @property
    def grace(self) -> float:
        """How long after its sender gave up a request may still show up in the list: within what the promise covers.

        The second lookup is a settling time after the first. Where the server's clock jumps, it is so much sooner.
        """
        return self.profile.settle * 0.9 - self.most_jump

    @property
    def longest_stall(self) -> float:
        return 4 * self.profile.lease + 2 * self.profile.settle

    @property
    def most_step(self) -> float:
        """How much the clocks of the server and the provider may differ, from each other or from what they showed before."""
        return 3 * MOST_STEP_SECONDS if self.profile.steps else 0.0

    @property
    def most_jump(self) -> float:
        """The largest sum of all forward jumps of a history's clock."""
        return min(self.profile.settle * 0.4, self.deadline * 0.9) if self.profile.jumps else 0.0


class _Other(Chaos):
    """Of a second account, which has faults, limits and a clock of its own, and is at a provider of the other kind."""

    def __init__(self, first: Profile, seed: int, certain: Collection[str]) -> None:
        drawn = profile(f"{seed}, the other account")
        own = {name: rate for name, rate in drawn.rates.items() if name.startswith(_OF_AN_ACCOUNT)}
        rates = {**first.rates, **own, **_worst(certain)}
        rates["provider.without_list"] = float(first.has_list)
        # Either clock that differs makes instants incomparable.
        rates["provider.clock"] = first.rates["provider.clock"]
        both = replace(
            first,
            max_recipients=drawn.max_recipients,
            messages_per_second=drawn.messages_per_second,
            requests_per_minute=drawn.requests_per_minute,
            provider_ahead=drawn.provider_ahead,
        )
        self.profile = _consistent(both, rates)
        self.random = Random(f"chaos {seed}, the other account")
        self.ended = False
        self.outage = False
        self.other = None
