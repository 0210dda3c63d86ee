"""A campaign comes due: how long until all its members are rows of the outbox, and what others notice of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
_TABLES: Final = "campaigns, public.campaign_members, public.campaign_occurrences, outbox_engine.campaign_changes"
_NOTE = (
    "{members:,} members in four zones, made outbox rows by one process, {chunk:,} members a call. Meanwhile another client "
    "inserts one row after the other: what it waits for an insert, with the campaign and without."
)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    columns: str
    values: str


CASES = (
    Case("once", "schedule, starts_at", "'once', now()"),
    Case(
        "reminder, with a window",
        "schedule, offsets, window_start, window_end, late_limit",
        "'reminder', '{-1 hour}', '00:00', '23:59', '2 days'",
    ),
)


@dataclass(slots=True)
class Inserts:
    """Milliseconds that each insert of another client took."""

    took: list[float]

    @property
    def p99(self) -> float:
        return sorted(self.took)[int(len(self.took) * 0.99)]


def run(options: Options) -> Result:
    members = 10_000 if options.quick else 100_000
    seconds: dict[str, list[float]] = {case.name: [] for case in CASES}
    calls: dict[str, list[float]] = {case.name: [] for case in CASES}
    waits: dict[str, list[float]] = {case.name: [] for case in CASES}
    alone: list[float] = []
    with running() as rig:
        rig.db.execute("insert into public.templates (name, body) values ('visit', 'Dear {{name}}, see you soon!')")
        for _ in range(options.repeats):
            with _inserting(rig) as inserts:
                Event().wait(2)
            alone.append(inserts.p99)
            for case in CASES:
                _prepare(rig, case, members)
                with _inserting(rig) as inserts:
                    took = list(_expand(rig.db))
                seconds[case.name].append(sum(took) / 1000)
                calls[case.name].append(max(took))
                waits[case.name].append(inserts.p99)
    figures = [
        figure
        for case in CASES
        for figure in (
            Figure(case.name, "time", "s", tuple(seconds[case.name]), goal=_GOAL_SECONDS, at_most=True),
            Figure(case.name, "longest call", "ms", tuple(calls[case.name])),
            Figure(case.name, "another's insert, 99th of 100", "ms", tuple(waits[case.name])),
        )
    ]
    figures.append(Figure("no campaign", "another's insert, 99th of 100", "ms", tuple(alone)))
    return Result(tuple(figures), (Plot("time"),), (_NOTE.format(members=members, chunk=_CHUNK),))


def _prepare(rig: Rig, case: Case, members: int) -> None:
    rig.empty()
    rig.db.execute(f"truncate public.{_TABLES}".encode())
    # The case before may have moved the clock on; who came then would not be due now.
    rig.db.execute("update outbox_engine.clock set shift = '0'")
    rig.db.execute(
        f"insert into public.campaigns (name, template, status, {case.columns})"
        f" values ('c', 'visit', 'active', {case.values})".encode()
    )
    rig.db.execute(
        "insert into public.campaign_members (campaign, external_id, recipient, timezone, event_at, parameters)"
        " select 'c', n::text, '+1' || (2020000000 + n), (%s::text[])[1 + mod(n, 4)], now() + interval '61 minutes',"
        " jsonb_build_object('name', 'Ada ' || n) from generate_series(1, %s) n",
        [list(_ZONES), members],
    )
    # Reminders come due a minute after the members came.
    shift = "70 seconds" if "offsets" in case.columns else "0"
    rig.db.execute("update outbox_engine.clock set shift = %s::interval", [shift])
    rig.db.execute("vacuum analyze public.campaign_members")
    rig.db.execute("checkpoint")


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
