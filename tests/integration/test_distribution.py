"""The wheel and the source archive have what a user needs, and the wheel works in an environment of its own."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests import older_release
from tests.acceptance.test_run import environment
from tests.engine import insert, statuses
from tests.stack import Connection

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
PACKAGES = ("jobs", "scheduler", "webhook", "dashboard", "sandbox")
COPIED = ("monitoring", "deploy")
RELEASED = ("releases.json", "uninstall.sql", "migrations", "types", "examples")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", folder], cwd=ROOT, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    (found,) = folder.glob(f"supabase_outbox-{VERSION}-*.whl")
    return found


def tracked(*names: str) -> Iterator[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *names], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    yield from (name for name in listed.split("\0") if name and (ROOT / name).is_file())


def test_wheel_has_everything(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = f"supabase_outbox-{VERSION}.data/data/share/supabase-outbox/"
    wanted = {*tracked(*PACKAGES), *(f"{data}{name}" for name in tracked(*COPIED))}
    for name in tracked(*(f"supabase/{one}" for one in RELEASED)):
        wanted.add(name.replace("supabase/", "jobs/schema/released/", 1))

    assert wanted - names == set()
    assert [name for name in names if name.endswith((".env", ".key", ".pyc")) or "node_modules" in name] == []


def test_source_archive_builds_the_wheel_and_the_image(folder: Path) -> None:
    with tarfile.open(folder / f"supabase_outbox-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        ".dockerignore",
        "docs",
        "examples",
        "requirements/build.txt",
    )

    assert {*tracked(*PACKAGES, *COPIED, *needed, "requirements/production.txt", "supabase/examples")} - names == set()
    assert [name for name in names if name.endswith((".env", ".key", ".pyc")) or "node_modules" in name] == []


@pytest.mark.nightly
def test_wheel_works_with_locked_packages(
    wheel: Path, stack: LocalStack, sinch: Running, db: Connection, tmp_path: Path
) -> None:
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    pip: list[str | Path] = [place / "bin" / "pip", "--disable-pip-version-check", "install", "--quiet", "--no-cache-dir"]
    lock = ROOT / "requirements" / "production.txt"
    subprocess.run([*pip, "--only-binary", ":all:", "--require-hashes", "--requirement", lock], check=True)
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    settings = older_release.alone(environment(stack, sinch))

    def outbox(*words: str) -> str:
        command: list[str | Path] = [place / "bin" / "outbox", *words]
        ran = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    insert(db, 20)
    outbox("run", "--once")

    assert statuses(db) == {"sent": 20}
    assert outbox("--version").startswith(f"outbox {VERSION} (schema ")
    assert "create table public.outbox" in outbox("schema", "sql")
    assert "Database" in outbox("schema", "types")
    assert (place / "share" / "supabase-outbox" / "monitoring" / "outbox.rules.yaml").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]
