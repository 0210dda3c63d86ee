"""An earlier release as a user has it: its wheel from ``tests/releases/``, installed without a network.

Its dependencies are those of this checkout's environment.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

WHEELS: Final = Path(__file__).parent / "releases"


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


def run_beside(outbox: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m`` with these words in ``folder``: tests, sandbox and schema of this checkout, all else of the release."""
    folder.mkdir()
    for name in ("tests", "sandbox", "supabase", "pyproject.toml"):
        (folder / name).symlink_to(WHEELS.parents[1] / name)
    return subprocess.run(
        [outbox.with_name("python"), "-m", *words],
        env=alone(os.environ) | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
