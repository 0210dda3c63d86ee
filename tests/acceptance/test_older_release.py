"""The last release beside a newer schema, as during an upgrade."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests import nightly
from tests.acceptance.test_run import environment
from tests.engine import insert, statuses
from tests.nightly import at_night
from tests.older_release import alone, before_post_files, install, run_beside, wheels
from tests.stack import Connection


@pytest.fixture(scope="module")
def outbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of the last release."""
    kept = wheels()
    assert kept, "make release keeps the wheel of a release in tests/releases/"
    return install(kept[-1], tmp_path_factory.mktemp("release") / "venv")


def run(outbox: Path, settings: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    env = alone(settings) | {"LOG_FORMAT": "json"}
    return subprocess.run([outbox, *words], env=env, cwd=outbox.parent, capture_output=True, text=True, timeout=60, check=False)


def apply(db: Connection, *, breaking: bool) -> None:
    db.execute("insert into outbox_engine.schema_versions (version, breaking, release) values (9999, %s, '99.0.0')", [breaking])


def test_release_comes_from_its_wheel(outbox: Path) -> None:
    question = "import jobs.schema.releases as r; print(r.__file__); print(r.folder())"
    said = subprocess.run(
        [outbox.with_name("python"), "-c", question],
        env={"PATH": os.environ["PATH"]},
        cwd=outbox.parent,
        capture_output=True,
        text=True,
        check=True,
    )

    assert {Path(line).is_relative_to(outbox.parents[1]) for line in said.stdout.splitlines()} == {True}


@pytest.fixture
def stack(stack: LocalStack, db: Connection) -> Iterator[LocalStack]:
    with before_post_files(stack, db):
        yield stack


def test_it_works_beside_a_harmless_version(outbox: Path, stack: LocalStack, sinch: Running, db: Connection) -> None:
    apply(db, breaking=False)
    insert(db, 30)

    ran = run(outbox, environment(stack, sinch), "run", "--once")

    assert ran.returncode == 0, ran.stderr
    assert statuses(db) == {"sent": 30}
    events = [json.loads(line)["event"] for line in ran.stderr.splitlines()]
    assert events.count("schema.newer") == 1
    assert db.execute("select public.outbox_schema_version() -> 'processes'").fetchone() == (1,)


def test_it_refuses_a_breaking_version(outbox: Path, stack: LocalStack, sinch: Running, db: Connection) -> None:
    apply(db, breaking=True)
    insert(db)

    ran = run(outbox, environment(stack, sinch), "run", "--once")

    assert ran.returncode == 1
    assert "schema version 9999" in ran.stderr
    assert statuses(db) == {"pending": 1}


def test_tests_of_this_checkout_import_the_release(outbox: Path, tmp_path: Path) -> None:
    """Otherwise those below would pass whatever the release does."""
    origins = [
        line
        for module in ("jobs.dispatch", "scheduler.process", "webhook.app")
        for line in run_beside(outbox, tmp_path / module, "inspect", "--details", module).stdout.splitlines()
        if line.startswith("Origin: ")
    ]

    assert [Path(line.removeprefix("Origin: ")).is_relative_to(outbox.parents[1]) for line in origins] == [True] * 3


@pytest.mark.nightly
def test_random_histories_hold_with_its_code(outbox: Path, tmp_path: Path) -> None:
    ran = run_beside(outbox, tmp_path / "tree", "tests.simulation", "--runs", str(5 * nightly.FACTOR))

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Every invariant held." in ran.stdout


@pytest.mark.parametrize("file", [at_night("test_run.py"), at_night("test_operating.py")])
def test_acceptance_tests_pass_with_its_code(outbox: Path, tmp_path: Path, file: str) -> None:
    ran = run_beside(outbox, tmp_path / "tree", "pytest", "-q", "-p", "no:cacheprovider", f"tests/acceptance/{file}")

    assert ran.returncode == 0, ran.stdout + ran.stderr
