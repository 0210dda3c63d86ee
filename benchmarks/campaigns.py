"""A campaign comes due: how long until all members have rows in the outbox, and how long other clients wait meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic
from typing import Final

import psycopg

from benchmarks.result import Figure, Options, Plot, Result
from benchmarks.rig import Connection, Rig, running

TITLE = "how fast does a campaign become messages, and who waits for it?"

_CHUNK: Final = 2000
"""As the campaigns job asks for."""
_ZONES: Final = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC")
_GOAL_SECONDS: Final = 5.0
_TABLES: Final = (
    "outbox_campaigns, public.outbox_campaign_members, public.outbox_campaign_occurrences, outbox_engine.campaign_changes"
)
_NOTE = (
    "{members:,} members in four zones, made outbox rows by one process, {chunk:,} members a call. Meanwhile another client "
    "inserts one row after the other: what it waits for an insert, with the campaign and without."
)


@dataclass(frozen=True, slots=True)
class Case:
    """``event_at`` is SQL over ``n``, which counts the ``members`` from 1. ``later`` is when they are due.

    ``first_pass`` names the row for the first pass over them, before they are due.
    """

    name: str
    columns: str
    values: str
    event_at: str = "null"
    later: str = "0"
    first_pass: str | None = None

    @property
    def rows(self) -> list[str]:
        return [self.name] if self.first_pass is None else [self.first_pass, self.name]


CASES = (
    Case("once", "schedule, starts_at", "'once', now()"),
    Case(
        "reminder, with a window",
        "schedule, offsets, window_start, window_end, late_limit",
        "'reminder', '{-1 hour}', '00:00', '23:59', '2 days'",
        event_at="now() + interval '61 minutes'",
        # Reminders come due a minute after the members were added.
        later="70 seconds",
    ),
    Case(
        "reminder, each its own event time",
        "schedule, offsets, window_start, window_end, late_limit",
        "'reminder', '{-1 day,-1 hour}', '09:00', '20:00', '2 days'",
        # Spread over eight hours. Whenever this runs, it is night in some of the zones when their day before comes.
        event_at="now() + interval '26 hours' + n * interval '8 hours' / members",
        later="11 hours",
        first_pass="reminder, each its own event time: first pass, nothing due",
    ),
)


@dataclass(slots=True)
class Inserts:
    """Milliseconds of each insert of another client."""

    took: list[float]

    @property
    def p99(self) -> float:
        return sorted(self.took)[int(len(self.took) * 0.99)]


@dataclass(slots=True)
class Measured:
    """The values of one row of the table, one for each repetition."""

    seconds: list[float] = field(default_factory=list)
    longest_calls: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def run(options: Options) -> Result:
    members = 10_000 if options.quick else 100_000
    measured = {row: Measured() for case in CASES for row in case.rows}
    alone: list[float] = []
    with running() as rig:
        rig.db.execute("insert into public.outbox_templates (name, body) values ('visit', 'Dear {{name}}, see you soon!')")
        for _ in range(options.repeats):
            with _inserting(rig) as inserts:
                Event().wait(2)
            alone.append(inserts.p99)
            for case in CASES:
                _prepare(rig, case, members)
                if case.first_pass is not None:
                    _wait(rig, "0")
                    _measure(rig, measured[case.first_pass])
                _wait(rig, case.later)
                _measure(rig, measured[case.name])
    figures = [
        figure
        for row, figures in measured.items()
        for figure in (
            Figure(row, "time", "s", tuple(figures.seconds), goal=_GOAL_SECONDS, at_most=True),
            Figure(row, "longest call", "ms", tuple(figures.longest_calls)),
            Figure(row, "another's insert, 99th of 100", "ms", tuple(figures.waits)),
        )
    ]
    figures.append(Figure("no campaign", "another's insert, 99th of 100", "ms", tuple(alone)))
    return Result(tuple(figures), (Plot("time"),), (_NOTE.format(members=members, chunk=_CHUNK),))


def _prepare(rig: Rig, case: Case, members: int) -> None:
    rig.empty()
    rig.db.execute(f"truncate public.{_TABLES} cascade".encode())
    # An earlier case may have moved the clock, and members added before that would not be due now.
    _wait(rig, "0")
    rig.db.execute(
        f"insert into public.outbox_campaigns (name, template, status, {case.columns})"
        f" values ('c', 'visit', 'active', {case.values})".encode()
    )
    rig.db.execute(
        "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, event_at, parameters)"
        f" select 'c', n::text, '+1' || (2020000000 + n), (%s::text[])[1 + mod(n, 4)], {case.event_at},"
        " jsonb_build_object('name', 'Ada ' || n) from (select %s::integer as members), generate_series(1, members) n".encode(),
        [list(_ZONES), members],
    )


def _wait(rig: Rig, later: str) -> None:
    """Move the clock to this long after the members were added."""
    rig.db.execute("update outbox_engine.clock set shift = %s::interval", [later])
    rig.db.execute("vacuum analyze public.outbox_campaign_members")
    rig.db.execute("checkpoint")


def _measure(rig: Rig, measured: Measured) -> None:
    with _inserting(rig) as inserts:
        took = list(_expand(rig.db))
    measured.seconds.append(sum(took) / 1000)
    measured.longest_calls.append(max(took))
    measured.waits.append(inserts.p99)


def _expand(db: Connection) -> Iterator[float]:
    """Milliseconds of each call until nothing is due any more."""
    more = True
    while more:
        began = monotonic()
        row = db.execute("select (public.outbox_expand_campaigns(%s) ->> 'more')::boolean", [_CHUNK]).fetchone()
        more = row is not None and bool(row[0])
        yield (monotonic() - began) * 1000


@contextmanager
def _inserting(rig: Rig) -> Iterator[Inserts]:
    """Another client inserts rows one by one, at most a hundred a second."""
    inserts, stop = Inserts([]), Event()

    def work() -> None:
        with psycopg.connect(rig.stack.admin_url, autocommit=True) as connection:
            while not stop.wait(0.01):
                began = monotonic()
                connection.execute("insert into public.outbox (recipient, body) values ('+12025550101', 'Your code is 1234')")
                inserts.took.append((monotonic() - began) * 1000)

    worker = Thread(target=work)
    worker.start()
    try:
        yield inserts
    finally:
        stop.set()
        worker.join()
