"""The cost of claiming, accepting and recording while the tables around them grow, and after churn under a long reader."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import LiteralString
from uuid import uuid4

import psycopg

from benchmarks.result import Figure, Options, Plot, Result
from benchmarks.rig import Connection, Rig, running

TITLE = "what does a claim cost in a small table, and in a big one?"

DUE = 4_000
ROUNDS = 15
CHURN = "after churn, a reader open"

# As if sent and delivered in the last 80 days, in the order of their ids. A tenth as many wait for their time. The engine's
# triggers stand aside. Each time depends on its row: without that, PostgreSQL would draw one for all of a statement.
_HISTORY = """
    insert into public.outbox (recipient, body, send_at, expires_at, priority, status, batch_id, attempts, parts, created_at,
      sent_at, finalized_at, due_at, dispatch_id, reported_rank, reported_at)
    select '+1' || (2020000000 + n), 'Your table is ready. See you soon!', t.at, t.at + interval '3 days', 100, 'delivered',
      'old' || n / 1000, 1, 1, t.at, t.at, t.at, t.at, md5('dispatch' || n / 1000)::uuid, 10, t.at
    from generate_series(%(first)s::bigint, %(last)s::bigint) n
    cross join lateral (
      select now() - interval '80 days' * (%(last)s::bigint - n + random()) / (%(last)s::bigint - %(first)s::bigint + 1) as at
    ) t
"""
_MEMBERS = """
    insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)
    select dispatch_id, recipient, id from public.outbox
    where id > %(after)s and status = 'delivered'
    order by 1, 2
"""
_DISPATCHES = """
    insert into outbox_engine.dispatches (id, claim_id, worker, provider, plan, host, credential, expires_at, recipients, state,
      lease_token, lease_until, deadline, claimed_at, accepted_at, batch_id)
    select o.dispatch_id, o.dispatch_id, 'bench', 'sinch', 'bench', 'bench', 'bench', max(o.expires_at), count(*), 'accepted',
      0, max(o.sent_at), interval '10 s', max(o.sent_at), max(o.sent_at), o.batch_id
    from public.outbox o
    where o.id > %(after)s and o.status = 'delivered'
    group by o.dispatch_id, o.batch_id
"""
_TRAIL = """
    insert into public.outbox_events
      (outbox_id, at, source, event, status, status_code, batch_id, dispatch_id, occurred_at, report, report_key)
    select o.id, o.sent_at, e.source, e.event, e.status, e.code, o.batch_id, o.dispatch_id, o.sent_at,
      case when e.code is not null then jsonb_build_object('batch_id', o.batch_id, 'recipient', o.recipient, 'status', e.status,
        'code', e.code, 'at', o.sent_at, 'type', 'recipient_delivery_report_sms') end,
      case when e.code is not null then md5(o.batch_id || o.recipient || e.code)::uuid end
    from public.outbox o
    cross join (values ('engine', 'accepted', 'sent', null), ('webhook', 'report', 'dispatched', 401),
      ('webhook', 'report', 'delivered', 0)) e (source, event, status, code)
    where o.id > %(after)s and o.status = 'delivered'
"""
_SCHEDULED = """
    insert into public.outbox (recipient, body, send_at, expires_at, priority, status, attempts, created_at, queue, due_at)
    select '+1' || (4020000000 + n), 'Your table is ready. See you soon!', t.at, t.at + interval '3 days', 100, 'scheduled', 0,
      now(), 'w', t.at
    from generate_series(%(first)s::bigint, %(last)s::bigint) n
    cross join lateral (select now() + interval '1 day' + interval '80 days' * random() as at where n is not null) t
"""
CLAIM = (
    "select public.outbox_claim_due(%s, 'bench', 'sinch', 'bench', 'bench', 'bench', 30, 10, 8::smallint, 1000::smallint, %s,"
    " null, 1000000, null, true)"
)
ACCEPT = "select public.outbox_accept(%s::uuid[], %s, 'bench', 30, 300)"
_RECORD = (
    "select public.outbox_take_reports('webhook', %(batches)s, %(recipients)s, array_fill('delivered'::text, %(n)s),"
    " array_fill('0'::text, %(n)s), array_fill(now()::text, %(n)s), array_fill(''::text, %(n)s), array_fill('{}'::text, %(n)s))"
)

_STEPS = ("claim", "accept", "record")
_MOST_GROWTH = 1.5
_TABLES = ("public.outbox", "public.outbox_events", "outbox_engine.dispatches", "outbox_engine.dispatch_members")
_NOTE = (
    f"CPU of the database backend and 8 kB pages touched in the database, per row, for {DUE} due rows at a time, {ROUNDS}"
    " times, in tables with so many finished rows, their requests and three events each, two of them reports, and a"
    " tenth as many that are scheduled. Growth is in pages, against the smallest table: CPU is noisier than that from"
    " one minute to the next. All of it fits into this machine's memory; what comes from a disk costs more. Churn: "
    "{churned:,} messages, from insert to delivered in {minutes:.1f} minutes, under a reader older than all of them, "
    "so that vacuum could remove no dead row."
)


def run(options: Options) -> Result:
    sizes = [10_000, 100_000] if options.quick else [10_000, 100_000, 1_000_000] + [10_000_000] * options.full
    figures: list[Figure] = []
    with running() as rig:
        rows = 0
        for size in sizes:
            grow(rig.db, rows, size)
            rows = size
            figures += _measured(f"{size:,}", rig)
        began = monotonic()
        # All that an hour of a thousand messages a second leaves behind.
        churn = 2 if options.quick else 900 if options.full else 20
        with _churned(rig, rounds=churn):
            minutes = (monotonic() - began) / 60
            figures += _measured(CHURN, rig)
    return Result(
        figures=(*figures, *_growth(figures)),
        plots=(Plot("claim", kind="line", x="rows in the outbox, a tenth as many again scheduled for later"),),
        notes=(_NOTE.format(churned=churn * DUE, minutes=minutes),),
        partial=None if options.full else "10 million rows were not measured (--full)",
    )


def _growth(figures: list[Figure]) -> Iterator[Figure]:
    first = figures[0].case
    for step in _STEPS:
        medians = {figure.case: figure.median for figure in figures if figure.name == f"{step}, pages"}
        for case, median in medians.items():
            if case != first:
                yield Figure(case, f"{step}, growth", "", (median / medians[first],), _MOST_GROWTH, at_most=True)


def grow(db: Connection, rows: int, size: int, history: LiteralString = _HISTORY) -> None:
    """Fill the tables from ``rows`` to ``size`` finished messages, which ``history`` inserts."""
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        [[after]] = db.execute("select coalesce(max(id), 0) from public.outbox").fetchall()
        db.execute(history, {"first": rows, "last": size - 1})
        db.execute(_MEMBERS, {"after": after})
        db.execute(_DISPATCHES, {"after": after})
        db.execute(_TRAIL, {"after": after})
        db.execute(_SCHEDULED, {"first": rows // 10, "last": size // 10 - 1})
    db.execute("vacuum analyze")
    db.execute("checkpoint")


@contextmanager
def _churned(rig: Rig, *, rounds: int) -> Iterator[None]:
    """Messages are sent and deleted, and vacuum cannot remove any dead row, because a reader holds an old snapshot."""
    with psycopg.connect(rig.stack.admin_url) as reader:
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select count(*) from public.outbox_events where id < 0")
        for _ in range(rounds):
            for _ in _round(rig.db):
                pass
        rig.db.execute("vacuum analyze")
        yield


def _measured(case: str, rig: Rig) -> Iterator[Figure]:
    rounds = [dict(_round(rig.db)) for _ in range(ROUNDS)]
    for step in _STEPS:
        yield Figure(case, step, "µs", tuple(each[step][0] for each in rounds))
    for step in _STEPS:
        yield Figure(case, f"{step}, pages", "", tuple(each[step][1] for each in rounds))
    size = sum(rig.value(f"select pg_total_relation_size('{table}')") for table in _TABLES)
    dead = rig.value("select n_dead_tup from pg_stat_user_tables where relid = 'public.outbox'::regclass")
    yield Figure(case, "tables with indexes", "MB", (size / 1e6,))
    yield Figure(case, "dead rows", "", (dead,))


def _round(db: Connection) -> Iterator[tuple[str, tuple[float, float]]]:
    """One claim, its acceptance and all its reports: CPU in microseconds and pages, per row, of each step."""
    db.execute(
        "insert into public.outbox (recipient, body) "
        f"select '+1' || (6020000000 + n), 'Your table is ready. See you soon!' from generate_series(1, {DUE}) n"
    )
    meter = Meter(db)
    [[claim]] = db.execute(CLAIM, [str(uuid4()), DUE]).fetchall()
    yield "claim", _per_row(meter)

    dispatches: list[dict[str, list[str]]] = claim["dispatches"]  # type: ignore[index]
    ids = [str(dispatch["dispatch_id"]) for dispatch in dispatches]
    db.execute(ACCEPT, [ids, [f"batch {one}" for one in ids]])
    yield "accept", _per_row(meter)

    for one, dispatch in zip(ids, dispatches, strict=True):
        recipients = dispatch["recipients"]
        batches = [f"batch {one}"] * len(recipients)
        db.execute(_RECORD, {"batches": batches, "recipients": recipients, "n": [len(recipients)]})
    yield "record", _per_row(meter)


def _per_row(meter: "Meter") -> tuple[float, float]:
    seconds, pages = meter.lap()
    return seconds / DUE * 1e6, pages / DUE


class Meter:
    """The usage of a connection's backend since the last lap."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._backend = Path(f"/proc/{db.info.backend_pid}/schedstat")
        if not self._backend.is_file():
            raise SystemExit("size: CPU is read from /proc/<process>/schedstat, which only Linux has")
        self._last = self._now()

    def lap(self) -> tuple[float, float]:
        """Seconds and pages."""
        now = self._now()
        cpu, pages = (new - old for new, old in zip(now, self._last, strict=True))
        self._last = now
        return cpu, pages

    def _now(self) -> tuple[float, float]:
        self._db.execute("select pg_stat_force_next_flush()")
        [[pages]] = self._db.execute(
            "select blks_hit + blks_read from pg_stat_database where datname = current_database()"
        ).fetchall()
        # Nanoseconds; the usual counters have a resolution of 10 ms.
        nanoseconds = int(self._backend.read_text().split()[0])
        return nanoseconds / 1e9, float(str(pages))
