"""``outbox local`` as a developer runs it, and the stack that ends with the process that started it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from sandbox.local import judge
from sandbox.local.binaries import postgres_bin
from sandbox.local.errors import StackError
from sandbox.local.folder import DataFolder, State
from sandbox.local.processes import identify, wait_until
from sandbox.local.stack import LocalStack, down
from tests import commands
from tests.commands import Ran
from tests.nightly import at_night

LOCAL = [sys.executable, "-m", "scheduler", "local"]
NAMES = ["SUPABASE_URL", "SUPABASE_SECRET_KEY", "SUPABASE_PUBLISHABLE_KEY", "OUTBOX_DB_URL"]
NOTES = """
create table public.notes (id bigint generated always as identity primary key, owner uuid, text text not null);
alter table public.notes enable row level security;
revoke all on public.notes from anon, authenticated, service_role;
grant select, insert on public.notes to service_role;
grant select on public.notes to authenticated;
create policy own on public.notes for select to authenticated using (owner = (select auth.uid()));
"""


@dataclass(frozen=True, slots=True)
class Background:
    """``printed`` are the settings that `outbox local up` printed."""

    data_dir: Path
    printed: dict[str, str]


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "stack"
    yield path
    down(path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """A stack that runs in the background. Tests leave it as it is."""
    path = tmp_path_factory.mktemp("shared") / "stack"
    yield Background(path, printed=start(path))
    down(path)


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "20260101000000_notes.sql").write_text(NOTES)
    return folder


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield int(server.getsockname()[1])


def outbox_local(*words: str | Path) -> Ran:
    return commands.outbox("local", *words, env=os.environ)


def start(data_dir: Path, *words: str) -> dict[str, str]:
    done = outbox_local("up", "--data-dir", data_dir, "--port", "0", *words)
    assert done.returncode == 0, done.stderr
    return dotenv(done.stdout)


def dotenv(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def complaint(done: Ran) -> str:
    """The last line on stderr. Nothing may be on stdout."""
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def state_of(data_dir: Path) -> State:
    state = DataFolder(data_dir).read_state()
    assert state is not None
    return state


def has_ended(state: State) -> bool:
    return all(server is None or identify(server.pid) != server for server in (state.postgres, state.api))


def get(env: dict[str, str], path: str, key: str = "SUPABASE_SECRET_KEY") -> httpx.Response:
    return httpx.get(f"{env['SUPABASE_URL']}{path}", headers={"apikey": env[key]})


def test_up_prints_only_settings_once_api_answers(shared: Background) -> None:
    env = shared.printed

    assert list(env) == NAMES
    assert get(env, "/rest/v1/outbox").json() == []
    with psycopg.connect(env["OUTBOX_DB_URL"]) as connection:
        answer = connection.execute("select current_setting('is_superuser'), count(*) from public.outbox").fetchone()
    assert answer == ("off", 0)


def test_psql_runs_sql_as_the_editors_role(shared: Background, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment names another database."""
    nothing_runs = outbox_local("psql", "--data-dir", data_dir, "-c", "select 1")
    assert nothing_runs.returncode == 1
    assert "outbox local up" in complaint(nothing_runs)
    monkeypatch.setenv("PGSERVICE", "production")
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.9")

    done = outbox_local("psql", "--data-dir", shared.data_dir, "-At", "-c", "select current_user, count(*) from public.outbox")

    assert (done.returncode, done.stdout) == (0, "postgres|0\n")


def test_second_up_finds_the_running_stack(shared: Background) -> None:
    before = state_of(shared.data_dir)

    again = outbox_local("up", "--data-dir", shared.data_dir)

    assert again.returncode == 0
    assert dotenv(again.stdout) == shared.printed
    assert dotenv(outbox_local("env", "--data-dir", shared.data_dir).stdout) == shared.printed
    assert state_of(shared.data_dir) == before


@pytest.mark.nightly
def test_two_that_are_started_at_once_are_one(data_dir: Path) -> None:
    both = [
        subprocess.Popen([*LOCAL, "up", "--data-dir", str(data_dir), "--port", "0"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert printed[0] == printed[1]


def test_down_stops_everything_and_the_data_stays(data_dir: Path) -> None:
    env = start(data_dir)
    with psycopg.connect(env["OUTBOX_DB_URL"]) as connection:
        connection.execute("create table public.kept ()")
    before = state_of(data_dir)

    assert outbox_local("down", "--data-dir", data_dir).returncode == 0
    assert has_ended(before)
    assert outbox_local("down", "--data-dir", data_dir).returncode == 0
    refused = outbox_local("env", "--data-dir", data_dir)
    assert refused.returncode == 1
    assert "outbox local up" in complaint(refused)

    assert dotenv(outbox_local("up", "--data-dir", data_dir).stdout) == env
    with psycopg.connect(env["OUTBOX_DB_URL"]) as connection:
        connection.execute("select from public.kept")


def test_taken_port_error_names_the_port_option(data_dir: Path, taken_port: int) -> None:
    refused = outbox_local("up", "--data-dir", data_dir, "--port", str(taken_port))

    assert refused.returncode == 2
    assert complaint(refused) == f"outbox local: port {taken_port} is taken: choose another with --port"
    assert DataFolder(data_dir).holder() is None


def test_a_running_one_does_not_change_its_port(shared: Background, taken_port: int) -> None:
    refused = outbox_local("up", "--data-dir", shared.data_dir, "--port", str(taken_port))

    assert refused.returncode == 2
    assert "outbox local down" in complaint(refused)


@pytest.mark.nightly
def test_next_up_works_after_supervisor_is_killed(data_dir: Path) -> None:
    """The servers end with their supervisor."""
    env = start(data_dir)
    before = state_of(data_dir)
    supervisor = DataFolder(data_dir).holder()
    assert supervisor is not None

    os.kill(supervisor, signal.SIGKILL)
    assert wait_until(lambda: DataFolder(data_dir).holder() is None, 60)

    assert start(data_dir) | {"SUPABASE_URL": ""} == env | {"SUPABASE_URL": ""}
    assert has_ended(before)


def test_after_a_power_cut_the_next_up_works(data_dir: Path) -> None:
    env = start(data_dir)
    with psycopg.connect(env["OUTBOX_DB_URL"]) as connection:
        connection.execute("create table public.kept ()")
    before = state_of(data_dir)
    supervisor = DataFolder(data_dir).holder()
    assert supervisor is not None
    assert before.postgres is not None
    assert before.api is not None

    # Stopped first, so that it cannot clean up.
    os.kill(supervisor, signal.SIGSTOP)
    for pid in (before.postgres.pid, before.api.pid, supervisor):
        os.kill(pid, signal.SIGKILL)
    # A signal is sent before the process has ended: until then the stack counts as running.
    assert wait_until(lambda: DataFolder(data_dir).holder() is None, 60)

    env = start(data_dir)
    with psycopg.connect(env["OUTBOX_DB_URL"]) as connection:
        connection.execute("select from public.kept")


@pytest.mark.nightly
def test_fresh_replaces_a_cluster_of_another_version(data_dir: Path) -> None:
    """Without --fresh, the error names the option. The keys stay the same."""
    env = start(data_dir)
    with psycopg.connect(env["OUTBOX_DB_URL"]) as connection:
        connection.execute("create table public.lost ()")
    outbox_local("down", "--data-dir", data_dir)
    (data_dir / "postgres" / "PG_VERSION").write_text("9\n")

    refused = outbox_local("up", "--data-dir", data_dir)
    assert refused.returncode == 1
    assert "--fresh" in complaint(refused)

    fresh = start(data_dir, "--fresh")
    assert fresh["SUPABASE_SECRET_KEY"] == env["SUPABASE_SECRET_KEY"]
    with psycopg.connect(fresh["OUTBOX_DB_URL"]) as connection:
        assert connection.execute("select to_regclass('public.lost')").fetchone() == (None,)


def test_fresh_never_empties_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    refused = outbox_local("up", "--data-dir", tmp_path, "--fresh")

    assert refused.returncode == 2
    assert "--data-dir" in complaint(refused)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("how", [signal.SIGTERM, at_night(signal.SIGINT), at_night(signal.SIGKILL)])
def test_interrupted_up_leaves_nothing_running(data_dir: Path, how: signal.Signals) -> None:
    if signal.getsignal(how) is signal.SIG_IGN:
        pytest.skip(f"{how.name} is ignored here, and child processes inherit that")
    with subprocess.Popen(
        [*LOCAL, "up", "--data-dir", str(data_dir), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any("migrations" in line for line in process.stderr)
        before = state_of(data_dir)
        process.send_signal(how)
        process.communicate(timeout=60)

    folder = DataFolder(data_dir)
    assert wait_until(lambda: folder.holder() is None, 60)
    assert folder.read_state() is None
    assert has_ended(before)


def test_stack_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "from sandbox.local.stack import LocalStack\nwith LocalStack() as stack: print(stack.data_dir, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        data_dir = Path(process.stdout.readline().strip())
        before = state_of(data_dir)
        process.kill()

    assert wait_until(lambda: has_ended(before), 60)
    assert wait_until(lambda: not data_dir.exists(), 60)


def test_failing_migration_is_named_in_one_line(migrations: Path) -> None:
    (migrations / "20260102000000_wrong.sql").write_text("create table public.notes ();")

    with pytest.raises(StackError, match=r'could not be applied: 20260102000000_wrong.sql: .*"notes" already exists'):
        LocalStack(migrations=migrations).start()


def test_concurrent_indexes_are_built_in_transactions(migrations: Path) -> None:
    indexes = ("notes_text", "notes_owner")
    (migrations / "20260102000000_indexes.sql").write_text(
        "".join(f"create index concurrently if not exists {name} on public.notes ({name[6:]});\n" for name in indexes)
    )

    with LocalStack(migrations=migrations) as stack, psycopg.connect(stack.db_url) as connection:
        found = connection.execute("select count(*) from pg_indexes where indexname = any(%s)", [list(indexes)]).fetchone()

    assert found == (2,)


def test_only_grants_of_the_migrations_apply(migrations: Path) -> None:
    mine = uuid4()
    with LocalStack(migrations=migrations) as stack:
        with psycopg.connect(stack.db_url) as connection:
            connection.execute("insert into public.notes (owner, text) values (%s, 'mine'), (null, 'theirs')", [mine])
        notes = f"{stack.url}/rest/v1/notes"

        def ask(key: str | None, token: str | None = None) -> httpx.Response:
            headers = {"apikey": key} if key else {}
            return httpx.get(f"{notes}?select=text", headers=headers | ({"Authorization": f"Bearer {token}"} if token else {}))

        assert len(ask(stack.secret_key).json()) == 2
        assert ask(stack.publishable_key).json()["code"] == "42501"
        assert ask(stack.publishable_key, stack.sign_user_token(mine)).json() == [{"text": "mine"}]
        assert ask(None).status_code == 401
        assert httpx.delete(f"{notes}?id=gt.0", headers={"apikey": stack.secret_key}).json()["code"] == "42501"


@pytest.mark.nightly
def test_table_browser_reads_tables_only_from_its_origin(migrations: Path) -> None:
    with LocalStack(migrations=migrations, table_browser=True) as stack:
        assert "<title>" in httpx.get(f"{stack.url}/").text
        assert httpx.get(f"{stack.url}/rest/v1/notes").json() == []
        elsewhere = httpx.get(f"{stack.url}/rest/v1/notes", headers={"Origin": "https://elsewhere.example"})
        assert elsewhere.status_code == 401


def test_killed_or_stopped_servers_can_be_restarted(migrations: Path) -> None:
    """New migrations are applied on request."""
    with LocalStack(migrations=migrations) as stack:
        headers = {"apikey": stack.secret_key}

        stack.kill_api()
        stack.kill_postgres()
        stack.heal()
        assert httpx.get(f"{stack.url}/rest/v1/notes", headers=headers).json() == []

        stack.stop_postgres()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(stack.db_url)
        stack.start_postgres()
        (migrations / "20260102000000_more.sql").write_text(NOTES.replace("notes", "more"))
        stack.migrate()
        assert httpx.get(f"{stack.url}/rest/v1/more", headers=headers).json() == []


@pytest.mark.nightly
async def test_a_stack_is_an_async_context_too(migrations: Path) -> None:
    async with LocalStack(migrations=migrations) as stack, httpx.AsyncClient() as client:
        answer = await client.get(f"{stack.url}/rest/v1/notes", headers={"apikey": stack.secret_key})
        assert answer.json() == []


@pytest.mark.nightly
def test_judge_refuses_schemas_with_advisor_warnings(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    careless = "create table public.open (id bigint primary key); grant all on public.open to anon;"
    (tmp_path / "migrations" / "20260101000000_careless.sql").write_text(careless)
    (tmp_path / "config.toml").write_text('project_id = "careless"\n')

    with pytest.raises(judge.Verdict, match=r"public\.open"):
        judge.judge(judge.Installation("embedded", postgres_bin()), lambda _: None, tmp_path)
