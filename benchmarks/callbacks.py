"""How many callbacks a second the webhook app commits, and how long the provider waits for its answer.

Load generator, receiver, API and database share this machine. Bodies are signed, every report is news about a row that was
sent, and an answer means that it is committed to disk. After each run the database is asked whether it holds everything that
was acknowledged. The receivers it is compared with are in `benchmarks/receivers.py`.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import IO, Any, Final

import msgspec
import psycopg

from benchmarks.distance import AWAY, afar
from benchmarks.load import Order, Outcome
from benchmarks.result import Figure, Options, Plot, Result
from benchmarks.rig import cpu_by_program, cpu_since
from benchmarks.sent import Batch, make_batches
from benchmarks.worker import started
from jobs.runtime import settings
from sandbox.local.stack import LocalStack

TITLE = "how many callbacks a second are committed, and how soon are they answered?"
SECRET: Final = "a secret of the benchmark"
DELIVERY: Final = "/webhooks/sinch/delivery"
OURS, DIRECT, API = "outbox webhook", "one SQL update each", "one update each through the API"
OURS_TWICE, OURS_AFAR = f"{OURS} --workers 2", f"{OURS}, {AWAY}"
_RECIPIENTS: Final = 500
_MOST_PER_SECOND: Final = {OURS: 14_000, OURS_TWICE: 14_000, OURS_AFAR: 12_000, DIRECT: 14_000, API: 1_500}
_PEERS_TABLE = """
create table if not exists public.bench_messages (
  key text primary key, status text not null default 'sent', status_code integer, reported_at timestamptz
) with (fillfactor = 70);
grant select, update on public.bench_messages to service_role;
"""
_tags = count()


@dataclass(frozen=True, slots=True)
class Rate:
    """One run. Times are in milliseconds; ``calls`` are calls of the database per 1000 callbacks.

    ``cpu`` are CPU seconds per 1000 callbacks, of each that works on them.
    """

    receiver: str
    connections: int
    per_second: float
    p50: float
    p99: float
    calls: float
    cpu: Mapping[str, float]
    refused: int
    missing: int

    @property
    def case(self) -> str:
        return case(self.receiver, self.connections)

    @property
    def cores_busy(self) -> float:
        return round(sum(self.cpu.values()) * self.per_second / 1000, 2)


def run(options: Options) -> Result:
    """Every receiver at every number of connections, one after the other, on one database that syncs each commit."""
    connections = (50,) if options.quick else (50, 200, 500)
    seconds = 1.0 if options.quick else 5.0
    with LocalStack(durable=True) as stack, closing(psycopg.connect(stack.admin_url, autocommit=True)) as db, ExitStack() as up:
        prepare(db, stack)
        ports = {
            OURS: up.enter_context(outbox_webhook(stack, stack.url)),
            OURS_TWICE: up.enter_context(outbox_webhook(stack, stack.url, workers=2)),
            OURS_AFAR: up.enter_context(outbox_webhook(stack, up.enter_context(afar(stack.url)))),
            DIRECT: up.enter_context(peer(stack, "direct")),
            API: up.enter_context(peer(stack, "api")),
        }
        rounds = [
            {rate.case: rate for number in connections for rate in _round(db, ports, number, seconds, turned=turn % 2 == 1)}
            for turn in range(options.repeats)
        ]
        floods = {name: _flood(db, ports[name], batches=60 if options.quick else 200) for name in (OURS, OURS_TWICE)}
    notes = (_said_about_losses(rounds), *(_said_about_flood(name, flood) for name, flood in floods.items()))
    return Result(figures=tuple(_figures(rounds)), plots=(Plot("callbacks"),), notes=notes)


def prepare(db: psycopg.Connection[Any], stack: LocalStack) -> None:
    """Make the table of the receivers that are compared with us."""
    db.execute(_PEERS_TABLE)
    stack.restart_api()


def _round(
    db: psycopg.Connection[Any], ports: Mapping[str, int], connections: int, seconds: float, *, turned: bool
) -> Iterator[Rate]:
    """One run of each. ``turned`` is the other order, so that a drift of the machine cancels out."""
    names = [OURS_AFAR, OURS, DIRECT, OURS_TWICE, API]
    for name in reversed(names) if turned else names:
        yield measure(db, name, ports[name], make_rows(db, name, seconds), connections=connections, seconds=seconds)


def _figures(rounds: Sequence[Mapping[str, Rate]]) -> Iterator[Figure]:
    for case, first in sorted(rounds[0].items(), key=_place):
        runs = [rates[case] for rates in rounds]
        goals = {"callbacks": 6000.0, "p99": 250.0, "direct": 1.0, "API": 15.0}
        if first.receiver not in (OURS, OURS_TWICE) or first.connections != 200:
            goals = {}
        yield Figure(case, "callbacks", "1/s", tuple(run.per_second for run in runs), goals.get("callbacks"))
        yield Figure(case, "p50", "ms", tuple(run.p50 for run in runs))
        yield Figure(case, "p99", "ms", tuple(run.p99 for run in runs), goals.get("p99"), at_most=True)
        yield Figure(case, "database calls per 1000", "", tuple(run.calls for run in runs))
        for program in first.cpu:
            yield Figure(case, f"CPU, {program}", "s per 1000", tuple(run.cpu[program] for run in runs))
        yield Figure(case, "cores busy", "", tuple(run.cores_busy for run in runs))
        if first.receiver in (OURS, OURS_TWICE):
            yield _times(first, DIRECT, rounds, goals.get("direct"))
            yield _times(first, API, rounds, goals.get("API"))


def _place(named: tuple[str, Rate]) -> tuple[int, int]:
    """Rows of the table by connections, then by receiver."""
    _, rate = named
    return rate.connections, (OURS, OURS_TWICE, OURS_AFAR, DIRECT, API).index(rate.receiver)


def _times(ours: Rate, other: str, rounds: Sequence[Mapping[str, Rate]], goal: float | None) -> Figure:
    """The ratio of our throughput to the other's, within each repetition."""
    rival = case(other, ours.connections)
    values = tuple(rates[ours.case].per_second / rates[rival].per_second for rates in rounds)
    return Figure(ours.case, f"times {other}", "", values, goal)


def case(receiver: str, connections: int) -> str:
    return f"{receiver}, {connections} connections"


def _said_about_losses(rounds: Sequence[Mapping[str, Rate]]) -> str:
    rates = [rate for round_ in rounds for rate in round_.values()]
    missing, refused = sum(rate.missing for rate in rates), sum(rate.refused for rate in rates)
    return (
        f"After each run the database was asked for everything that had been acknowledged: {missing} reports were missing. "
        f"{refused} callbacks were answered with anything but 204."
    )


def _said_about_flood(name: str, flood: "Flood") -> str:
    return (
        f"`{name}` over capacity: {flood.callbacks} callbacks about {_RECIPIENTS} recipients each, all at once over 100 "
        f"connections, and again whenever one is turned away. In {flood.seconds:.0f} seconds {flood.slowed:,} were answered "
        f"with 429, {flood.taken} were committed and answered with 204, {flood.other} answered otherwise, {flood.broken} not "
        f"at all; of the {flood.taken * _RECIPIENTS:,} reports acknowledged {flood.missing} were missing. "
        f"Of 10 more callbacks right after it {flood.afterwards} were committed."
    )


def make_rows(db: psycopg.Connection[Any], receiver: str, seconds: float) -> list[Batch]:
    """Rows for a run of so many seconds: sent messages or, for a receiver that is compared with us, rows of its own."""
    number = int(_MOST_PER_SECOND[receiver] * seconds) // _RECIPIENTS
    if receiver not in (DIRECT, API):
        return _batches(db, number)
    numbers = tuple(str(14152000000 + n) for n in range(_RECIPIENTS))
    tag = next(_tags)
    batches = [Batch(f"01FC66621-{tag}-{n}", "", numbers) for n in range(number)]
    keys = [f"{batch.batch_id}/{number}" for batch in batches for number in batch.recipients]
    db.execute("insert into public.bench_messages (key) select unnest(%s::text[])", [keys])
    db.execute("vacuum analyze public.bench_messages")
    return batches


def measure(
    db: psycopg.Connection[Any], receiver: str, port: int, batches: Sequence[Batch], *, connections: int, seconds: float
) -> Rate:
    """One run, with one callback for each recipient of ``batches``."""
    bodies = [body for batch in batches for body in batch.callbacks()]
    path = "/" if receiver in (DIRECT, API) else DELIVERY
    outcome, cpu = fire(Order(port, path, SECRET, bodies, connections, seconds))
    keys = [(batch.batch_id, f"+{number}") for batch in batches for number in batch.recipients]
    acknowledged = [keys[place] for place in outcome.acknowledged]
    if receiver in (DIRECT, API):
        calls, missing = len(acknowledged), _count_lost_updates(db, acknowledged)
    else:
        calls, missing = _calls(db, batches), count_missing(db, acknowledged)
    return rate(receiver, connections, outcome, cpu, missing=missing, calls=calls)


def _count_lost_updates(db: psycopg.Connection[Any], acknowledged: Sequence[tuple[str, str]]) -> int:
    keys = [f"{batch}/{recipient.removeprefix('+')}" for batch, recipient in acknowledged]
    stored = _one(db, "select count(*) from public.bench_messages where key = any (%s) and status <> 'sent'", [keys])
    return len(keys) - stored


def _calls(db: psycopg.Connection[Any], batches: Sequence[Batch]) -> int:
    """The number of calls that recorded these reports: all reports of one call have the same recording time."""
    query = "select count(distinct at) from public.outbox_events where event = 'report' and batch_id = any (%s)"
    return _one(db, query, [[batch.batch_id for batch in batches]])


@dataclass(frozen=True, slots=True)
class Flood:
    """The result of an overload: answers by kind, and reports acknowledged and not stored.

    ``afterwards`` is how many of ten callbacks that came after it were committed.
    """

    callbacks: int
    seconds: float
    taken: int
    slowed: int
    other: int
    broken: int
    missing: int
    afterwards: int


def _flood(db: psycopg.Connection[Any], port: int, *, batches: int) -> Flood:
    made = _batches(db, batches)
    outcome, _ = fire(Order(port, DELIVERY, SECRET, [batch.full_report() for batch in made], 100, 60.0, again=True))
    taken = [made[place] for place in outcome.acknowledged]
    missing = count_missing(db, [(batch.batch_id, f"+{number}") for batch in taken for number in batch.recipients])
    slowed = outcome.statuses.get(429, 0)
    after, _ = fire(Order(port, DELIVERY, SECRET, list(_batches(db, 1)[0].callbacks())[:10], 1, 10.0))
    return Flood(
        callbacks=batches,
        seconds=outcome.seconds,
        taken=len(taken),
        slowed=slowed,
        other=sum(outcome.statuses.values()) - len(taken) - slowed,
        broken=outcome.broken,
        missing=missing,
        afterwards=len(after.acknowledged),
    )


def rate(receiver: str, connections: int, outcome: Outcome, cpu: Mapping[str, float], *, missing: int, calls: int) -> Rate:
    callbacks = len(outcome.acknowledged)
    used = {"receiver": cpu["python"], "API": cpu["node"], "database": cpu["postgres"], "load": outcome.cpu}
    took = outcome.milliseconds
    return Rate(
        receiver=receiver,
        connections=connections,
        per_second=round(callbacks / outcome.seconds, 1),
        p50=took[len(took) // 2],
        p99=took[len(took) * 99 // 100],
        calls=round(1000 * calls / max(callbacks, 1), 1),
        cpu={program: round(1000 * seconds / max(callbacks, 1), 4) for program, seconds in used.items()},
        refused=sum(number for status, number in outcome.statuses.items() if status != 204) + outcome.broken,
        missing=missing,
    )


def count_missing(db: psycopg.Connection[Any], keys: Sequence[tuple[str, str]]) -> int:
    """How many of these (batch, recipient) are not delivered in the database."""
    stored = _one(
        db,
        """
        select count(*) from unnest(%s::text[], %s::text[]) k (batch_id, recipient)
        join public.outbox o on o.batch_id = k.batch_id and o.recipient = k.recipient
        where o.status = 'delivered'
        """,
        [[batch for batch, _ in keys], [recipient for _, recipient in keys]],
    )
    return len(keys) - stored


def fire(order: Order) -> tuple[Outcome, dict[str, float]]:
    """Run the load generator in a process of its own. Also returns the CPU seconds of the other programs."""
    before = cpu_by_program()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"], input=msgspec.json.encode(order), stdout=subprocess.PIPE, check=True
    )
    cpu = cpu_since(before)
    return msgspec.json.decode(done.stdout, type=Outcome), cpu


@contextmanager
def outbox_webhook(stack: LocalStack, url: str, *, workers: int = 1) -> Iterator[int]:
    """The app as an operator runs it, with Supabase at ``url``. Yields its port once every worker serves."""
    environment = {
        **dict.fromkeys(settings.names(), ""),
        "SUPABASE_URL": url,
        "SUPABASE_SECRET_KEY": stack.secret_key,
        "SINCH_WEBHOOK_SECRETS": SECRET,
        "LOG_FORMAT": "json",
    }
    command = ["-m", "scheduler", "webhook", "--port", "0", "--workers", str(workers)]
    with started(command, environment, stderr=subprocess.PIPE) as process:
        yield _port_in_log(process.stderr, workers)


@contextmanager
def peer(stack: LocalStack, kind: str) -> Iterator[int]:
    """One of `benchmarks/receivers.py`. Yields its port."""
    environment = {
        **dict.fromkeys(settings.names(), ""),
        "SUPABASE_URL": stack.url,
        "SUPABASE_SECRET_KEY": stack.secret_key,
        "BENCH_DB_URL": stack.admin_url,
        "BENCH_SECRET": SECRET,
    }
    with started(["-m", "benchmarks.receivers", kind], environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101  # for the type checker
        yield int(process.stdout.readline())


def _port_in_log(log: IO[bytes] | None, workers: int) -> int:
    """The port, once every worker has found that the schema fits."""
    port = ready = 0
    for line in log or ():
        event = msgspec.json.decode(line)
        if event["event"] == "webhook.listening":
            port = int(event["port"])
        ready += event["event"] == "schema.fits"
        if port and ready == workers:
            return port
    raise RuntimeError("outbox webhook ended before it served")


def _batches(db: psycopg.Connection[Any], number: int) -> list[Batch]:
    made = make_batches(db, tag=f"callbacks {next(_tags)}", batches=number, recipients=_RECIPIENTS)
    db.execute("vacuum analyze public.outbox, outbox_engine.dispatches, outbox_engine.dispatch_members")
    return made


def _one(db: psycopg.Connection[Any], query: str, arguments: Sequence[Any]) -> int:
    row = db.execute(query, arguments).fetchone()
    return int(row[0]) if row else 0
