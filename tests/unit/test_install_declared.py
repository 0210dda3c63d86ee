"""Projects that declare their schema get the outbox's in a file of its own."""

import re
from pathlib import Path

import pytest

from scheduler.cli import run_command_line
from tests.small_releases import FIRST, SECOND, package_with

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "app" / "supabase"
    (folder / "schemas").mkdir(parents=True)
    (folder / "schemas" / "orders.sql").touch()
    (folder / "config.toml").touch()
    package_with(monkeypatch, tmp_path / "package", FIRST)
    monkeypatch.chdir(folder.parent)
    return folder


def declared(project: Path) -> str:
    return (project / "schemas" / "outbox" / "outbox.sql").read_text(encoding="utf-8")


def test_schema_is_declared_beside_the_migrations(project: Path) -> None:
    assert run_command_line(["install", "--yes"]) == 0

    assert "create table public.outbox (id bigint);" in declared(project)
    assert run_command_line(["install", "--check"]) == 0


def test_new_version_replaces_the_declared_schema(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_command_line(["install", "--yes"])
    package_with(monkeypatch, tmp_path / "updated package", FIRST, SECOND)

    run_command_line(["install", "--yes"])

    assert re.findall(r"^-- (outbox_.*)$", declared(project), re.MULTILINE) == [
        "outbox_0001_initial.sql",
        "outbox_0002_pre_routes.sql",
        "outbox_0002_pre_routes_index.sql",
    ]
    assert "create index if not exists routes" in declared(project)


def test_squashed_versions_are_declared_too(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_with(monkeypatch, tmp_path / "updated package", FIRST, SECOND)

    run_command_line(["install", "--yes", "--from", "1"])

    assert "create table public.outbox (id bigint);" in declared(project)
    assert "alter table public.outbox add column route text;" in declared(project)


def test_outdated_declared_schema_fails_the_check(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_command_line(["install", "--yes"])
    before = declared(project)
    package_with(monkeypatch, tmp_path / "updated package", FIRST, SECOND)
    run_command_line(["install", "--yes"])
    (project / "schemas" / "outbox" / "outbox.sql").write_text(before, encoding="utf-8", newline="\r\n")

    assert run_command_line(["install", "--check"]) == 1
    assert run_command_line(["install", "--yes"]) == 0
    assert declared(project) != before


@pytest.mark.parametrize("edit", ["{before}-- mine\n", "create schema outbox_engine;\n"], ids=["edited", "hand-written"])
def test_declared_schema_of_the_user_is_kept(project: Path, capsys: Captured, edit: str) -> None:
    run_command_line(["install", "--yes"])
    mine = edit.format(before=declared(project))
    (project / "schemas" / "outbox" / "outbox.sql").write_text(mine, encoding="utf-8")

    assert run_command_line(["install", "--yes"]) == 0

    assert declared(project) == mine
    assert "was edited, so it is left alone" in " ".join(capsys.readouterr().err.split())


def test_offer_alone_needs_no_terminal(project: Path, capsys: Captured) -> None:
    run_command_line(["install", "--yes"])
    (project / "schemas" / "outbox" / "outbox.sql").unlink()
    capsys.readouterr()

    assert run_command_line(["install"]) == 0
    assert "supabase db diff would propose to drop the outbox" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("paths", "asks"), [('"./schemas/*.sql"', True), ('"./schemas/**/*.sql"', False)])
def test_schema_paths_without_the_file_get_a_hint(project: Path, capsys: Captured, paths: str, asks: bool) -> None:
    (project / "config.toml").write_text(f"[db.migrations]\nschema_paths = [{paths}]\n", encoding="utf-8")

    run_command_line(["install", "--yes"])

    assert ('Add "./schemas/outbox/outbox.sql" to schema_paths' in capsys.readouterr().out) == asks


def test_project_that_declares_nothing_gets_migrations_only(project: Path) -> None:
    (project / "schemas" / "orders.sql").unlink()

    run_command_line(["install", "--yes"])

    assert not (project / "schemas" / "outbox").exists()
