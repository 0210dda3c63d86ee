"""What the files of a schema version do to a big database: the time of each statement, and the tables that it locks.

The files run as in a project: each in one transaction, one statement after the other, with the versions before it and
so many messages in the database. Locks are kept until the commit, so each is reported with how long it was held.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final

import psycopg

from benchmarks.result import Figure, Options, Result
from benchmarks.rig import Connection
from benchmarks.size import grow
from jobs.schema import releases
from jobs.schema.releases import ReleaseFile, Releases
from sandbox.local.stack import LocalStack
from sandbox.schema.apply import is_outside_transactions
from sandbox.schema.statements import statements

TITLE = "what does each statement of an upgrade lock, and for how long?"

MODES: Final = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
"""From the weakest to the strongest."""
_REPORTED: Final = MODES[3:]

_TABLES: Final = """
    select c.oid, format('%I.%I', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'outbox_engine') and c.relkind in ('r', 'p')
"""
_LOCKS: Final = """
    select relation, mode from pg_locks
    where pid = pg_backend_pid() and locktype = 'relation' and granted and relation = any(%s)
"""
_NOTE: Final = (
    "Version {number}, on {rows:,} finished messages with their requests and their history, and a tenth as many that wait. Only"
    " tables that there were before, and no locks up to RowExclusiveLock: under those, messages are inserted and sent as"
    " ever. A concurrent statement keeps no lock."
)


@dataclass(frozen=True, slots=True)
class Step:
    """One statement. ``locks`` are the strongest of each table, where this statement took or strengthened it.

    ``held`` is how long those were kept, from the beginning of the statement to the commit. Both times are in seconds.
    """

    statement: str
    seconds: float
    held: float
    locks: dict[str, str]


def run(options: Options) -> Result:
    known = releases.packaged()
    number = known.newest if options.version is None else options.version
    if not 1 < number <= known.newest:
        raise SystemExit(f"there is no upgrade to version {number}: this tree has versions 1 to {known.newest}")
    rows = min(options.rows, 10_000) if options.quick else options.rows
    figures: list[Figure] = []
    with (
        TemporaryDirectory(prefix="outbox-upgrade-") as folder,
        _before(Path(folder), known, number) as stack,
        psycopg.connect(stack.admin_url, autocommit=True) as db,
    ):
        grow(db, 0, rows)
        for file in known.version(number).files:
            figures += _figures(file, list(measured(db, file.text)))
    return Result(figures=tuple(figures), notes=(_NOTE.format(number=number, rows=rows),))


def measured(db: Connection, text: str) -> Iterator[Step]:
    """Run one file, and yield its statements after it was committed. ``db`` commits each statement."""
    if is_outside_transactions(text):
        for statement in statements(text):
            began = monotonic()
            db.execute(statement.encode())
            took = monotonic() - began
            yield Step(statement, took, took, {})
        return
    done: list[tuple[str, float, float, dict[str, str]]] = []
    tables = {int(str(oid)): str(name) for oid, name in db.execute(_TABLES).fetchall()}
    with db.transaction():
        held: dict[str, str] = {}
        for statement in statements(text):
            began = monotonic()
            db.execute(statement.encode())
            ended = monotonic()
            now = _strongest(db, tables)
            done.append((statement, began, ended, {name: mode for name, mode in now.items() if held.get(name) != mode}))
            held = now
    committed = monotonic()
    for statement, began, ended, locks in done:
        yield Step(statement, ended - began, committed - began, locks)


def _strongest(db: Connection, tables: dict[int, str]) -> dict[str, str]:
    strongest: dict[str, str] = {}
    for oid, mode in db.execute(_LOCKS, [list(tables)]).fetchall():
        name = tables[int(str(oid))]
        strongest[name] = max(strongest.get(name, MODES[0]), str(mode), key=MODES.index)
    return strongest


def _figures(file: ReleaseFile, steps: Sequence[Step]) -> Iterator[Figure]:
    for place, step in enumerate(steps, 1):
        case = f"{file.name} {place}: {' '.join(step.statement.split())[:60]}"
        yield Figure(case, "time", "ms", (1000 * step.seconds,))
        for table, mode in step.locks.items():
            if mode in _REPORTED:
                yield Figure(f"{case}: {mode} on {table}", "held", "ms", (1000 * step.held,))


def _before(folder: Path, known: Releases, number: int) -> LocalStack:
    """A database with the versions before this one."""
    folder.chmod(0o755)
    for place, file in enumerate(file for file in known.files if file.number < number):
        (folder / f"{place:014}_{file.name}").write_text(file.text, encoding="utf-8", newline="\n")
    return LocalStack(migrations=folder, durable=True)
