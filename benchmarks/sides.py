"""One of two trees that are compared: its local stack, its processes, and its database."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from dotenv import dotenv_values

from benchmarks import trees
from benchmarks.ratios import Name
from benchmarks.rig import SENDER, Connection, cpu_by_program
from benchmarks.worker import started
from sandbox.local.postgres import SUPERUSER
from sandbox.simulator.server import Running

WEBHOOK_SECRET: Final = "a secret of the benchmark"
_TABLES: Final = ("public", "outbox_engine")
_BUFFERS: Final = "select blks_hit + blks_read from pg_stat_database where datname = current_database()"


@dataclass(frozen=True, slots=True)
class Tables:
    """The tree's names for the tables that a measurement fills."""

    templates: str
    campaigns: str
    members: str

    @classmethod
    def of(cls, db: Connection) -> "Tables":
        return cls(
            templates=_existing(db, "outbox_templates", "templates"),
            campaigns=_existing(db, "outbox_campaigns", "campaigns"),
            members=_existing(db, "outbox_campaign_members", "campaign_members"),
        )


@dataclass(frozen=True, slots=True)
class Side:
    """``folder`` is where its processes run; ``db`` is its database as superuser, committing each statement.

    ``emptied`` are the tables in which the migrations left nothing, ``supervisor`` is the parent of the database and the API.
    """

    name: Name
    tree: Path
    folder: Path
    access: Mapping[str, str]
    db: Connection
    tables: Tables
    emptied: tuple[str, ...]
    supervisor: psutil.Process

    @property
    def url(self) -> str:
        """The API's address."""
        return self.access["SUPABASE_URL"]

    def empty(self) -> None:
        """Delete everything that a measurement left."""
        with self.db.transaction():
            # A trigger refuses to empty the audit.
            self.db.execute("set local session_replication_role = replica")
            self.db.execute(f"truncate {', '.join(self.emptied)} restart identity".encode())

    def rest(self) -> None:
        """Refresh statistics and write everything to disk, so that neither happens during a measurement."""
        self.db.execute("vacuum analyze")
        self.db.execute("checkpoint")

    def value(self, question: str) -> int:
        row = self.db.execute(question.encode()).fetchone()
        return int(str(row[0])) if row else 0

    def wal(self) -> int:
        """WAL bytes written so far."""
        return self.value("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")

    def buffers(self) -> int:
        """Pages read so far. A connection reports its own up to ten seconds late, this one at once."""
        self.db.execute("select pg_stat_force_next_flush()")
        return self.value(_BUFFERS)

    def cpu(self) -> float:
        """CPU seconds of the database and the API so far."""
        return sum(cpu_by_program(self.supervisor).values())

    @contextmanager
    def scheduler(self, simulator: Running, *, url: str) -> Iterator[None]:
        """``outbox run``, with the Supabase API at ``url``. The plan's limits are set so high that they have no effect."""
        settings = {
            "SUPABASE_URL": url,
            "SINCH_SERVICE_PLAN_ID": simulator.plan.id,
            "SINCH_API_TOKEN": simulator.plan.token,
            "SINCH_BASE_URL": simulator.url,
            "SINCH_FROM_NUMBER": SENDER,
            "SINCH_REQUESTS_PER_MINUTE": "1000000",
            "LOG_LEVEL": "error",
            # For the benchmark of events. An earlier tree knows no such setting.
            "EVENTS_ALLOW_PRIVATE_NETWORKS": "1",
        }
        with self._started("run", settings):
            yield

    @contextmanager
    def webhook(self) -> Iterator[int]:
        """``outbox webhook``. Yields its port."""
        settings = {"SUPABASE_URL": self.url, "SINCH_WEBHOOK_SECRETS": WEBHOOK_SECRET, "LOG_FORMAT": "json"}
        with self._started("webhook", settings, "--port", "0", stderr=subprocess.PIPE) as process:
            yield _port(process)

    @contextmanager
    def _started(self, command: str, settings: Mapping[str, str], *words: str, **how: Any) -> Iterator["subprocess.Popen[Any]"]:
        key = self.access["SUPABASE_SECRET_KEY"]
        environment = {**trees.environment(self.tree), "SUPABASE_SECRET_KEY": key, **settings}
        with started(["-m", "scheduler", command, *words], environment, cwd=self.folder, **how) as process:
            yield process


@contextmanager
def running(name: Name, tree: Path, folder: Path) -> Iterator[Side]:
    """The tree's own stack with its own migrations, from its own command line, until the block ends."""
    trees.check_own_code(tree, cwd=folder)
    place = ["--data-dir", str(folder / name)]
    with ExitStack() as parts:
        parts.callback(trees.python, tree, "-m", "scheduler", "local", "down", *place, cwd=folder)
        access = _settings(trees.python(tree, "-m", "scheduler", "local", "up", *place, "--port", "0", cwd=folder))
        url = psycopg.conninfo.make_conninfo(access["OUTBOX_DB_URL"], user=SUPERUSER)
        db = parts.enter_context(psycopg.connect(url, autocommit=True))
        # The measurements vacuum between themselves.
        db.execute("alter system set autovacuum = off")
        db.execute("select pg_reload_conf()")
        postmaster = psutil.Process(int((folder / name / "postgres" / "postmaster.pid").read_text().split()[0]))
        yield Side(name, tree, folder, access, db, Tables.of(db), tuple(_empty(db)), postmaster.parent())


def _settings(dotenv: str) -> dict[str, str]:
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(dotenv), interpolate=False).items()}


def _existing(db: Connection, *names: str) -> str:
    """The first of these tables of `public` that exists: an earlier or a later tree may use another name."""
    for name in names:
        row = db.execute("select to_regclass(%s)", [f"public.{name}"]).fetchone()
        if row is not None and row[0] is not None:
            return f"public.{name}"
    raise SystemExit(f"the database has none of {', '.join(names)}")


def _empty(db: Connection) -> Iterator[str]:
    found = db.execute(
        "select format('%%I.%%I', schemaname, tablename) from pg_tables where schemaname = any(%s) order by 1", [list(_TABLES)]
    ).fetchall()
    for (table,) in found:
        row = db.execute(f"select exists (table {table})".encode()).fetchone()
        if row is not None and not row[0]:
            yield str(table)


def _port(process: "subprocess.Popen[Any]") -> int:
    for line in process.stderr or ():
        event = json.loads(line)
        if event["event"] == "webhook.listening":
            return int(event["port"])
    raise SystemExit(f"outbox webhook ended with exit code {process.wait()} before it listened")
