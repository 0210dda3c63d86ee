"""Keeps the wheel of a release under ``tests/releases/``, where tests run it beside later schemas: ``make release``.

A clone may lack the history that the wheel could be built from, and no registry has to be asked.
"""

import sys
import tomllib
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from jobs.schema.releases import read_manifest

FOLDER = Path("tests/releases")


def main() -> int:
    """Build it from this checkout and return the exit code: 1 where this is no release."""
    version = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    complaint = why_not(version)
    if complaint is not None:
        print(complaint)
        return 1
    for path in WheelBuilder(".").build(directory=str(FOLDER), versions=["standard"]):
        print(FOLDER / Path(path).name)
    return 0


def why_not(version: str) -> str | None:
    newest = read_manifest(Path("supabase"))[-1]
    if not newest["frozen"]:
        return f"schema version {newest['version']} is open: freeze it in supabase/releases.json first"
    if newest["release"] != version:
        return f"pyproject.toml says {version}, supabase/releases.json {newest['release']}"
    kept = sorted(FOLDER.glob(f"*-{version}-*.whl"))
    return f"{kept[0]} is there, and a release never changes" if kept else None


if __name__ == "__main__":
    sys.exit(main())
