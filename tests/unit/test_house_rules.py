"""The check that keeps machine-specific names and overlong code out of the repository."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RULES = Path(__file__).parents[2] / ".ci" / "house.py"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def complaints(repository: Path) -> list[str]:
    run = subprocess.run([sys.executable, RULES], cwd=repository, capture_output=True, text=True, check=False)
    assert run.returncode == bool(run.stdout)
    assert run.stderr == ""
    return run.stdout.splitlines()


def test_an_ordinary_file_is_fine(repository: Path) -> None:
    (repository / "notes.md").write_text("see docs/work, ~/work, network/root and https://supabase.com\n")
    (repository / "job.py").write_text("def tick() -> None:\n    pass\n")

    assert complaints(repository) == []


@pytest.mark.parametrize("place", ["https://pypi" + ".org/simple", "/ho" + "me/ada/outbox", "/ro" + "ot/.npmrc"])
def test_machine_specific_path_is_refused(repository: Path, place: str) -> None:
    (repository / "notes.md").write_text(f"first line\nfrom {place}\n")

    [complaint] = complaints(repository)

    assert complaint.startswith("notes.md:2: names ")


@pytest.mark.parametrize("name", ["long.py", "long.sql"])
def test_a_file_too_long_to_read_is_refused(repository: Path, name: str) -> None:
    (repository / name).write_text("\n" * 401)

    assert complaints(repository) == [f"{name}: 401 lines, more than 400"]


def test_a_function_too_long_to_read_is_refused(repository: Path) -> None:
    (repository / "job.py").write_text("async def tick() -> None:\n" + "    pass\n" * 60)

    assert complaints(repository) == ["job.py:1: tick has 61 lines, more than 60"]


def test_wordy_test_name_is_refused(repository: Path) -> None:
    (repository / "test_job.py").write_text("def test_one_two_three_four_five_six_seven_eight_nine() -> None:\n    pass\n")

    [complaint] = complaints(repository)

    assert complaint.endswith("has 9 words, more than 8")


def test_the_migrations_folder_never_shadows_the_client_library(repository: Path) -> None:
    (repository / "supabase").mkdir()
    (repository / "supabase" / "__init__.py").touch()

    [complaint] = complaints(repository)

    assert "must not be a Python package" in complaint


def test_node_package_is_locked_only_by_its_hash(repository: Path) -> None:
    (repository / "package.json").write_text(json.dumps({"dependencies": {"a": "1.0.0"}}))
    packages = {
        "": {"dependencies": {"a": "1.0.0"}},
        "node_modules/a": {"version": "1.0.0", "resolved": "https://example.com/a"},
    }
    (repository / "package-lock.json").write_text(json.dumps({"packages": packages}))

    assert complaints(repository) == [
        "package-lock.json: node_modules/a names where it comes from; make lock leaves that out",
        "package-lock.json: node_modules/a has no hash",
    ]
