"""The calls of operators and apps about many rows, in big tables: the time of the longest call, against the API's limit."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any, Final, cast
from uuid import uuid4

import psycopg

from benchmarks.result import Figure, Options, Result
from benchmarks.rig import Connection, Rig, running, until
from benchmarks.size import ACCEPT, CLAIM, grow

TITLE = "how long do an operator's and an app's calls take in big tables?"

_AIM_SECONDS: Final = 2.0
"""The API ends a call after eight seconds."""
_PAGES: Final = 100
_TURNS: Final = 5
_OWNED: Final = {"no messages": 0, "5 messages": 5, "2,000 messages": 2_000}
_HISTORIES: Final = {
    "one message": "select * from public.outbox_events where outbox_id = (select max(id) from public.outbox) order by id",
    "latest 10 messages": "select * from public.outbox_events where outbox_id = any"
    " (array(select id from public.outbox order by id desc limit 10)) order by id",
    "newest 50 events": "select * from public.outbox_events order by id desc limit 50",
}
_OCCURRENCES: Final = """
    insert into public.outbox_campaign_occurrences (campaign, external_id, occurs_at, stands_for, outbox_id, created_at)
    select 'big', 'm' || id, send_at, send_at at time zone 'UTC', id, send_at from public.outbox where id <= %s
"""
_SPREAD: Final = """
    update public.outbox
    set campaign = 'big', sent_at = send_at - id %% 6000000 * interval '1 second',
      status = case when id %% 20 = 0 then 'failed' else 'delivered' end,
      error = case when id %% 20 = 0 then 'reported failed with code 402' end
    where id <= %s
"""
_MEMBERS: Final = """
    select public.outbox_stage_members(%s, 'new', array_agg(n), array_agg('m' || n), array_agg('+1' || (2020000000 + n)),
      array_agg('UTC'::text), array_agg(''::text), array_agg('{"name": "Ada ' || n || '"}'))
    from generate_series(%s, %s::integer) n
"""
_EDITS: Final = {
    "move them by an hour": "send_at = send_at + interval '1 hour'",
    "another text": "body = 'See you tomorrow.'",
    "another priority": "priority = 50",
    "cancel them": "status = 'cancelled'",
}
_NOTE: Final = (
    "{rows:,} finished messages with three events each, {occurrences:,} of them of one campaign. *Longest* is the longest "
    "call; the API ends one after 8 s. Edits and inserts are one statement on {edited:,} rows. An import checks 2,000 lines "
    "and writes 10,000 in a call; suppressions go in calls of 5,000. Retention pauses after each "
    "call for as long as it took, while one client inserts messages one by one and another claims them; *share* compares "
    "with the same without retention, in turns of four seconds."
)


@dataclass(slots=True)
class Calls:
    """Seconds of each call of one operation, and of the CPU of its database backend."""

    took: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def time(self, db: Connection, statement: str, values: list[Any] | None = None) -> Any:
        began, used = monotonic(), _cpu(db)
        rows = db.execute(statement.encode(), values)
        answer = rows.fetchone() if rows.description else None
        self.took.append(monotonic() - began)
        self.cpu.append(_cpu(db) - used)
        return None if answer is None else answer[0]

    def figures(self, case: str) -> Iterator[Figure]:
        yield Figure(case, "longest", "s", (max(self.took),), _AIM_SECONDS, at_most=True)
        yield Figure(case, "its CPU", "s", (max(self.cpu),))
        yield Figure(case, "all calls", "s", (sum(self.took),))
        yield Figure(case, "calls", "", (len(self.took),))


def _cpu(db: Connection) -> float:
    # Nanoseconds; only Linux has this file.
    return int(Path(f"/proc/{db.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9


def run(options: Options) -> Result:
    rows, occurrences = (20_000, 5_000) if options.quick else (10_000_000, 1_000_000) if options.full else (500_000, 250_000)
    lines, edited = (4_000, 1_000) if options.quick else (200_000, 100_000)
    figures: list[Figure] = []
    with running() as rig:
        _fill(rig.db, rows, occurrences)
        figures += _histories(rig.db, rows)
        figures += _report(rig.db)
        for name in ("outbox_status", "outbox_list_campaigns"):
            calls = Calls()
            for _ in range(options.repeats):
                calls.time(rig.db, f"select public.{name}()")
            figures += calls.figures(name.replace("outbox_", "").replace("_", " "))
        figures += _person(rig.db)
        figures += _imports(rig.db, lines)
        figures += _edits(rig.db, edited)
        figures += _retention(rig, seconds=2 if options.quick else 20)
    return Result(tuple(figures), notes=(_NOTE.format(rows=rows, occurrences=occurrences, edited=edited),))


def _fill(db: Connection, rows: int, occurrences: int) -> None:
    db.execute("insert into public.outbox_templates (name, body) values ('visit', 'Dear {{name}}, see you soon!')")
    for name in ("big", "new"):
        db.execute(
            "insert into public.outbox_campaigns (name, template, schedule, starts_at)"
            " values (%s, 'visit', 'once', now() + interval '9 days')",
            [name],
        )
    grow(db, 0, occurrences)
    with db.transaction():
        db.execute("set local session_replication_role = replica")
        db.execute(_SPREAD.encode(), [occurrences])
        db.execute(_OCCURRENCES.encode(), [occurrences])
    grow(db, occurrences, rows)


def _histories(db: Connection, rows: int) -> Iterator[Figure]:
    users = {name: uuid4() for name in _OWNED}
    for name, count in _OWNED.items():
        if count:
            db.execute(
                "update public.outbox set owner_id = %s"
                " where id in (select 1 + n * (%s::bigint / %s) from generate_series(0, %s - 1) n) and owner_id is null",
                [users[name], rows, count, count],
            )
    until(lambda: _is_all_visible(db), 600.0, every=5.0)
    for name, user in users.items():
        for history, asked in _HISTORIES.items():
            with db.transaction():
                db.execute("set local role authenticated")
                db.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps({"sub": str(user)})])
                [[plans]] = db.execute(f"explain (analyze, buffers, format json) {asked}".encode()).fetchall()
            plan = cast("list[dict[str, Any]]", plans)[0]["Plan"]
            pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            yield Figure(f"history of a user with {name}: {history}", "pages", "", (pages,), _PAGES, at_most=True)


def _is_all_visible(db: Connection) -> bool:
    """Vacuum. While another transaction has an older snapshot, it leaves pages that an index-only scan has to read."""
    db.execute("vacuum analyze public.outbox")
    [[left]] = db.execute("select relpages - relallvisible from pg_class where oid = 'public.outbox'::regclass").fetchall()
    return left == 0


def _report(db: Connection) -> Iterator[Figure]:
    calls, state, report = Calls(), None, None
    while report is None:
        answer = calls.time(db, "select public.outbox_read_campaign_report('big', %s, 20000)", [state])
        state, report = json.dumps(answer["state"]), answer["report"]
    yield from calls.figures("campaign report")
    whole = Calls()
    whole.time(db, "select public.outbox_campaign_report('big')")
    yield from whole.figures("campaign report, one call as 0.1.0 makes it")


def _person(db: Connection) -> Iterator[Figure]:
    calls = Calls()
    after: int | None = 0
    while after is not None:
        after = calls.time(db, "select public.outbox_find_person('{+12025550101}', %s, 20000)", [after])["after"]
    yield from calls.figures("find a person's messages")


def _imports(db: Connection, lines: int) -> Iterator[Figure]:
    staged, written, suppressed, import_id = Calls(), Calls(), Calls(), str(uuid4())
    for first in range(1, lines, 2_000):
        staged.time(db, _MEMBERS, [import_id, first, first + 1_999])
    while written.time(db, "select public.outbox_write_members(%s, 10000)", [import_id])["left"]:
        pass
    for first in range(0, lines, 5_000):
        suppressed.time(
            db,
            "select public.outbox_import_suppressions(array_agg('+1' || (7020000000 + n)), array_agg(''::text),"
            " array_agg('operator'::text)) from generate_series(%s, %s::integer) n",
            [first, first + 4_999],
        )
    yield from staged.figures(f"import of {lines:,} members: check")
    yield from written.figures(f"import of {lines:,} members: write")
    yield from suppressed.figures(f"import of {lines:,} suppressions")


def _edits(db: Connection, edited: int) -> Iterator[Figure]:
    [[last]] = db.execute("select max(id) from public.outbox").fetchall()
    inserts = {
        "a text each": ("body, send_at", "'Hello ' || n, now() + interval '1 day'"),
        "a template": ("template, parameters", "'visit', jsonb_build_object('name', 'Ada ' || n)"),
    }
    for name, (columns, values) in inserts.items():
        calls = Calls()
        calls.time(
            db,
            f"insert into public.outbox (recipient, {columns})"
            f" select '+1' || (2020000000 + n), {values} from generate_series(1, {edited}) n",
        )
        yield from calls.figures(f"{edited:,} rows in one insert, {name}")
    for name, change in _EDITS.items():
        calls = Calls()
        calls.time(db, f"update public.outbox set {change} where id > {last} and id <= {last} + {edited}")
        yield from calls.figures(f"{edited:,} waiting rows: {name}")
    db.execute("delete from public.outbox where id > %s", [last])
    db.execute("vacuum analyze public.outbox")


def _retention(rig: Rig, *, seconds: float) -> Iterator[Figure]:
    """In turns without retention and with it, because the tables of the others grow."""
    alone: Counter[str] = Counter()
    beside: Counter[str] = Counter()
    calls, deleted = Calls(), 0
    with psycopg.connect(rig.stack.admin_url, autocommit=True) as db:
        # All that is finished.
        db.execute("update outbox_engine.upkeep set pruned_to = 0")

        def prune() -> bool:
            nonlocal deleted
            deleted += calls.time(db, "select public.outbox_upkeep(15, 15, 1000)")["pruned"]
            # As the upkeep job does.
            Event().wait(calls.took[-1])
            return True

        for _ in range(_TURNS):
            alone += _others(rig, seconds / _TURNS, lambda: False)
            beside += _others(rig, seconds / _TURNS, prune)
    db = rig.db
    db.execute("select pg_stat_force_next_flush()")
    yield from calls.figures("retention")
    yield Figure("retention", "messages", "1/s", (deleted / sum(calls.took),))
    yield Figure("retention", "inserts: share", "", (beside["insert"] / alone["insert"],))
    yield Figure("retention", "claims: share", "", (beside["claim"] / alone["claim"],))
    for table in ("public.outbox", "public.outbox_events"):
        dead = rig.value(f"select n_dead_tup from pg_stat_user_tables where relid = '{table}'::regclass")
        yield Figure("retention", f"dead rows of {table.partition('.')[2]}", "", (dead,))


def _others(rig: Rig, seconds: float, work: Callable[[], bool]) -> Counter[str]:
    """Inserts and claims of two other clients in this time, while ``work`` is repeated, unless it returns false."""
    with _repeating(rig, _insert) as inserts, _repeating(rig, _claim) as claims:
        ends = monotonic() + seconds
        while monotonic() < ends:
            if not work():
                Event().wait(ends - monotonic())
    return Counter(insert=len(inserts), claim=len(claims))


def _insert(db: Connection) -> None:
    db.execute("insert into public.outbox (recipient, body) values ('+12025550101', 'Your code is 1234')")


def _claim(db: Connection) -> None:
    """Claim up to 50 rows, and accept them: a dispatch that stays open would make later claims look for it."""
    [[claim]] = db.execute(CLAIM, [str(uuid4()), 50]).fetchall()
    if ids := [dispatch["dispatch_id"] for dispatch in cast("dict[str, Any]", claim)["dispatches"]]:
        db.execute(ACCEPT, [ids, [f"batch {one}" for one in ids]])


@contextmanager
def _repeating(rig: Rig, call: Callable[[Connection], None]) -> Iterator[list[None]]:
    done: list[None] = []
    stop = Event()

    def repeat() -> None:
        with psycopg.connect(rig.stack.admin_url, autocommit=True) as db:
            while not stop.is_set():
                call(db)
                done.append(None)

    worker = Thread(target=repeat)
    worker.start()
    try:
        yield done
    finally:
        stop.set()
        worker.join()
