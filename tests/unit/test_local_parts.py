"""The parts of the local stack that need no server."""

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.local import binaries, ports, privileges, processes
from sandbox.local.errors import AlreadyRuns, StackError, WrongUsage, by_name
from sandbox.local.folder import DataFolder, State
from sandbox.local.processes import Identity
from sandbox.local.settings import Secrets, Settings, read_settings, write_settings
from sandbox.local.stack import Access

SETTINGS = Settings(secrets=Secrets.generate(), api_port=54321, db_port=54322)


def test_settings_round_trip_in_an_owner_only_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    write_settings(path, SETTINGS)

    assert read_settings(path) == SETTINGS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"secrets": {}}', '{"api_port": 1, "db_port": 2, "secrets": {"a": 1}}'])
def test_settings_that_cannot_be_read_are_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(content)

    assert read_settings(path) is None


def test_cluster_without_settings_suggests_fresh(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()

    with pytest.raises(StackError, match="--fresh"):
        DataFolder(tmp_path).read_settings()


def test_two_folders_never_share_a_secret() -> None:
    one, other = Secrets.generate(), Secrets.generate()

    assert one.secret_key.startswith("sb_secret_")
    assert one.publishable_key.startswith("sb_publishable_")
    assert one.jwt_secret != other.jwt_secret
    assert one.db_password != other.db_password


def test_user_token_names_user_and_verifies() -> None:
    """It is signed with the folder's secret."""
    user = uuid4()
    token = Access(SETTINGS).sign_user_token(user, valid_for=timedelta(minutes=1))

    claims = jwt.decode(token, SETTINGS.secrets.jwt_secret, algorithms=["HS256"], audience="authenticated")
    assert (claims["sub"], claims["role"]) == (str(user), "authenticated")


def test_database_url_suits_the_supabase_cli() -> None:
    access = Access(SETTINGS)

    assert access.db_url.startswith("postgresql://postgres:")
    assert access.db_url.endswith("@127.0.0.1:54322/postgres?sslmode=disable")


def test_a_process_is_itself_until_it_ends() -> None:
    # Before its first output the child may still be between fork and exec, where it has no command line of its own.
    speaks = "print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", speaks], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        one = processes.identify(process.pid)
        assert one == processes.identify(process.pid)
        assert "input()" in processes.command_line(process.pid)
        process.communicate(b"\n")
    assert processes.identify(process.pid) != one


def test_process_with_a_reused_id_is_spared() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        processes.end_orphan(Identity(process.pid, "another time"))
        assert process.poll() is None
        process.communicate(b"\n")
    assert process.returncode == 0


def test_orphan_that_ignores_sigterm_is_killed() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        orphan = processes.identify(process.pid)
        assert orphan is not None
        processes.end_orphan(orphan, (signal.SIGTERM, 0.1))
        assert process.wait(10) == -9


def test_lock_names_its_single_holder(tmp_path: Path) -> None:
    folder, other = DataFolder(tmp_path), DataFolder(tmp_path)
    assert folder.holder() is None

    with folder.held() as mine:
        assert mine
        assert other.holder() == os.getpid()
        with other.held() as too:
            assert not too
        assert other.holder() == os.getpid()

    assert folder.holder() is None


def test_emptying_a_folder_keeps_its_keys(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.make()
    folder.write_settings(SETTINGS)
    folder.write_state(State(ready=True, postgres=Identity(1, "x"), api=None))
    folder.postgres.mkdir()

    folder.empty()

    assert folder.read_settings() == SETTINGS
    assert folder.read_state() is None
    assert not folder.postgres.exists()


def test_free_port_is_taken_once_listened_on() -> None:
    port = ports.free_port()

    with closing(socket.create_server((ports.HOST, port))):
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_non_root_user_runs_postgres_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert privileges.unprivileged(["postgres", "-D", Path("x")], reaches=[Path("/")]) == ["postgres", "-D", "x"]


@given(st.sampled_from([StackError, WrongUsage, AlreadyRuns]))
def test_supervisor_errors_keep_their_kind(kind: type[StackError]) -> None:
    assert by_name(kind.__name__) is kind


@pytest.mark.parametrize(("in_clone", "says"), [(True, "run make setup"), (False, "use supabase start")])
def test_missing_part_says_what_to_do(in_clone: bool, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation with pip has the command, and neither a Makefile nor the development packages."""
    if in_clone:
        (tmp_path / "Makefile").touch()
    monkeypatch.setattr(binaries, "REPOSITORY", tmp_path)
    monkeypatch.setattr(binaries, "find_spec", lambda _: None)
    monkeypatch.delenv("OUTBOX_LOCAL_PG_BIN", raising=False)

    with pytest.raises(StackError, match=says):
        binaries.postgres_bin()
