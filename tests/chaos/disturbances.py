"""The disturbances of the processes while messages go out. One seed gives the same disturbances in the same order."""

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import monotonic, time
from typing import Final

from sandbox.simulator.behaviour import ProviderName
from tests.chaos.database import Database
from tests.chaos.fleet import SCHEDULERS, WEBHOOKS, Fleet
from tests.chaos.outages import PAUSE, Kind, Outage, planned
from tests.chaos.providers import NEVER_RECORDED, RECORDS_LAG, Accounts, Times

_TERMINATE: Final = (
    "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
)
_DECK: Final = (
    *("kill a scheduler",) * 3,
    "terminate a scheduler",
    "suspend a scheduler",
    "kill PostgreSQL",
    "restart PostgreSQL",
    "terminate backends",
    "kill the Supabase API",
    "kill a webhook app",
    *("cut a scheduler off from Supabase", "scheduler to Supabase half-open", "webhook to Supabase half-open"),
    *("cut the provider", "provider half-open", "some flows to the provider half-open"),
    *("cut callbacks", "callbacks half-open"),
)
_CLOCK: Final = "set the database's clock"
_HOURS: Final = (-1, 0, 1)


@dataclass(frozen=True, slots=True)
class Later:
    """The action that ends a disturbance, and when, in monotonic seconds."""

    at: float
    what: str
    undo: Callable[[], None]


class Disturbances:
    """Draws them from a shuffled deck, so that each kind comes about as often as the deck holds it.

    ``pace`` is the mean of the seconds between two. No process is suspended or half-open for longer than a lease and lookups
    take: docs/promise.md explains how a request could then arrive too late. ``more`` are further kinds.

    With ``clock_steps`` every other disturbance sets the database's clock an hour forward or back. With several accounts each
    provider is also ``away`` for that many seconds, and the others are meant to send.
    """

    def __init__(
        self,
        fleet: Fleet,
        db: Database,
        times: Times,
        accounts: Accounts,
        *,
        pace: float,
        random: Random,
        away: float,
        clock_steps: bool = False,
        more: tuple[str, ...] = (),
    ) -> None:
        self._fleet = fleet
        self._db = db
        self._times = times
        self._pace = pace
        self._random = random
        deck = (*_DECK, *accounts.disturbances, *more)
        self._cards = (*deck, *(_CLOCK,) * len(deck)) if clock_steps else deck
        self._deck: list[str] = []
        self._hours = 0
        self._next_at = monotonic() + pace
        self._later: list[Later] = []
        self._absent: dict[str, float] = {}
        self._suspended: set[str] = set()
        self._accounts = accounts
        self._away = away
        self._planned = planned(accounts)
        self._away_at = monotonic() + max(PAUSE * away, times.lease)
        self._disturbed: set[ProviderName] = set()
        self.outages: list[Outage] = []
        self.counts: Counter[str] = Counter()
        self.last_ended = monotonic()

    def advance(self, say: Callable[[str], None], *, more: bool) -> None:
        """End what is due to end, restart processes that ended, and start a new disturbance if ``more`` are wanted."""
        for name in [name for name, at in self._absent.items() if at <= monotonic() and self._fleet.ended(name)]:
            del self._absent[name]
            self._fleet.start_again(name)
            say(f"another {name} started")
        for later in [later for later in self._later if later.at <= monotonic()]:
            self._end(later, say)
        if more and self._planned and monotonic() >= self._away_at and self._planned[0][0] not in self._disturbed:
            self._send_away_for_long(*self._planned.popleft(), say)
        if more and monotonic() >= self._next_at:
            self._next_at = monotonic() + self._pace * self._random.uniform(0.3, 1.7)
            self._disturb(say)

    def note_end(self) -> None:
        """A disturbance outside this class has ended just now."""
        self.last_ended = monotonic()

    @property
    def over(self) -> bool:
        """Whether no disturbance is active."""
        return not self._later and not self._absent

    def set_last_clock(self, say: Callable[[str], None]) -> None:
        """The latest time that the clock showed: what was inserted then would else wait for it for an hour."""
        if _CLOCK in self._cards and self._set_clock(max(_HOURS)):
            say(f"{_CLOCK}: {self._off()}")
            self.last_ended = monotonic()

    def _disturb(self, say: Callable[[str], None]) -> None:
        if not self._deck:
            self._deck = self._random.sample(self._cards, len(self._cards))
        kind = self._deck.pop()
        self.counts[kind] += 1
        say(f"{kind}: {self._do(kind)}")
        self.last_ended = monotonic()

    def _end(self, later: Later, say: Callable[[str], None]) -> None:
        self._later.remove(later)
        later.undo()
        say(later.what)
        self.last_ended = monotonic()

    def _do(self, kind: str) -> str:
        """Start the disturbance. Returns its target and its duration."""
        if "half-open" in kind:
            return self._half_open(kind)
        if kind.startswith("cut"):
            return self._cut(kind)
        others: dict[str, Callable[[], str]] = {
            "kill a scheduler": lambda: self._end_one(SCHEDULERS, signal.SIGKILL),
            "kill a webhook app": lambda: self._end_one(WEBHOOKS, signal.SIGKILL),
            "terminate a scheduler": lambda: self._end_one(SCHEDULERS, signal.SIGTERM),
            "suspend a scheduler": self._suspend,
            "terminate backends": lambda: f"{len(self._db.ask(_TERMINATE) or ())} of them",
            "provider away": self._send_away,
            "records never shown": self._hide_records,
        }
        if kind in others:
            return others[kind]()
        return self._to_supabase(kind)

    def _set_clock(self, hours: int) -> bool:
        if not self._db.does("update outbox_engine.clock set shift = make_interval(hours => %s)", hours):
            return False
        self._hours = hours
        return True

    def _off(self) -> str:
        return f"it is off by {self._hours:+d} h"

    def _to_supabase(self, kind: str) -> str:
        stack = self._fleet.stack
        if kind == _CLOCK:
            self._set_clock(self._random.choice([hours for hours in _HOURS if hours != self._hours]))
            return self._off()
        if kind == "kill PostgreSQL":
            stack.kill_postgres()
        elif kind == "kill the Supabase API":
            stack.kill_api()
        else:
            stack.stop_postgres()
            stack.start_postgres()
        return "it comes back by itself" if kind != "restart PostgreSQL" else "it is back"

    def _end_one(self, names: tuple[str, ...], how: signal.Signals) -> str:
        """A process replaces it shortly after it ended."""
        present = self._present(names)
        if not present:
            return "none is there"
        name = self._random.choice(present)
        self._fleet.signal(name, how)
        self._absent[name] = monotonic() + self._random.uniform(0.0, 2.0)
        return name

    def _suspend(self) -> str:
        present = self._present(SCHEDULERS)
        if not present:
            return "none is there"
        name = self._random.choice(present)
        seconds = self._times.lease * self._random.uniform(0.8, 1.2)
        self._fleet.signal(name, signal.SIGSTOP)
        self._suspended.add(name)
        self._after(seconds, f"{name} goes on", lambda: self._resume(name))
        return f"{name} for {seconds:.1f} s"

    def _resume(self, name: str) -> None:
        self._suspended.discard(name)
        self._fleet.signal(name, signal.SIGCONT)

    def _present(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if name not in self._absent and name not in self._suspended]

    def _cut(self, kind: str) -> str:
        if "provider" in kind:
            link: str | None = self._provider()
        elif "events" in kind:
            link = "events"
        else:
            link = f"{self._random.choice(SCHEDULERS)} to Supabase" if "scheduler" in kind else "callbacks"
        if link is None:
            return "none is there"
        self._fleet.network.cut(link)
        return link

    def _half_open(self, kind: str) -> str:
        network, times = self._fleet.network, self._times
        if "provider" in kind:
            return self._provider_half_open(kind)
        link, most = {
            "scheduler to Supabase half-open": (f"{self._random.choice(SCHEDULERS)} to Supabase", 1.2 * times.lease),
            "webhook to Supabase half-open": (f"{self._random.choice(WEBHOOKS)} to Supabase", times.lease),
            "callbacks half-open": ("callbacks", times.deadline),
            "events half-open": ("events", 2 * times.lease),
        }[kind]
        network.freeze(link)
        seconds = most * self._random.uniform(0.2, 1.0)
        self._after(seconds, f"{link} carries again", lambda: network.thaw(link))
        return f"{link} for {seconds:.1f} s"

    def _provider_half_open(self, kind: str) -> str:
        name, network = self._provider(), self._fleet.network
        if name is None:
            return "none is there"
        if kind == "provider half-open":
            most = 2 * self._times.deadline
            network.freeze(name)
        else:
            most = 1.2 * self._times.lease
            network.forget_some(name, self._random)
        seconds = most * self._random.uniform(0.2, 1.0)
        self._disturb_provider(name, seconds, f"{name} carries again", lambda: network.thaw(name))
        return f"{name} for {seconds:.1f} s"

    def _send_away(self) -> str:
        """A provider takes no connection."""
        name, network = self._provider(), self._fleet.network
        if name is None:
            return "none is there"
        seconds = self._times.deadline * self._random.uniform(0.5, 2.0)
        network.refuse(name)
        self._disturb_provider(name, seconds, f"{name} takes connections again", lambda: network.accept_again(name))
        return f"{name} for {seconds:.1f} s"

    def _send_away_for_long(self, name: ProviderName, kind: Kind, say: Callable[[str], None]) -> None:
        network, outage = self._fleet.network, Outage(name, kind, began=time())
        refuses = kind == "refuses connections"
        (network.refuse if refuses else network.freeze)(name)

        def comes_back() -> None:
            (network.accept_again if refuses else network.thaw)(name)
            outage.ended = time()
            self._away_at = monotonic() + PAUSE * self._away

        self.outages.append(outage)
        self._away_at = float("inf")
        self.counts[f"{name} {kind} for long"] += 1
        self._disturb_provider(name, self._away, f"{name} is back", comes_back)
        say(f"{name} {kind} for {self._away:g} s")
        self.last_ended = monotonic()

    def _provider(self) -> ProviderName | None:
        """One that is not away or half-open already."""
        present = [name for name in self._accounts.names if name not in self._disturbed]
        return self._random.choice(present) if present else None

    def _disturb_provider(self, name: ProviderName, seconds: float, what: str, undo: Callable[[], object]) -> None:
        def end() -> None:
            self._disturbed.discard(name)
            undo()

        self._disturbed.add(name)
        self._after(seconds, what, end)

    def _hide_records(self) -> str:
        """No record ever shows what Vonage accepts meanwhile."""
        seconds, vonage = self._times.deadline * self._random.uniform(0.5, 2.0), self._fleet.simulator.vonage
        vonage.change(records_lag=NEVER_RECORDED)
        self._after(seconds, "records show messages again", lambda: vonage.change(records_lag=RECORDS_LAG))
        return f"for {seconds:.1f} s"

    def _after(self, seconds: float, what: str, undo: Callable[[], None]) -> None:
        self._later.append(Later(monotonic() + seconds, what, undo))
