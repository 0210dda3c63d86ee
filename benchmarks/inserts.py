"""What an insert costs an app: commits a second from many connections, and whole batches compared with a plain table."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Final

from benchmarks.result import Figure, Options, Plot, Result
from benchmarks.rig import Rig, running, until
from benchmarks.worker import started
from sandbox.local.binaries import postgres_bin

TITLE = "what does an insert cost an app?"

CLIENTS: Final = 16
_FLUSH: Final = "-c commit_delay=2000 -c commit_siblings=0"
"""A flush that takes two milliseconds, as on a network disk: commits that take turns then show."""
_BATCH: Final = 10_000
_DEAD_SECONDS: Final = 3.0
_INSERT: Final = (
    "\\set n random(0, 9999999)\n"
    "insert into public.outbox (recipient, body) values ('+1' || (2020000000 + :n), 'Your order is ready.');\n"
)
_TELL: Final = (
    "create or replace function outbox_engine.tell_sleepers() returns void language plpgsql"
    " set search_path = pg_catalog, pg_temp as $$ begin {} end $$"
)
_SILENT: Final = _TELL.format("null;")
_ALWAYS: Final = _TELL.format("perform pg_notify('outbox', '');")

_NOTE = (
    f"{CLIENTS} connections insert one due row each time, for {{seconds:g}} seconds, with a flush of two milliseconds "
    f"(`{_FLUSH}`), while processes listen. *Share of silence* compares with the same inserts and processes where an insert "
    "tells nobody, in the same repetition; the last case has every insert tell, as release 0.1.0 did. Sending takes its part "
    "of the two cores, which the inserts then lack in both halves. "
    f"The batches are of {_BATCH:,} rows in one statement, compared with a table that has the same columns and a primary key, "
    "no triggers and no other index."
)


@dataclass(frozen=True, slots=True)
class Case:
    """``idle`` processes wait for rows, ``busy`` ones have a backlog."""

    name: str
    idle: bool = False
    busy: bool = False
    killed: bool = False
    tells: bool = True
    goal: float | None = 0.9


CASES: Final = (
    Case("no process"),
    Case("one idle process", idle=True),
    Case("one busy process", busy=True),
    Case("an idle and a busy process", idle=True, busy=True),
    Case("3 s after kill -9 of an idle one", killed=True),
    Case("one idle process, every insert tells", idle=True, tells=False, goal=None),
)
_BATCHES: Final = {
    "a text each": ("body", "'Your order ' || n || ' is ready.'"),
    "a template": ("template, parameters", "'bench', jsonb_build_object('name', 'Ada')"),
}


def run(options: Options) -> Result:
    seconds = 1.0 if options.quick else 4.0
    commits: dict[str, list[tuple[float, float]]] = {case.name: [] for case in CASES}
    batches: dict[str, list[tuple[float, float]]] = {name: [] for name in _BATCHES}
    with running() as rig:
        original = _definition(rig)
        rig.db.execute("create table public.plain (like public.outbox including defaults including identity)")
        rig.db.execute("alter table public.plain add primary key (id)")
        rig.db.execute("insert into public.outbox_templates (name, body) values ('bench', 'Hello {{name}}.')")
        for repeat in range(options.repeats):
            for case in CASES:
                functions = {"telling": original if case.tells else _ALWAYS, "silent": _SILENT}
                # The half that goes first alternates.
                order = sorted(functions, reverse=bool(repeat % 2))
                measured = {name: _commits(rig, case, functions[name], seconds) for name in order}
                commits[case.name].append((measured["telling"], measured["silent"]))
            rig.db.execute(original.encode())
            for name, (columns, values) in _BATCHES.items():
                batches[name].append((_batch(rig, "outbox", columns, values), _batch(rig, "plain", columns, values)))
    notes = (_NOTE.format(seconds=seconds),)
    return Result((*_commit_figures(commits), *_batch_figures(batches)), plots=(Plot("commits"),), notes=notes)


def _commit_figures(measured: Mapping[str, list[tuple[float, float]]]) -> Iterator[Figure]:
    for case in CASES:
        pairs = measured[case.name]
        yield Figure(case.name, "commits", "1/s", tuple(telling for telling, _ in pairs))
        shares = tuple(telling / silent for telling, silent in pairs)
        yield Figure(case.name, "share of silence", "", shares, case.goal)


def _batch_figures(measured: Mapping[str, list[tuple[float, float]]]) -> Iterator[Figure]:
    for name, pairs in measured.items():
        case = f"{_BATCH:,} rows at once, {name}"
        yield Figure(case, "a row", "µs", tuple(ours / _BATCH * 1e6 for ours, _ in pairs))
        yield Figure(case, "times a plain table", "", tuple(ours / plain for ours, plain in pairs))


def _definition(rig: Rig) -> str:
    [(text,)] = rig.db.execute("select pg_get_functiondef('outbox_engine.tell_sleepers'::regproc)").fetchall()
    return str(text)


def _batch(rig: Rig, table: str, columns: str, values: str) -> float:
    """Seconds of one statement."""
    rig.empty()
    rig.db.execute("truncate public.plain")
    missing = "" if table == "outbox" else ", created_at, send_at, expires_at, due_at, priority, attempts, status"
    given = "" if table == "outbox" else ", now(), now(), now(), now(), 100, 0, 'pending'"
    began = monotonic()
    rig.db.execute(
        f"insert into public.{table} (recipient, {columns}{missing})"
        f" select '+1' || (2020000000 + n), {values}{given} from generate_series(1, {_BATCH}) n".encode()
    )
    return monotonic() - began


def _commits(rig: Rig, case: Case, function: str, seconds: float) -> float:
    """Commits a second."""
    rig.empty()
    rig.db.execute("select setval('outbox_engine.asleep_until', 0)")
    rig.db.execute(function.encode())
    with ExitStack() as processes:
        if case.killed:
            with _listening(rig) as process:
                process.send_signal(signal.SIGKILL)
            sleep(_DEAD_SECONDS)
        for _ in range(case.idle + case.busy):
            processes.enter_context(_listening(rig))
        if case.busy:
            rig.insert(400_000, body="'Doors open at eight.'")
        return _pgbench(rig, seconds)


@contextmanager
def _listening(rig: Rig) -> Iterator["subprocess.Popen[bytes]"]:
    with started(["-m", "scheduler", "run"], rig.environment | {"OUTBOX_DB_URL": rig.stack.db_url}) as process:
        asleep = (
            "select count(*) from outbox_engine.asleep_until where last_value > date_part('epoch', clock_timestamp()) * 1000"
        )
        until(lambda: bool(rig.value(asleep)))
        yield process


def _pgbench(rig: Rig, seconds: float) -> float:
    with TemporaryDirectory() as folder:
        script = Path(folder) / "insert.sql"
        script.write_text(_INSERT)
        done = subprocess.run(
            [
                *(postgres_bin() / "pgbench", "--no-vacuum", "--client", str(CLIENTS), "--jobs", "2"),
                *("--time", f"{max(1, round(seconds))}", "--file", script, rig.stack.admin_url),
            ],
            env={**os.environ, "PGOPTIONS": _FLUSH},
            capture_output=True,
            text=True,
            check=True,
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if found is None:
        raise SystemExit(f"pgbench says no number of transactions:\n{done.stdout}")
    return float(found[1])
