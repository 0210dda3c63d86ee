"""The official Supabase CLI pushes the files of `outbox install` beside the user's own migrations."""

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest

from jobs.schema import releases
from sandbox.local import binaries, bootstrap, judge, ports
from sandbox.local.postgres import SUPERUSER, PostgresServer
from scheduler.cli import run_command_line
from tests.small_releases import FIRST, SECOND, package_with
from tests.stack import Connection


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL with the roles of the API and nothing else of Supabase's."""
    # Not below pytest's folder: root starts PostgreSQL as a user who may not enter that.
    folder = Path(mkdtemp(prefix="outbox-push-"))
    folder.chmod(0o711)
    running = PostgresServer(
        folder / "postgres",
        log=folder / "postgres.log",
        port=ports.free_port(),
        password="secret",
        durable=False,
        binaries_in=binaries.postgres_bin(),
    )
    running.create()
    running.start()
    try:
        bootstrap.make_roles(running.url(SUPERUSER), "secret")
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def db(server: PostgresServer) -> Iterator[Connection]:
    """The database, as empty as a new project's."""
    with closing(psycopg.connect(server.url(SUPERUSER), autocommit=True)) as connection:
        connection.execute("drop schema if exists outbox_engine, supabase_migrations, public cascade")
        connection.execute("create schema public authorization postgres")
        yield connection


class Project:
    """A user's project, pushed with the official CLI."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self._folder = folder
        self._server = server
        (folder / "supabase" / "migrations").mkdir(parents=True)
        (folder / "supabase" / "config.toml").write_text('project_id = "app"\n', encoding="utf-8")

    def migrate(self, name: str, sql: str | None = None) -> None:
        """A migration of the user's. Without ``sql`` it makes a table."""
        table = re.sub(r"\W", "_", name)
        text = sql or f"create table t_{table} ();\n"
        (self._folder / "supabase" / "migrations" / name).write_text(text, encoding="utf-8")

    def install(self, *options: str) -> None:
        assert run_command_line(["install", "--yes", "--supabase", str(self._folder), *options]) == 0

    def push(self) -> None:
        judge._cli(self._folder, "db", "push", f"--remote={self._server.url()}", "--yes")


@pytest.fixture
def project(tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Project:
    package_with(monkeypatch, tmp_path / "package", FIRST)
    return Project(tmp_path / "app", server)


def applied(db: Connection) -> list[str]:
    """The names of all migrations that were pushed, in the order of their versions."""
    rows = db.execute('select name from supabase_migrations.schema_migrations order by version collate "C"').fetchall()
    return [str(name) for (name,) in rows]


@pytest.mark.parametrize(
    "existing",
    [
        ("0_x.sql", "20200101000000_old.sql", "20990101000000_young.sql", "20990102_day.sql", "2099010200000000_long.sql"),
        ("9_x.sql",),
    ],
    ids=["odd stamps", "a digit"],
)
def test_installed_file_is_pushed_after_existing_ones(project: Project, db: Connection, existing: tuple[str, ...]) -> None:
    for name in existing:
        project.migrate(name)
    project.push()

    project.install()
    project.push()

    assert applied(db)[len(existing) :] == ["outbox_0001_initial"]


def test_update_is_pushed_between_own_migrations(
    project: Project, db: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.migrate("20990101000000_orders.sql")
    project.install()
    project.push()
    project.migrate("20990102000000_customers.sql")
    project.push()

    package_with(monkeypatch, tmp_path / "updated package", FIRST, SECOND)
    project.install()
    project.push()
    project.install("--post")
    project.push()
    project.migrate("20990103000000_invoices.sql")
    project.push()

    assert applied(db) == [
        "orders",
        "outbox_0001_initial",
        "customers",
        "outbox_0002_pre_routes",
        "outbox_0002_pre_routes_index",
        "outbox_0002_post_routes",
        "invoices",
    ]
    assert db.execute("select indexname from pg_indexes where indexname = 'routes'").fetchall() == [("routes",)]


SHOP = """
    create table public.templates (id integer);
    create table public.orders (id integer);
    create function public.outbox_mine() returns integer language sql as 'select 1';
    grant execute on function public.outbox_mine() to anon;
"""


def test_project_with_tables_of_common_names_installs(server: PostgresServer, db: Connection, tmp_path: Path) -> None:
    """The real release, beside a project's own tables, function, and migrations stamped before and after it."""
    project = Project(tmp_path / "app", server)
    project.migrate("20250101000000_shop.sql", SHOP)
    project.migrate("20990101000000_later.sql")
    project.push()

    project.install()
    project.push()
    project.migrate("20990201000000_after.sql")
    project.push()

    files = [file.name.removesuffix(".sql") for file in releases.packaged().files]
    assert applied(db) == ["shop", "later", *files, "after"]
    assert db.execute("select has_function_privilege('anon', 'public.outbox_mine()', 'execute')").fetchone() == (True,)
    db.execute("insert into public.outbox (recipient, body) values ('+14155550123', 'hello')")
    assert db.execute("select status from public.outbox").fetchall() == [("pending",)]
