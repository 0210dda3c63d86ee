"""The same work done by two job queues, a tutorial's loop, and bare SQL without any safety."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import worker
from benchmarks.result import Figure, Options, Plot, Result
from benchmarks.rig import Gauge, Rig, running

TITLE = "how does that compare with general job queues, a plain loop, and bare SQL?"

OURS = "outbox, through the Supabase API"
BARE = "bare SQL, 1000 at a time"
LIBRARIES = {"PgQueuer": "pgqueuer", "Procrastinate": "procrastinate"}
BARE_BY_API = "the same through the Supabase API"
PEERS = {BARE: "bare", BARE_BY_API: "bare_by_api", **LIBRARIES, "loop: select one, post, update": "loop"}

LATENCY = 0.05
SINGLE = "outbox, one message a request (Vonage), 50 ms"
SINGLE_LIBRARIES = {f"{name}, 50 ms": module for name, module in LIBRARIES.items()}
SINGLES = {SINGLE: "", **SINGLE_LIBRARIES}
"""Where the provider takes a request for each message, and 50 ms for its answer."""

_MESSAGES = """
    create schema peers;
    create table peers.messages (
      id bigint generated always as identity primary key,
      recipient text not null,
      body text not null,
      status text not null default 'pending',
      batch_id text,
      created_at timestamptz not null default now(),
      sent_at timestamptz
    ) with (fillfactor = 70);
    create index messages_pending on peers.messages (id) where status = 'pending';
    create function public.bench_claim() returns jsonb language sql security definer as $$
      with next as (
        select id from peers.messages where status = 'pending' order by id limit 1000 for update skip locked
      ),
      taken as (
        update peers.messages m set status = 'sending' from next where m.id = next.id returning m.id, m.recipient, m.body
      )
      select jsonb_build_object('ids', jsonb_agg(id), 'recipients', jsonb_agg(recipient), 'body', min(body)) from taken
    $$;
    create function public.bench_sent(ids text[], batch text) returns void language sql security definer as $$
      update peers.messages set status = 'sent', batch_id = batch, sent_at = now() where id = any (ids::bigint[])
    $$;
"""
_FILL = (
    "insert into peers.messages (recipient, body) select '+1' || (2020000000 + n), 'Your table is ready. See you soon!' "
    "from generate_series(0, {last}) n"
)
_PROCRASTINATE_JOBS = (
    "insert into procrastinate_jobs (queue_name, task_name, args) "
    "select 'default', 'send', jsonb_build_object('id', id, 'recipient', recipient, 'body', body) from peers.messages"
)
_NOTE = (
    "Each sends the same messages to the same simulator and keeps the batch id in the message's row; getting the messages into "
    "a queue is not counted. All use the same PostgreSQL: ours (its dispatcher) through Supabase Lite, with every promise "
    "kept, the others directly with asyncpg (Procrastinate: psycopg, its own driver), aiohttp and uvloop. The libraries send "
    "one message a request and work on 50 at once (PgQueuer with up to 200 tasks). The bare SQL claims 1000 rows, posts them "
    "and marks them, two such at a time: no attempt is written down, so it sends twice or never after any interruption. "
    "Through the API its two statements are functions, and four are under way. With one message a request the provider takes "
    "50 ms for each; ours signs each request to Vonage, and the libraries send a batch of one to Sinch, which is less work. A "
    "rate limit of the provider would be reached long before."
)


def run(options: Options) -> Result:
    messages = 1_000 if options.quick else 10_000
    with running() as rig:
        _install(rig)
        rounds = [{name: _measure(rig, name, messages) for name in (OURS, *PEERS, *SINGLES)} for _ in range(options.repeats)]
    return Result(figures=tuple(_figures(rounds)), plots=(Plot("messages"),), notes=(f"{messages:,} messages. {_NOTE}",))


def _install(rig: Rig) -> None:
    # Imported here, because only measurements need them.
    import pgqueuer.adapters.persistence.qb as pgqueuer
    import procrastinate.schema

    rig.db.execute(_MESSAGES.encode())
    rig.db.execute(procrastinate.schema.SchemaManager.get_schema().encode())
    rig.db.execute(str(pgqueuer.QueryBuilderEnvironment().build_install_query()).encode())
    rig.stack.restart_api()


@dataclass(frozen=True, slots=True)
class Run:
    """Messages a second, and CPU seconds per 1000 messages by program; ``cores`` were busy on average.

    ``calls`` are those to the database per 1000 messages, None for the others; ``memory`` is the process's peak in MiB.
    """

    rate: float
    cpu: Mapping[str, float]
    cores: float
    calls: float | None
    memory: float


def _measure(rig: Rig, name: str, messages: int) -> Run:
    rig.empty()
    rig.db.execute(
        "truncate peers.messages, procrastinate_jobs, procrastinate_events, pgqueuer, pgqueuer_log restart identity cascade"
    )
    rig.simulator.change(latency=LATENCY if name in SINGLES else 0.0)
    is_ours = name in (OURS, SINGLE)
    if is_ours:
        rig.insert(messages, body="'Your table is ready. See you soon!'")
        module: tuple[str, ...] = ("benchmarks.drainer",)
        environment: Mapping[str, str] = rig.vonage_environment if name == SINGLE else rig.environment
    else:
        rig.db.execute(_FILL.format(last=messages - 1).encode())
        peer = (PEERS | SINGLES)[name]
        if peer in _QUEUES:
            _QUEUES[peer](rig)
        rig.db.execute("vacuum analyze")
        rig.db.execute("checkpoint")
        module = ("benchmarks.peer_workers", peer)
        environment = rig.environment | {"PEER_DB_URL": rig.stack.access.admin_url}
    with worker.ready(*module, environment=environment) as process, Gauge(rig) as gauge:
        said = process.work()

    books = rig.simulator.summary()
    recorded = rig.value(f"select count(*) from {'public.outbox' if is_ours else 'peers.messages'} where status = 'sent'")
    if (books.messages, recorded) != (messages, messages):
        raise SystemExit(f"{name}: {books.messages} of {messages} messages arrived, {recorded:.0f} are recorded")
    seconds = float(said["seconds"])
    cpu = {program: spent / messages * 1000 for program, spent in gauge.cpu.items()}
    calls = len(said["calls"]) / messages * 1000 if is_ours else None
    return Run(messages / seconds, cpu, sum(gauge.cpu.values()) / seconds, calls, said["peak_mib"])


def _queue_procrastinate(rig: Rig) -> None:
    rig.db.execute(_PROCRASTINATE_JOBS)


def _queue_pgqueuer(rig: Rig) -> None:
    asyncio.run(_enqueue(rig.stack.access.admin_url))


async def _enqueue(url: str) -> None:
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select id, recipient, body from peers.messages order by id")
    payloads = [json.dumps(dict(row)).encode() for row in rows]
    await Queries(AsyncpgDriver(connection)).enqueue(["send"] * len(rows), payloads, [0] * len(rows))
    await connection.close()


_QUEUES: Mapping[str, Callable[[Rig], None]] = {"procrastinate": _queue_procrastinate, "pgqueuer": _queue_pgqueuer}


def _single_figures(rounds: Sequence[Mapping[str, Run]]) -> Iterator[Figure]:
    runs = [each[SINGLE] for each in rounds]
    calls = tuple(run.calls for run in runs if run.calls is not None)
    yield Figure(SINGLE, "calls to Supabase", "per 1000", calls, goal=20, at_most=True)
    yield Figure(SINGLE, "peak memory", "MiB", tuple(run.memory for run in runs), goal=114, at_most=True)
    for name in SINGLE_LIBRARIES:
        ratios = tuple(each[SINGLE].rate / each[name].rate for each in rounds)
        yield Figure(SINGLE, f"times {name.partition(',')[0]}", "", ratios)


def _figures(rounds: Sequence[Mapping[str, Run]]) -> Iterator[Figure]:
    for name in rounds[0]:
        runs = [each[name] for each in rounds]
        yield Figure(name, "messages", "1/s", tuple(run.rate for run in runs), goal=800 if name == SINGLE else None)
        yield Figure(name, "CPU, all", "s per 1000", tuple(sum(run.cpu.values()) for run in runs))
        yield Figure(name, "CPU, database", "s per 1000", tuple(run.cpu.get("postgres", 0.0) for run in runs))
        yield Figure(name, "cores busy", "", tuple(run.cores for run in runs))
    yield from _single_figures(rounds)
    yield Figure(
        OURS,
        "times the faster library",
        "",
        tuple(each[OURS].rate / max(each[name].rate for name in LIBRARIES) for each in rounds),
        goal=13,
    )
    for name in (OURS, BARE_BY_API):
        goal = 0.55 if name == OURS else None
        yield Figure(name, "share of bare SQL", "", tuple(each[name].rate / each[BARE].rate for each in rounds), goal=goal)
