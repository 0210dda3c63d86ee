"""The process that owns both servers: starts them, keeps them alive, and takes them with it when it ends.

It reads commands as lines of JSON on stdin and answers in lines of JSON on stdout (:mod:`sandbox.local.client` is the other
end). When stdin closes, its parent is gone, and it stops everything, unless a ``detach`` command came before. When it
is killed itself, the kernel ends the servers (Linux), or the next start does (elsewhere).
"""

import json
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from sandbox.local import bootstrap, ports, processes
from sandbox.local.errors import AlreadyRuns, StackError, WrongUsage
from sandbox.local.folder import DataFolder, State
from sandbox.local.lite import LiteOptions, LiteServer
from sandbox.local.postgres import SUPERUSER, PostgresServer
from sandbox.local.settings import DEFAULT_API_PORT, Secrets, Settings

_CHECK_SECONDS = 0.1
_RESTART_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a supervisor. ``migrations`` are folders.

    ``port`` is None for the folder's last or the default one, 0 for any free one.
    """

    data_dir: str
    migrations: tuple[str, ...]
    port: int | None = None
    fresh: bool = False
    durable: bool = True
    table_browser: bool = False
    temporary: bool = False


class Supervisor:
    """Both servers of one data folder. Everything happens in one thread."""

    def __init__(self, options: Options, folder: DataFolder, send: Callable[..., None]) -> None:
        self._options = options
        self._folder = folder
        self._send = send
        self.settings = _settings(options, folder)
        self._postgres = PostgresServer(
            folder.postgres,
            log=folder.postgres_log,
            port=self.settings.db_port,
            password=self.settings.secrets.db_password,
            durable=options.durable,
        )
        lite_options = LiteOptions(
            port=self.settings.api_port,
            db_url=self._postgres.url(),
            secrets=self.settings.secrets,
            migrations=tuple(map(Path, options.migrations)),
            table_browser=options.table_browser,
        )
        self._api = LiteServer(folder.lite, log=folder.api_log, options=lite_options)
        self._ready = False
        self._keep_postgres = True
        self._keep_api = True
        self._not_before = 0.0

    def start(self) -> None:
        """Start everything: the cluster, its roles, the migrations, the API."""
        self._folder.write_settings(self.settings)
        self._send(progress="starting PostgreSQL")
        self._postgres.create()
        self._start_postgres()
        bootstrap.make_project(self._postgres.url(SUPERUSER), self.settings.secrets.db_password)
        self._send(progress="applying migrations")
        self._api.migrate()
        self._send(progress="starting Supabase Lite")
        self._start_api()
        self._ready = True
        self._write_state()

    def stop(self) -> None:
        self._api.stop()
        self._postgres.stop()
        self._folder.forget_state()

    def restart_ended(self) -> None:
        """Start servers again that ended by themselves."""
        if monotonic() < self._not_before:
            return
        try:
            if self._keep_postgres and not self._postgres.runs:
                self._log("postgres.restarted")
                self._restart_both()
            elif self._keep_api and self._keep_postgres and not self._api.runs:
                self._log("api.restarted")
                self._start_api()
        except StackError as error:
            self._log("restart.failed", error=str(error))
            self._not_before = monotonic() + _RESTART_PAUSE_SECONDS

    def execute(self, command: str) -> None:
        """Run one of the methods below, by name. Raises :class:`StackError` if it fails."""
        allowed: dict[str, Callable[[], None]] = {
            "migrate": self.migrate,
            "restart_api": self.restart_api,
            "stop_api": self.stop_api,
            "stop_postgres": self.stop_postgres,
            "start_postgres": self.start_postgres,
            "heal": self.heal,
            "kill_api": self._api.kill,
            "kill_postgres": self._postgres.kill,
        }
        if command not in allowed:
            raise StackError(f"the supervisor does not know {command!r}")
        allowed[command]()

    def migrate(self) -> None:
        """Apply pending migrations. The API caches the schema, so it is restarted."""
        self._api.migrate()
        self.restart_api()

    def restart_api(self) -> None:
        self._api.stop()
        self._start_api()
        self._keep_api = True

    def stop_api(self) -> None:
        self._keep_api = False
        self._api.stop()

    def stop_postgres(self) -> None:
        """Stop it until a later command. The API runs on, as a hosted one would, and answers errors."""
        self._keep_postgres = False
        self._postgres.stop()

    def start_postgres(self) -> None:
        self._keep_postgres = True
        self._restart_both()

    def heal(self) -> None:
        """Start each server that does not run."""
        self._keep_postgres = self._keep_api = True
        if not self._postgres.runs:
            self._restart_both()
        elif not self._api.runs:
            self._start_api()

    def _restart_both(self) -> None:
        self._start_postgres()
        if self._keep_api:
            # Lite may hang on to connections that are gone.
            self._api.stop()
            self._start_api()

    def _start_postgres(self) -> None:
        self._postgres.start()
        self._write_state()

    def _start_api(self) -> None:
        self._api.start()
        self._write_state()

    def _write_state(self) -> None:
        servers = [None if pid is None else processes.identify(pid) for pid in (self._postgres.pid, self._api.pid)]
        self._folder.write_state(State(ready=self._ready, postgres=servers[0], api=servers[1]))

    def _log(self, event: str, **fields: str) -> None:
        sys.stderr.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stderr.flush()


def main() -> int:
    """Run until a signal or the end of stdin."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    options = Options(**json.loads(sys.argv[1]))
    folder = DataFolder(Path(options.data_dir))
    try:
        folder.make()
        with folder.held() as mine:
            if not mine:
                raise AlreadyRuns(f"a local stack already runs in {folder.path}: outbox local down stops it")
            return _supervise(options, folder)
    except StackError as error:
        _send(failed=str(error), kind=type(error).__name__)
    except OSError as error:
        _send(failed=f"{error.filename or folder.path}: {error.strerror or error}", kind="")
        raise
    return 1


def _supervise(options: Options, folder: DataFolder) -> int:
    supervisor: Supervisor | None = None
    try:
        folder.end_orphans()
        if options.fresh:
            folder.empty()
            folder.make()
        supervisor = Supervisor(options, folder, _send)
        supervisor.start()
        _send(ready=True, settings=asdict(supervisor.settings))
        _listen(supervisor)
        return 0
    finally:
        _ignore_further_signals()
        if supervisor is not None:
            supervisor.stop()
        if options.temporary:
            folder.remove()


def _listen(supervisor: Supervisor) -> None:
    """Execute commands until stdin closes or a signal comes. After ``detach`` only a signal ends it."""
    lines: list[bytes] = []
    attached, rest = True, b""
    while True:
        readable, _, _ = select.select([sys.stdin] if attached else [], [], [], _CHECK_SECONDS)
        if readable:
            chunk = os.read(sys.stdin.fileno(), 65536)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            attached = attached and _handle(supervisor, json.loads(line)["do"])
        lines = []
        supervisor.restart_ended()


def _handle(supervisor: Supervisor, command: str) -> bool:
    """Execute a command and send the result. Returns whether to go on reading commands."""
    try:
        if command != "detach":
            supervisor.execute(command)
    except StackError as error:
        _send(failed=str(error), kind=type(error).__name__)
    else:
        _send(done=command)
    return command != "detach"


def _settings(options: Options, folder: DataFolder) -> Settings:
    kept = folder.read_settings()
    api_port = _api_port(options.port, kept)
    db_port = kept.db_port if kept is not None and ports.is_free(kept.db_port) else ports.free_port()
    return Settings(secrets=kept.secrets if kept is not None else Secrets.generate(), api_port=api_port, db_port=db_port)


def _api_port(asked: int | None, kept: Settings | None) -> int:
    if asked == 0:
        return ports.free_port()
    port = asked or (kept.api_port if kept is not None else DEFAULT_API_PORT)
    if not ports.is_free(port):
        raise WrongUsage(f"port {port} is taken: choose another with --port")
    return port


def _send(**message: Any) -> None:
    # The parent may be gone, and after detaching no process reads this.
    with suppress(OSError, ValueError):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _ignore_further_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
