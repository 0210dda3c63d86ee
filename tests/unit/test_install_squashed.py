"""`outbox install` after `supabase migration squash`."""

from pathlib import Path

import pytest

from scheduler.cli import run_command_line
from tests.small_releases import FIRST, package_with
from tests.unit.install_project import Captured, answer, migrations, project, updated

__all__ = ["project", "updated"]


def test_squashed_schema_is_not_installed_twice(project: Path, capsys: Captured) -> None:
    (project / "migrations").mkdir()
    squashed = 'CREATE TABLE orders ();\n\nCREATE SCHEMA IF NOT EXISTS "outbox_engine";\n'
    (project / "migrations" / "20260101000000_squashed.sql").write_text(squashed, encoding="utf-8")

    assert run_command_line(["install", "--yes"]) == 1
    assert "20260101000000_squashed.sql creates the schema outbox_engine already" in capsys.readouterr().err
    assert answer(capsys, "--from", "1")["missing"] == []


def test_only_newer_versions_come_after_a_squash(updated: Path, capsys: Captured) -> None:
    for path in (updated / "migrations").iterdir():
        path.rename(path.with_name("20260101000000_squashed.sql"))

    assert run_command_line(["install", "--yes", "--from", "1"]) == 0

    assert migrations(updated)[1:] == ["outbox_0002_pre_routes.sql", "outbox_0002_pre_routes_index.sql"]
    capsys.readouterr()
    assert run_command_line(["install", "--check"]) == 0
    assert "outbox_0001_initial.sql is not there" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("name", "end", "warned"),
    [
        ("20260101000000_squashed.sql", "", True),
        ("20260101000000_outbox_0001_initial.sql", "", True),
        ("20260101000000_squashed.sql", "SELECT outbox_engine.seed();\n", False),
        ("20260101000000_outbox_0001_initial.sql", "select outbox_engine.seed();\n", False),
    ],
)
def test_squashed_schema_without_seeds_is_warned_of(project: Path, capsys: Captured, name: str, end: str, warned: bool) -> None:
    (project / "migrations").mkdir()
    squashed = 'CREATE SCHEMA "outbox_engine";\nCREATE FUNCTION "outbox_engine"."seed"() RETURNS "void";\n'
    (project / "migrations" / name).write_text(squashed + end, encoding="utf-8")

    warnings = answer(capsys, "--from", "1")["warnings"]

    assert any(f"{name} creates the outbox without the rows" in warning for warning in warnings) == warned


@pytest.mark.parametrize("written", [False, True])
def test_later_file_may_bring_the_seeds(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, written: bool
) -> None:
    (project / "migrations").mkdir()
    (project / "migrations" / "20260101000000_squashed.sql").write_text("create schema outbox_engine;\n", encoding="utf-8")
    second = {"20261201100000_outbox_0002_pre_more.sql": "select outbox_engine.seed();\n"}
    package_with(monkeypatch, tmp_path / "updated package", FIRST, second)
    if written:
        run_command_line(["install", "--yes", "--from", "1"])

    warnings = answer(capsys, "--check", "--from", "1", code=0 if written else 1)["warnings"]

    assert not any("without the rows" in warning for warning in warnings)


def test_version_that_no_release_has_is_refused(project: Path, capsys: Captured) -> None:
    assert run_command_line(["install", "--from", "2"]) == 2
    assert "--from 2: the newest schema version of this release is 1" in capsys.readouterr().err
