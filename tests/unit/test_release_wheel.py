"""`make release`: the wheel of a release is kept for tests of later schemas."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.small_schema import entry, manifest

BUILD = Path(__file__).parents[2] / ".ci" / "wheel.py"
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "supabase-outbox"
version = "0.1.0"
requires-python = ">=3.11"
[tool.hatch.build.targets.wheel]
packages = ["jobs"]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    for folder in ("jobs", "supabase"):
        (tmp_path / folder).mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text("")
    return tmp_path


def build(repository: Path, **of_version: Any) -> subprocess.CompletedProcess[str]:
    manifest(repository / "supabase", entry(1, **of_version))
    return subprocess.run([sys.executable, BUILD], cwd=repository, capture_output=True, text=True, check=False)


def test_wheel_of_a_frozen_version_is_kept(repository: Path) -> None:
    built = build(repository, frozen=True)

    assert (built.returncode, built.stderr) == (0, "")
    (wheel,) = (repository / "tests" / "releases").iterdir()
    assert built.stdout == f"{wheel.relative_to(repository)}\n"
    assert wheel.name == "supabase_outbox-0.1.0-py3-none-any.whl"
    assert "jobs/__init__.py" in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize(
    ("of_version", "says"),
    [
        ({"frozen": False}, "schema version 1 is open: freeze it in supabase/releases.json first"),
        ({"frozen": True, "release": "0.2.0"}, "pyproject.toml says 0.1.0, supabase/releases.json 0.2.0"),
    ],
)
def test_only_a_release_is_kept(repository: Path, of_version: dict[str, Any], says: str) -> None:
    built = build(repository, **of_version)

    assert (built.returncode, built.stdout) == (1, f"{says}\n")
    assert not (repository / "tests").exists()


def test_kept_wheel_is_never_replaced(repository: Path) -> None:
    build(repository, frozen=True)
    (wheel,) = (repository / "tests" / "releases").iterdir()
    before = wheel.read_bytes()
    (repository / "jobs" / "__init__.py").write_text("changed = True\n")

    assert build(repository, frozen=True).returncode == 1
    assert wheel.read_bytes() == before
