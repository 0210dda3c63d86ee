"""An earlier release as a user has it: its wheel from ``tests/releases/``, installed without a network.

Its dependencies are those of this checkout's environment. It works beside this checkout's schema as it is until the post files
are pushed, which wait for its last process.
"""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sandbox.local.stack import LocalStack
from sandbox.schema import definitions
from sandbox.schema.statements import statements
from tests.stack import Connection

WHEELS: Final = Path(__file__).parent / "releases"
_CHECKOUT: Final = WHEELS.parents[1]
_SUPABASE: Final = _CHECKOUT / "supabase"


def wheels() -> list[Path]:
    """The wheels that ``make release`` kept, oldest first."""
    return sorted(WHEELS.glob("*.whl"), key=lambda path: [int(part) for part in path.name.split("-")[1].split(".")])


def install(wheel: Path, folder: Path) -> Path:
    """Make a virtual environment in ``folder`` that holds the wheel, and return its ``outbox`` command."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "--no-index", "--no-deps", wheel], check=True
    )
    # Behind its own packages, and without the .pth file there that puts this checkout on the path.
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return folder / "bin" / "outbox"


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """These variables without Python's own, which may put this checkout before what is installed."""
    return {name: value for name, value in environment.items() if not name.startswith("PYTHON")}


def migrations_beside(folder: Path) -> Path:
    """Make ``folder`` with this checkout's migrations without those post files, and return it."""
    folder.mkdir(parents=True)
    for path in sorted((_SUPABASE / "migrations").iterdir()):
        if path not in _post_files():
            (folder / path.name).symlink_to(path)
    return folder


@contextmanager
def before_post_files(stack: LocalStack, db: Connection) -> Iterator[None]:
    """In the block, the database has the functions that post files drop, as the release calls them."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((_SUPABASE / "migrations").iterdir()))
    posts = [statement for path in _post_files() for statement in statements(path.read_text(encoding="utf-8"))]
    drops = [statement for statement in posts if statement.startswith("drop function")]
    gone = definitions.dropped("".join(f"{drop};\n" for drop in drops))
    released = definitions.defined(text)
    # A body may call a function that comes later.
    db.execute("set check_function_bodies = off")
    for statement in [*(released[name].create(replaces=False) for name in gone), *definitions.rights(text, gone)]:
        db.execute(statement.encode())
    db.execute("reset check_function_bodies")
    stack.restart_api()
    try:
        yield
    finally:
        for drop in drops:
            db.execute(drop.encode())
        stack.restart_api()


def _post_files() -> list[Path]:
    """The post files of versions that are newer than the last release with a wheel."""
    versions = json.loads((_SUPABASE / "releases.json").read_text(encoding="utf-8"))["versions"]
    released = wheels()[-1].name.split("-")[1]
    known = next(version["version"] for version in versions if version["release"] == released)
    names = [name for version in versions if version["version"] > known for name in version["files"]]
    return [_SUPABASE / "migrations" / name for name in sorted(names) if "_post_" in name]


def run_beside(outbox: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m`` with these words in ``folder``: tests, sandbox and schema of this checkout, all else of the release."""
    folder.mkdir()
    for name in ("tests", "sandbox", "pyproject.toml"):
        (folder / name).symlink_to(_CHECKOUT / name)
    migrations_beside(folder / "supabase" / "migrations")
    for path in _SUPABASE.iterdir():
        if path.name != "migrations":
            (folder / "supabase" / path.name).symlink_to(path)
    return subprocess.run(
        [outbox.with_name("python"), "-m", *words],
        env=alone(os.environ) | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
