"""One run from the first insert to the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from time import monotonic, sleep
from typing import Final

from sandbox.demo.work import Message
from tests.chaos.database import Database
from tests.chaos.disturbances import Disturbances
from tests.chaos.fleet import Fleet, Times
from tests.chaos.judge import Verdict, histories, judge
from tests.chaos.load import Inserter

_CHECK_SECONDS: Final = 0.1
_LINE_SECONDS: Final = 2.0
_LEFT_ALONE: Final = 0.05
"""Share of the messages that may still be unsent when the last disturbance comes, so that something is left to recover."""
_GIVE_UP: Final = 6.0
_FINAL_SECONDS: Final = 300.0
_HASTEN_SECONDS: Final = 15.0

_COUNTS: Final = (
    "select count(*), count(*) filter (where status in ('scheduled', 'pending') and sent_at is null),"
    " count(*) filter (where status = 'sending'), count(*) filter (where sent_at is null and finalized_at is null),"
    " count(finalized_at) from public.outbox"
)
# Lost reports are polled at once rather than after half an hour, and rows that failed temporarily are sent again soon.
_HASTEN: Final = (
    "update outbox_engine.dispatches set reconcile_at = outbox_engine.now()"
    " where reconcile_at > outbox_engine.now() + interval '3 seconds'"
)
_RETRY_NOW: Final = "update public.outbox set due_at = outbox_engine.now() where queue = 'w'"


@dataclass(frozen=True, slots=True)
class Progress:
    """The counts of the outbox at one moment."""

    rows: int = 0
    waiting: int = 0
    sending: int = 0
    unsent: int = 0
    final: int = 0


class Drill:
    """Inserts, disturbs, waits, judges. ``say`` prints a line and keeps it in the folder's log."""

    def __init__(
        self,
        fleet: Fleet,
        messages: Sequence[Message],
        times: Times,
        *,
        seconds: float,
        pace: float,
        seed: int,
        say: Callable[[str], None],
        clock_steps: bool = False,
    ) -> None:
        self._fleet = fleet
        self._messages = messages
        self._times = times
        self._seconds = seconds
        self._pace = pace
        self._seed = seed
        self._clock_steps = clock_steps
        self._say = say
        self._db = Database(fleet.stack.admin_url)
        self._seen = Progress()
        self._began = self._line_at = monotonic()

    def run(self) -> Verdict:
        """Return when everything is final, or when the time is over."""
        self._began = monotonic()
        disturbances = Disturbances(
            self._fleet, self._db, self._times, pace=self._pace, random=Random(self._seed), clock_steps=self._clock_steps
        )
        recovered = self._drain(disturbances)
        self._say(f"{self._clock()}  every message is sent: waiting for the last reports")
        self._wait_for_finals()
        return judge(
            self._messages,
            self._fleet.simulator,
            self._db,
            seed=self._seed,
            disturbances=dict(sorted(disturbances.counts.items())),
            recovery=recovered - disturbances.last_ended,
            recovery_limit=self._times.recovery,
            seconds=monotonic() - self._began,
        )

    def histories(self) -> str:
        """The history of some messages that went wrong."""
        return histories(self._messages, self._fleet.simulator, self._db)

    def _drain(self, disturbances: Disturbances) -> float:
        """Disturb until few messages are left, then stop disturbing. Returns the time at which every message was sent."""
        inserter = Inserter(self._messages, self._seconds)
        limit = self._began + _GIVE_UP * self._seconds + self._times.recovery + _FINAL_SECONDS
        more = True
        while monotonic() < limit:
            inserter.advance(self._db, monotonic() - self._began)
            known = self._read_counts()
            if more and inserter.done and known and self._seen.unsent <= _LEFT_ALONE * len(self._messages):
                more = False
                self._fleet.simulator.heal()
                disturbances.note_end()
                disturbances.set_last_clock(self._note)
            disturbances.advance(self._note, more=more)
            self._line()
            if not more and disturbances.over and known and self._seen.unsent == 0:
                break
            sleep(_CHECK_SECONDS)
        return monotonic()

    def _wait_for_finals(self) -> None:
        limit = monotonic() + _FINAL_SECONDS + self._times.recovery
        hasten_at = monotonic()
        while monotonic() < limit and not (self._read_counts() and self._seen.final == self._seen.rows):
            if monotonic() >= hasten_at:
                hasten_at = monotonic() + _HASTEN_SECONDS
                self._db.does(_HASTEN)
                self._db.does(_RETRY_NOW)
            self._line()
            sleep(1.0)
        # Callbacks that are still on their way change no status, but every acknowledged one must be stored.
        self._fleet.simulator.settle(seconds=30, retries=True)

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
                f"{seen.rows - seen.unsent} sent or ended, {seen.final} final; "
                f"callbacks: {callbacks.acknowledged} acknowledged, {callbacks.waiting} wait, {callbacks.in_flight} in flight, "
                f"{callbacks.to_be_retried} to be tried again, {callbacks.throttled} throttled"
            )

    def _note(self, what: str) -> None:
        self._say(f"{self._clock()}  {what}")

    def _clock(self) -> str:
        seconds = int(monotonic() - self._began)
        return f"{datetime.now():%H:%M:%S} {seconds // 60}:{seconds % 60:02d}"  # noqa: DTZ005  as the logs beside it
