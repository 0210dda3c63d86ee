"""A user's Supabase project on disk, for tests of `outbox install`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli import run_command_line
from tests.small_releases import FIRST, SECOND, package_with

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's project as the working directory, and a package with version 1 of the schema."""
    folder = tmp_path / "app" / "supabase"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('project_id = "app"\n', encoding="utf-8")
    package_with(monkeypatch, tmp_path / "package", FIRST)
    monkeypatch.chdir(folder.parent)
    return folder


@pytest.fixture
def updated(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with version 1 in it, and a package with version 2."""
    assert run_command_line(["install", "--yes"]) == 0
    package_with(monkeypatch, tmp_path / "updated package", FIRST, SECOND)
    return project


def migrations(project: Path) -> list[str]:
    """Their names without the stamps, in the order in which they run."""
    return [re.sub(r"^\d+_", "", path.name) for path in sorted((project / "migrations").glob("*"))]


def answer(capsys: Captured, *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run_command_line(["install", *words, "--json"]) == code
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said
