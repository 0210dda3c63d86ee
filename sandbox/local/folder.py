"""The data folder of one local stack: its paths, and its lock."""

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from json import dumps, loads
from pathlib import Path

from sandbox.local import privileges, processes
from sandbox.local.errors import StackError, WrongUsage
from sandbox.local.processes import Identity
from sandbox.local.settings import Settings, read_settings, write_private, write_settings

_WRITING_SECONDS = 2.0
_REMOVING_SECONDS = 5.0
_OURS = frozenset(
    {
        "lock",
        "settings.json",
        "state.json",
        "postgres",
        "postgres.unfinished",
        "lite",
        "postgres.log",
        "api.log",
        "supervisor.log",
    }
)


@dataclass(frozen=True, slots=True)
class State:
    """The running servers: written at each start of a server, so that a killed supervisor's servers can be found and ended."""

    ready: bool
    postgres: Identity | None
    api: Identity | None


class DataFolder:
    """Paths, the stored settings, and the lock that a supervisor holds for as long as it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.postgres = self.path / "postgres"
        self.lite = self.path / "lite"
        self.postgres_log = self.path / "postgres.log"
        self.api_log = self.path / "api.log"
        self.supervisor_log = self.path / "supervisor.log"
        self._lock = self.path / "lock"
        self._settings = self.path / "settings.json"
        self._state = self.path / "state.json"

    def make(self) -> None:
        """Create the folder. It holds secrets. If PostgreSQL runs as another user, that user must be able to reach its data."""
        try:
            self._make()
        except OSError as error:
            raise WrongUsage(f"--data-dir {self.path}: {error.strerror}") from None

    def _make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        strangers = sorted({entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")} - _OURS)
        if strangers:
            raise WrongUsage(f"--data-dir {self.path} holds something else ({strangers[0]}): choose an empty or a new folder")
        self.path.chmod(0o711 if privileges.needed() else 0o700)
        for log in (self.postgres_log, self.api_log, self.supervisor_log):
            log.touch(mode=0o600)

    def empty(self) -> None:
        """Remove everything except the lock, which the caller holds, and the settings, so that keys stay valid."""
        for entry in self.path.iterdir():
            if entry not in (self._lock, self._settings):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def remove(self) -> None:
        """Remove the folder and its content. Tries again, because an initdb that was just stopped may still write into it."""

        def is_gone() -> bool:
            shutil.rmtree(self.path, ignore_errors=True)
            return not self.path.exists()

        processes.wait_until(is_gone, _REMOVING_SECONDS)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Take the lock, or yield False if another process holds it. The lock ends with the process."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            os.ftruncate(descriptor, 0)
            os.write(descriptor, dumps(asdict(processes.myself())).encode())
            yield True
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """The process that holds the lock, or None."""
        found: list[Identity] = []
        processes.wait_until(lambda: not self._is_held() or self._read_holder(found), _WRITING_SECONDS)
        return found[0].pid if found else None

    def _is_held(self) -> bool:
        try:
            with self._lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def _read_holder(self, found: list[Identity]) -> bool:
        """Whether the lock names a running process: until a new holder writes its own name, the file names an older one."""
        with suppress(OSError, ValueError, TypeError):
            named = Identity(**loads(self._lock.read_text(encoding="utf-8")))
            if processes.identify(named.pid) == named:
                found.append(named)
        return bool(found)

    def read_settings(self) -> Settings | None:
        """The stored settings. Raises :class:`StackError` if there is a cluster but no stored password."""
        kept = read_settings(self._settings)
        if kept is None and self.postgres.exists():
            raise StackError(f"{self._settings} is missing or broken, and the database needs it: --fresh starts empty")
        return kept

    def write_settings(self, settings: Settings) -> None:
        write_settings(self._settings, settings)

    def write_state(self, state: State) -> None:
        write_private(self._state, asdict(state))

    def read_state(self) -> State | None:
        try:
            kept = loads(self._state.read_text(encoding="utf-8"))
            servers = {name: Identity(**kept[name]) if kept[name] else None for name in ("postgres", "api")}
            return State(ready=bool(kept["ready"]), **servers)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget_state(self) -> None:
        self._state.unlink(missing_ok=True)

    def end_orphans(self) -> None:
        """End the servers of a killed supervisor. The caller holds the lock, so no other process manages them."""
        state = self.read_state()
        if state is not None and state.api is not None:
            processes.end_orphan(state.api)
        if state is not None and state.postgres is not None:
            processes.end_orphan(state.postgres, (signal.SIGINT, 8.0), (signal.SIGQUIT, 4.0))
        self.forget_state()
