"""Supabase Lite, Supabase's own lightweight server: the API in front of the local PostgreSQL."""

import json
import os
import signal
import subprocess
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from sandbox.local import binaries, ports, processes, project
from sandbox.local.errors import StackError
from sandbox.local.settings import Secrets
from sandbox.schema.apply import in_transaction

MIGRATE_SECONDS = 120.0
START_SECONDS = 30.0
_STOP = (signal.SIGTERM, 2.0)

# backoff: how soon a lost connection to the database is tried again. The timeout is what hosted Supabase gives the API.
# Notices would fill the log: Lite runs `if not exists` for everything that it has.
_CONNECTION_OPTIONS = "backoff=0.2&statement_timeout=8000&client_min_messages=warning"


@dataclass(frozen=True, slots=True)
class LiteOptions:
    """``migrations`` are folders of SQL files, ``table_browser`` whether the page on ``/`` may see the tables.

    The page sends no key, so with it Lite takes requests that come from this machine without one for ``service_role``.
    """

    port: int
    db_url: str
    secrets: Secrets
    migrations: tuple[Path, ...]
    table_browser: bool = False


class LiteServer:
    """Lite in a project folder of its own, so that it writes nothing to the repository."""

    def __init__(self, folder: Path, *, log: Path, options: LiteOptions) -> None:
        self._folder = folder
        self._log = log
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def runs(self) -> bool:
        return self.pid is not None

    @property
    def url(self) -> str:
        return f"http://{ports.HOST}:{self._options.port}"

    def migrate(self) -> None:
        """Apply the migrations that are pending, recorded as the Supabase CLI does. Raises :class:`StackError`."""
        self._write_project()
        try:
            done = subprocess.run(
                processes.with_death_signal(self._command("migration", "up"), "KILL"),
                cwd=self._folder,
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=MIGRATE_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise StackError(f"the migrations did not end within {MIGRATE_SECONDS:.0f} seconds") from None
        if done.returncode != 0:
            raise StackError(_migration_complaint(done.stdout + done.stderr, self._first_pending()))

    def _first_pending(self) -> str:
        """The migration that failed: each one before it is recorded. Empty if the database does not tell."""
        recorded = "select version from supabase_migrations.schema_migrations"
        with suppress(psycopg.Error), psycopg.connect(self._options.db_url) as connection:
            applied = {version for (version,) in connection.execute(recorded)}
            paths = project.migrations(self._folder / "supabase" / "migrations")
            return next((path.name for path in paths if path.name.partition("_")[0] not in applied), "")
        return ""

    def start(self) -> None:
        """Start the server and return once it has read the schema, which it does at its first request."""
        self._process = processes.start(
            self._command("start", "--admin" if self._options.table_browser else "--no-admin"),
            log=self._log,
            cwd=self._folder,
            env=self._environment(),
            dies_by="KILL",
        )
        if not processes.wait_until(lambda: not self.runs or self.answers(), START_SECONDS):
            self.stop()
            raise StackError(f"Supabase Lite did not answer within {START_SECONDS:.0f} seconds: see {self._log}")
        if not self.runs:
            raise StackError(f"Supabase Lite does not start: see {self._log}")

    def answers(self) -> bool:
        """Whether the API answers from the database."""
        headers = {"apikey": self._options.secrets.secret_key}
        try:
            return httpx.get(f"{self.url}/rest/v1/", headers=headers, timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            processes.stop(self._process, _STOP)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _command(self, *words: str) -> list[str | Path]:
        return [binaries.node(), "--import", binaries.EXPLICIT_GRANTS.as_uri(), binaries.lite_cli(), *words]

    def _environment(self) -> dict[str, str]:
        """Secrets travel in the environment, which only the same user can read, and never in a file or an argument."""
        own = {
            "LITE_DB_URL": f"{self._options.db_url.partition('?')[0]}?{_CONNECTION_OPTIONS}",
            "LITE_JWT_SECRET": self._options.secrets.jwt_secret,
            "LITE_PUBLISHABLE_KEY": self._options.secrets.publishable_key,
            "LITE_SECRET_KEY": self._options.secrets.secret_key,
            "DO_NOT_TRACK": "1",
            "LITE_NON_INTERACTIVE": "1",
            "NO_COLOR": "1",
        }
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "TZ")
        return {name: os.environ[name] for name in kept if name in os.environ} | own

    def _write_project(self) -> None:
        supabase = self._folder / "supabase"
        supabase.mkdir(parents=True, exist_ok=True)
        (supabase / "config.toml").write_text(_toml(self._configuration()), encoding="utf-8")
        self._copy_migrations(supabase / "migrations")

    def _copy_migrations(self, folder: Path) -> None:
        """Lite runs each file in a transaction, which refuses `concurrently`. No traffic waits while indexes are built here.

        A file of the outbox that was applied keeps its version: `outbox install` gives it another one in each project.
        """
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(exist_ok=True)
        applied = {(project.released(path.name), path.read_text(encoding="utf-8")): path.name for path in folder.iterdir()}
        for path in folder.iterdir():
            path.unlink()
        for source in self._options.migrations:
            for path in project.migrations(source):
                text = in_transaction(path.read_text(encoding="utf-8"))
                name = project.released(path.name)
                known = path.name if name is None else applied.get((name, text), path.name)
                (folder / known).write_text(text, encoding="utf-8")

    def _configuration(self) -> dict[str, dict[str, Any]]:
        """The project's rules for the API, with this stack's database and keys."""
        api = _project_configuration(self._options.migrations).get("api", {})
        return {
            "api": {
                "port": self._options.port,
                "schemas": api.get("schemas", ["public"]),
                "max_rows": api.get("max_rows", 1000),
            },
            "db": {"driver": "postgres", "url": "env(LITE_DB_URL)"},
            "auth": {
                "enabled": True,
                "site_url": self.url,
                "jwt_secret": "env(LITE_JWT_SECRET)",
                "publishable_key": "env(LITE_PUBLISHABLE_KEY)",
                "secret_key": "env(LITE_SECRET_KEY)",
            },
        }


def _project_configuration(migrations: Iterable[Path]) -> dict[str, Any]:
    """The configuration beside the first migrations, else the outbox's. Raises :class:`StackError` if it cannot be read."""
    places = [folder.parent / "config.toml" for folder in migrations] + [binaries.SUPABASE / "config.toml"]
    path = next((place for place in places if place.is_file()), None)
    try:
        return {} if path is None else tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be read: {error}") from None


def _toml(tables: dict[str, dict[str, Any]]) -> str:
    # JSON's strings, numbers, booleans and arrays are TOML's.
    lines: list[str] = []
    for table, entries in tables.items():
        lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in entries.items()), ""]
    return "\n".join(lines)


def _migration_complaint(said: str, name: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    complaint = next(
        (line for line in lines if "failed" in line.lower() or "error" in line.lower()), lines[-1] if lines else ""
    )
    reason = complaint.removeprefix("Migration failed: ") or "no reason given"
    return f"the migrations could not be applied: {f'{name}: ' if name else ''}{reason}"
