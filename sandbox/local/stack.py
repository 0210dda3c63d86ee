"""The local stack as Python sees it.

:class:`LocalStack` is one that ends with the process that started it, for tests and the demo. :func:`up`, :func:`running` and
:func:`down` are about one that stays in the background, found again by its data folder.
"""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Self
from uuid import UUID

import jwt

from sandbox.local import binaries, ports, processes, project
from sandbox.local.client import Progress, SupervisorClient
from sandbox.local.errors import AlreadyRuns, StackError, WrongUsage
from sandbox.local.folder import DataFolder
from sandbox.local.postgres import SUPERUSER
from sandbox.local.settings import Settings
from sandbox.local.supervisor import Options

DEFAULT_DATA_DIR = Path(".outbox")
MIGRATIONS = binaries.SUPABASE / "migrations"
_SOMEBODY_ELSE_STARTS_SECONDS = 120.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a running stack."""

    settings: Settings

    @property
    def url(self) -> str:
        """The API's address, and in a browser the table browser's."""
        return f"http://{ports.HOST}:{self.settings.api_port}"

    @property
    def db_url(self) -> str:
        """The database as ``postgres``, who owns everything and is no superuser, as on a hosted project."""
        return self._db_url("postgres")

    @property
    def admin_url(self) -> str:
        """The database as superuser: for tests, which may read and change anything."""
        return self._db_url(SUPERUSER)

    @property
    def env(self) -> dict[str, str]:
        """The settings that an app and the engine need, by their environment variables."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_SECRET_KEY": self.settings.secrets.secret_key,
            "SUPABASE_PUBLISHABLE_KEY": self.settings.secrets.publishable_key,
            "OUTBOX_DB_URL": self.db_url,
        }

    def sign_user_token(self, user_id: UUID, *, valid_for: timedelta = timedelta(hours=1)) -> str:
        """An access token as signing in gives one. It goes into ``Authorization: Bearer``, beside the publishable key."""
        now = datetime.now(UTC)
        claims = {"sub": str(user_id), "role": "authenticated", "aud": "authenticated", "iat": now, "exp": now + valid_for}
        return jwt.encode(claims, self.settings.secrets.jwt_secret, algorithm="HS256")

    def _db_url(self, user: str) -> str:
        password = self.settings.secrets.db_password
        return f"postgresql://{user}:{password}@{ports.HOST}:{self.settings.db_port}/postgres?sslmode=disable"


class LocalStack:
    """A local Supabase that ends with this process, also when the process is killed.

    Without ``data_dir`` it works in a temporary folder that goes with it, on free ports, and without making anything durable,
    which is several times faster. Use it as a context manager, plain or async::

        with LocalStack() as stack:
            client = create_client(stack.url, stack.secret_key)
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        port: int = 0,
        migrations: Path = MIGRATIONS,
        fresh: bool = False,
        durable: bool | None = None,
        table_browser: bool = False,
        progress: Progress = lambda _: None,
    ) -> None:
        self._options = Options(
            data_dir=str((data_dir or Path(mkdtemp(prefix="outbox-local-"))).absolute()),
            migrations=(str(migrations.absolute()),),
            port=port,
            fresh=fresh,
            durable=data_dir is not None if durable is None else durable,
            table_browser=table_browser,
            temporary=data_dir is None,
        )
        self._progress = progress
        self._client: SupervisorClient | None = None
        self._access: Access | None = None

    def start(self) -> None:
        """Return once the API answers. Raises :class:`~sandbox.local.errors.StackError`; then nothing is left running."""
        self._client = SupervisorClient(self._options)
        self._access = Access(self._client.wait_until_ready(self._progress))

    def stop(self) -> None:
        if self._client is not None:
            self._client.stop()
            self._client = None
        if self._options.temporary:
            # The supervisor does this too, unless it was stopped before it began.
            DataFolder(self.data_dir).remove()

    @property
    def access(self) -> Access:
        if self._access is None:
            raise StackError("the local stack has not been started")
        return self._access

    @property
    def data_dir(self) -> Path:
        return Path(self._options.data_dir)

    @property
    def url(self) -> str:
        """The API's address, and in a browser the table browser's."""
        return self.access.url

    @property
    def secret_key(self) -> str:
        return self.access.settings.secrets.secret_key

    @property
    def publishable_key(self) -> str:
        return self.access.settings.secrets.publishable_key

    @property
    def jwt_secret(self) -> str:
        return self.access.settings.secrets.jwt_secret

    @property
    def db_url(self) -> str:
        return self.access.db_url

    @property
    def admin_url(self) -> str:
        return self.access.admin_url

    @property
    def env(self) -> dict[str, str]:
        return self.access.env

    def sign_user_token(self, user_id: UUID) -> str:
        return self.access.sign_user_token(user_id)

    def migrate(self) -> None:
        """Apply new migrations, and have the API read the schema again."""
        self._send("migrate")

    def restart_api(self) -> None:
        """Return once the new API process has read the schema and answers."""
        self._send("restart_api")

    def stop_api(self) -> None:
        """Stop it until :meth:`restart_api`."""
        self._send("stop_api")

    def kill_api(self) -> None:
        """Kill it. The supervisor starts another at once."""
        self._send("kill_api")

    def stop_postgres(self) -> None:
        """Stop it until :meth:`start_postgres`. Running statements are terminated."""
        self._send("stop_postgres")

    def start_postgres(self) -> None:
        """Return once PostgreSQL answers, also through the API."""
        self._send("start_postgres")

    def kill_postgres(self) -> None:
        """Kill it and all of its backends. The supervisor starts it again at once."""
        self._send("kill_postgres")

    def heal(self) -> None:
        """Start each server that does not run. Returns once both answer."""
        self._send("heal")

    def _send(self, command: str) -> None:
        if self._client is None:
            raise StackError("the local stack has not been started")
        self._client.send(command)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        starting = asyncio.create_task(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be interrupted, but the process that it waits for can be ended.
            await asyncio.to_thread(self.stop)
            await asyncio.gather(starting, return_exceptions=True)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def up(
    data_dir: Path,
    *,
    progress: Progress,
    port: int | None = None,
    fresh: bool = False,
    table_browser: bool = False,
    outbox_only: bool = False,
) -> Access:
    """Start a stack in the background, or find the one that runs there. Returns once it answers.

    It has the migrations of the Supabase project in this folder or above it, unless ``outbox_only``, and the outbox's.
    """
    binaries.check()
    found = project.Sources((MIGRATIONS,), ()) if outbox_only else project.sources(Path.cwd(), MIGRATIONS)
    options = Options(
        data_dir=str(data_dir.absolute()),
        migrations=tuple(str(folder.absolute()) for folder in found.folders),
        port=port,
        fresh=fresh,
        table_browser=table_browser,
    )
    if fresh:
        down(data_dir)
    while (access := running(data_dir)) is None:
        for line in found.said:
            progress(line)
        # Between the check and the start another process may have started one; then that one is used.
        with suppress(AlreadyRuns):
            return _start_in_background(options, progress)
    _same_port(access, port, data_dir)
    progress("already running; new migrations are applied after outbox local down")
    return access


def _start_in_background(options: Options, progress: Progress) -> Access:
    client = SupervisorClient(options)
    access = Access(client.wait_until_ready(progress))
    client.detach()
    return access


def running(data_dir: Path) -> Access | None:
    """The stack that runs with this data folder, or None. Waits for one that is being started."""
    folder = DataFolder(data_dir)
    processes.wait_until(lambda: folder.holder() is None or _is_ready(folder), _SOMEBODY_ELSE_STARTS_SECONDS)
    if folder.holder() is None:
        return None
    settings = folder.read_settings()
    return None if settings is None else Access(settings)


def down(data_dir: Path) -> bool:
    """Stop the servers of this data folder, also those of a killed supervisor. Returns whether any ran."""
    folder = DataFolder(data_dir)
    if not folder.path.is_dir():
        return False
    supervisor = folder.holder()
    if supervisor is None:
        return _end_orphans(folder)
    os.kill(supervisor, signal.SIGTERM)
    if not processes.wait_until(lambda: folder.holder() != supervisor, _STOP_SECONDS):
        raise StackError(f"process {supervisor} does not stop: kill it and start again")
    return True


def _end_orphans(folder: DataFolder) -> bool:
    state = folder.read_state()
    if state is None:
        return False
    with folder.held() as mine:
        if mine:
            folder.end_orphans()
    return True


def _is_ready(folder: DataFolder) -> bool:
    state = folder.read_state()
    return state is not None and state.ready


def _same_port(found: Access, port: int | None, data_dir: Path) -> None:
    if port not in (None, 0, found.settings.api_port):
        raise WrongUsage(
            f"--port {port}: the stack in {data_dir} already runs on port {found.settings.api_port}, "
            "outbox local down stops it first"
        )
