"""One run from the first insert to the verdict."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from time import monotonic, sleep
from typing import Final

from sandbox.demo.work import Message
from sandbox.simulator.behaviour import ProviderName
from tests.chaos.database import Database
from tests.chaos.disturbances import Disturbances
from tests.chaos.events import DISTURBANCES, Events
from tests.chaos.fleet import Fleet
from tests.chaos.judge import Verdict, histories, judge
from tests.chaos.load import Inserter
from tests.chaos.providers import Accounts, Times

_CHECK_SECONDS: Final = 0.1
_LINE_SECONDS: Final = 2.0
_LEFT_ALONE: Final = 0.05
"""Share of the messages that may still be unsent when the last disturbance comes, so that something is left to recover."""
_INSERTED_BY: Final = 0.6
"""Share of the time of sending in which rows come in. With several accounts they come all along."""
_GIVE_UP: Final = 6.0
_FINAL_SECONDS: Final = 300.0

_COUNTS: Final = (
    "select count(*), count(*) filter (where status in ('scheduled', 'pending') and sent_at is null),"
    " count(*) filter (where status = 'sending'), count(*) filter (where sent_at is null and finalized_at is null),"
    " count(finalized_at),"
    " count(*) filter (where is_undecided),"
    " count(*) filter (where status in ('sent', 'dispatched') and dispatch_id in (select id from outbox_engine.dispatches"
    " where reconcile_at is not null and reconciliations > 1)),"
    # A message that was moved was sent before.
    " count(*) filter (where is_undecided and sent_at is null)"
    " from public.outbox cross join lateral (select status = 'sending' and dispatch_id in ("
    "select d.id from outbox_engine.dispatches d join outbox_engine.providers p on p.name = d.provider"
    " where d.state = 'ambiguous' and d.lookup_at is not null and not p.proves_absence) as is_undecided) x"
)
# Lost reports are polled at once rather than after half an hour, and rows that failed temporarily are sent again soon.
_HASTEN: Final = (
    "update outbox_engine.dispatches set reconcile_at = outbox_engine.now()"
    " where reconcile_at > outbox_engine.now() + interval '3 seconds'"
)
_RETRY_NOW: Final = "update public.outbox set due_at = outbox_engine.now() where queue = 'w'"
_SET_ROUTE: Final = "select public.outbox_set_route('default', %s::jsonb, p_allow_absent => true)"
_LATER: Final = (
    ("11 minutes", "first", "5 minutes"),
    ("50 minutes", "second", "10 minutes"),
    ("23 hours", "third", "2 hours"),
    ("74 hours", None, None),
)
"""Steps of the database's clock: to each lookup, then to a day after the expiry of every row. Lookups that failed are repeated
within the last of the three, which is moved by then."""
_MOST_REPEATED: Final = 8
_SETTLE_SECONDS: Final = 100.0
_MOVE: Final = "with moved as (update outbox_engine.clock set shift = shift + %s::interval returning 1)"
_MOVE_AND_WAKE: Final = f"{_MOVE} select pg_notify('outbox', '') from moved"
_LOOKUPS_DUE: Final = (
    "select count(*) from outbox_engine.dispatches"
    " where state = 'ambiguous' and lookup_at <= outbox_engine.now() + %s::interval"
)


@dataclass(frozen=True, slots=True)
class Progress:
    """The counts of the outbox at one moment. ``undecided`` rows wait for a fact of a provider without a list, and
    ``unreported`` ones for a report that it did not show when it was asked twice.
    """

    rows: int = 0
    waiting: int = 0
    sending: int = 0
    unsent: int = 0
    final: int = 0
    undecided: int = 0
    unreported: int = 0
    unsent_undecided: int = 0

    @property
    def to_do(self) -> int:
        """Rows that the processes can still send or end by themselves."""
        return self.unsent - self.unsent_undecided

    def over(self, *, for_good: bool) -> bool:
        """Whether every row has its final status; unless ``for_good``, those may be open that only time can end."""
        return self.final + (0 if for_good else self.undecided + self.unreported) == self.rows


@dataclass(frozen=True, slots=True)
class Course:
    """How a run goes.

    ``seconds` is how long sending takes without disturbances, ``pace`` the mean of the seconds between two, ``away`` how long
    each of several providers is away. Without ``weights`` the first account carries everything. With
    ``events`` a server is told what happened.
    """

    seconds: float
    pace: float
    seed: int
    away: float
    weights: tuple[int, ...] = ()
    clock_steps: bool = False
    events: bool = False


class Drill:
    """Inserts, disturbs, waits, judges. ``say`` prints a line and keeps it in the folder's log."""

    def __init__(
        self,
        fleet: Fleet,
        messages: Sequence[Message],
        times: Times,
        accounts: Accounts,
        course: Course,
        say: Callable[[str], None],
        events: Events | None = None,
    ) -> None:
        self._fleet = fleet
        self._messages = messages
        self._times = times
        self._accounts = accounts
        self._course = course
        self._say = say
        self._events = events
        self._db = Database(fleet.stack.admin_url)
        self._seen = Progress()
        self._began = self._line_at = monotonic()

    def run(self) -> Verdict:
        """Return when everything is final, or when the time is over."""
        carriers = self._share()
        if self._events is not None:
            self._events.connect(self._fleet, self._db)
        self._began = monotonic()
        disturbances = Disturbances(
            self._fleet,
            self._db,
            self._times,
            self._accounts,
            pace=self._course.pace,
            random=Random(self._course.seed),
            away=self._course.away,
            clock_steps=self._course.clock_steps,
            more=DISTURBANCES if self._events is not None else (),
        )
        recovered = self._drain(disturbances)
        self._say(f"{self._clock()}  every message is sent: waiting for the last reports")
        self._wait_for_finals(for_good=not self._accounts.without_list)
        if self._accounts.without_list:
            self._wait_three_days()
        # Callbacks that are still on their way change no status, but every acknowledged one must be stored.
        self._fleet.simulator.settle(seconds=30, retries=True)
        told = None if self._events is None else self._events.settle(self._db, self._note)
        return judge(
            self._messages,
            self._fleet.simulator,
            self._db,
            self._accounts,
            seed=self._course.seed,
            disturbances=dict(sorted(disturbances.counts.items())),
            recovery=recovered - disturbances.last_ended,
            recovery_limit=self._times.recovery,
            seconds=monotonic() - self._began,
            outages=disturbances.outages,
            carriers=carriers,
            events=told,
        )

    def _share(self) -> Sequence[ProviderName]:
        """Give the plans of the default route their weights. Returns the providers that do not just stand by."""
        weights = self._course.weights
        if not weights:
            return self._accounts.names[:1]
        plans = [
            {"provider": account.name, "plan": account.plan, "weight": weight}
            for account, weight in zip(self._accounts.each, weights, strict=True)
        ]
        if not self._db.does(_SET_ROUTE, json.dumps(plans)):
            raise RuntimeError("the weights could not be set")
        return [name for name, weight in zip(self._accounts.names, weights, strict=True) if weight]

    def histories(self) -> str:
        """The history of some messages that went wrong."""
        return histories(self._messages, self._fleet.simulator, self._db, self._accounts)

    def _drain(self, disturbances: Disturbances) -> float:
        """Disturb until few messages are left, then stop disturbing. Returns the time at which every message was sent."""
        inserter = Inserter(self._messages, self._course.seconds * (1.0 if self._accounts.several else _INSERTED_BY))
        limit = self._began + _GIVE_UP * self._course.seconds + self._times.recovery + _FINAL_SECONDS
        more = True
        while monotonic() < limit:
            inserter.advance(self._db, monotonic() - self._began)
            known = self._read_counts()
            if more and inserter.done and known and self._seen.to_do <= _LEFT_ALONE * len(self._messages):
                more = False
                self._fleet.simulator.heal()
                disturbances.note_end()
                disturbances.set_last_clock(self._note)
            disturbances.advance(self._note, more=more)
            self._line()
            if not more and disturbances.over and known and self._seen.to_do == 0:
                break
            sleep(_CHECK_SECONDS)
        return monotonic()

    def _wait_for_finals(self, *, for_good: bool) -> None:
        limit = monotonic() + _FINAL_SECONDS + self._times.recovery
        hasten_at = monotonic()
        while monotonic() < limit and not (self._read_counts() and self._seen.over(for_good=for_good)):
            if monotonic() >= hasten_at:
                hasten_at = monotonic() + self._accounts.hasten_seconds
                self._db.does(_HASTEN)
                self._db.does(_RETRY_NOW)
            self._line()
            sleep(1.0)

    def _wait_three_days(self) -> None:
        """By the database's clock. The provider's tokens and records live by the real time."""
        # A callback that waits, or was refused, comes within minutes, not days.
        self._fleet.simulator.settle(seconds=_SETTLE_SECONDS, retries=True)
        self._fleet.simulator.add(*self._accounts.lookup_faults)
        for interval, lookup, again in _LATER:
            self._read_counts()
            before = self._seen.undecided
            self._move(interval)
            for _ in range(_MOST_REPEATED):
                if again is None or not self._lookups_due(again):
                    break
                self._move(again)
            self._wait_for_finals(for_good=lookup is None)
            what = f"the {lookup} lookup found" if lookup else "ended as unknown, or found:"
            self._note(f"{interval} later {what} {before - self._seen.undecided} of {before} requests")

    def _move(self, interval: str) -> None:
        """Move the database's clock, and wait until the lookups that are due then were made."""
        self._db.ask(_MOVE_AND_WAKE, interval)
        limit = monotonic() + _FINAL_SECONDS
        # A lookup that a process makes now is due again after a lease, if the process dies.
        while monotonic() < limit and self._lookups_due(f"{1.5 * self._times.lease} seconds"):
            self._line()
            sleep(_CHECK_SECONDS)

    def _lookups_due(self, within: str) -> bool:
        rows = self._db.ask(_LOOKUPS_DUE, within)
        return rows is None or bool(rows[0][0])

    def _read_counts(self) -> bool:
        rows = self._db.ask(_COUNTS)
        if rows is not None:
            self._seen = Progress(*(int(count) for count in rows[0]))
        return rows is not None

    def _line(self) -> None:
        if monotonic() >= self._line_at:
            self._line_at = monotonic() + _LINE_SECONDS
            seen, callbacks = self._seen, self._fleet.simulator.callbacks()
            self._say(
                f"{self._clock()}  {seen.rows} rows: {seen.waiting} wait, {seen.sending} in flight or being looked up, "
                f"{seen.undecided} of them undecided, "
                f"{seen.rows - seen.unsent} sent or ended, {seen.final} final; "
                f"callbacks: {callbacks.acknowledged} acknowledged, {callbacks.waiting} wait, {callbacks.in_flight} in flight, "
                f"{callbacks.to_be_retried} to be tried again, {callbacks.throttled} throttled"
            )

    def _note(self, what: str) -> None:
        self._say(f"{self._clock()}  {what}")

    def _clock(self) -> str:
        seconds = int(monotonic() - self._began)
        return f"{datetime.now():%H:%M:%S} {seconds // 60}:{seconds % 60:02d}"  # noqa: DTZ005  as the logs beside it
