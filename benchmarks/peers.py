"""The same work done by two job queues, by the loop of every tutorial, and by bare SQL that keeps nothing safe."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping

from benchmarks import worker
from benchmarks.result import Figure, Options, Plot, Result
from benchmarks.rig import Gauge, Rig, running

TITLE = "how does that compare with general job queues, a plain loop, and bare SQL?"

OURS = "outbox, through the Supabase API"
BARE = "bare SQL, 1000 at a time"
LIBRARIES = {"PgQueuer": "pgqueuer", "Procrastinate": "procrastinate"}
PEERS = {BARE: "bare", **LIBRARIES, "loop: select one, post, update": "loop"}

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
    "a queue is not counted. All use the same PostgreSQL: ours through Supabase Lite, with every promise kept, the others "
    "directly with asyncpg (Procrastinate: psycopg, its own driver), aiohttp and uvloop. The libraries send one message a "
    "request and work on 50 at once. The bare SQL claims 1000 rows, posts them and marks them, two such at a time: no attempt "
    "is written down, so it sends twice or never after any interruption."
)


def run(options: Options) -> Result:
    messages = 1_000 if options.quick else 10_000
    rates: dict[str, list[float]] = {name: [] for name in (OURS, *PEERS)}
    cpu: dict[str, list[float]] = {name: [] for name in rates}
    with running() as rig:
        _install(rig)
        for _ in range(options.repeats):
            for name, reached in rates.items():
                seconds, spent = _measure(rig, name, messages)
                reached.append(messages / seconds)
                cpu[name].append(spent / messages * 1000)
    return Result(figures=tuple(_figures(rates, cpu)), plots=(Plot("messages"),), notes=(f"{messages:,} messages. {_NOTE}",))


def _install(rig: Rig) -> None:
    # Here, for only those who measure have them.
    import pgqueuer.adapters.persistence.qb as pgqueuer
    import procrastinate.schema

    rig.db.execute(_MESSAGES.encode())
    rig.db.execute(procrastinate.schema.SchemaManager.get_schema().encode())
    rig.db.execute(str(pgqueuer.QueryBuilderEnvironment().build_install_query()).encode())


def _measure(rig: Rig, name: str, messages: int) -> tuple[float, float]:
    """Seconds it took, and CPU seconds of all processes."""
    rig.empty()
    rig.db.execute(
        "truncate peers.messages, procrastinate_jobs, procrastinate_events, pgqueuer, pgqueuer_log restart identity cascade"
    )
    if name == OURS:
        rig.insert(messages, body="'Your table is ready. See you soon!'")
        module: tuple[str, ...] = ("benchmarks.drainer",)
        environment: Mapping[str, str] = rig.environment
    else:
        rig.db.execute(_FILL.format(last=messages - 1).encode())
        if PEERS[name] in _QUEUES:
            _QUEUES[PEERS[name]](rig)
        rig.db.execute("vacuum analyze")
        rig.db.execute("checkpoint")
        module = ("benchmarks.peer_workers", PEERS[name])
        environment = rig.environment | {"PEER_DB_URL": rig.stack.access.admin_url}
    with worker.ready(*module, environment=environment) as process, Gauge(rig) as gauge:
        said = process.work()

    books = rig.simulator.summary()
    recorded = rig.value(f"select count(*) from {'public.outbox' if name == OURS else 'peers.messages'} where status = 'sent'")
    if (books.messages, recorded) != (messages, messages):
        raise SystemExit(f"{name}: {books.messages} of {messages} messages arrived, {recorded:.0f} are recorded")
    return float(said["seconds"]), sum(gauge.cpu.values())


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


def _figures(rates: dict[str, list[float]], cpu: dict[str, list[float]]) -> Iterator[Figure]:
    for name, values in rates.items():
        yield Figure(name, "messages", "1/s", tuple(values))
        yield Figure(name, "CPU, all", "s per 1000", tuple(cpu[name]))
    fastest = [max(each) for each in zip(*(rates[name] for name in LIBRARIES), strict=True)]
    ours = rates[OURS]
    yield Figure(
        OURS, "times the faster library", "", tuple(one / other for one, other in zip(ours, fastest, strict=True)), goal=13
    )
    yield Figure(
        OURS, "share of bare SQL", "", tuple(one / other for one, other in zip(ours, rates[BARE], strict=True)), goal=0.55
    )
