"""Released schema files never change. `supabase/releases.json` has their SHA-256, and this compares.

``python .ci/releases.py`` prints one line for each complaint. ``python .ci/releases.py renew`` brings the digests and file
names of open versions up to date; a frozen version it never touches.
"""

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from jobs.schema.releases import FILE_NAME, MANIFEST, MIGRATIONS, digest, kind_and_name, read_manifest

FOLDER = Path("supabase")
Entry = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Check or renew, and return the exit code: 1 for complaints, 2 for wrong usage."""
    if arguments not in ([], ["renew"]):
        print("usage: python .ci/releases.py [renew]")
        return 2
    try:
        entries = read_manifest(FOLDER)
        if arguments:
            renew(entries)
        complaints = list(complaints_about(entries))
    except (OSError, ValueError, KeyError, TypeError) as error:
        complaints = [f"{FOLDER / MANIFEST} cannot be read: {type(error).__name__} {error}"]
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


def renew(entries: list[Entry]) -> None:
    """Write the manifest with the open versions' files as they are now. A new version's entry is added by hand."""
    for entry in entries:
        if not entry["frozen"]:
            paths = sorted((FOLDER / MIGRATIONS).glob(f"*_outbox_{entry['version']:04}_*.sql"))
            entry["files"] = {path.name: digest(path.read_bytes()) for path in paths}
    (FOLDER / MANIFEST).write_text(json.dumps({"versions": entries}, indent=2) + "\n", encoding="utf-8", newline="\n")


def complaints_about(entries: list[Entry]) -> Iterator[str]:
    """One line for each file or version that is not as the manifest says."""
    numbers = [entry["version"] for entry in entries]
    if numbers != list(range(1, len(entries) + 1)):
        yield f"{FOLDER / MANIFEST}: versions are {numbers}, not 1, 2, 3 …"
    for earlier, later in pairwise(entries):
        if later["frozen"] and not earlier["frozen"]:
            yield f"{FOLDER / MANIFEST}: version {later['version']} is frozen, version {earlier['version']} before it is not"
    for entry in entries:
        yield from complaints_about_version(entry)
    listed = {name for entry in entries for name in entry["files"]}
    for path in sorted((FOLDER / MIGRATIONS).glob("*.sql")):
        if FILE_NAME.fullmatch(path.name) and path.name not in listed:
            yield f"{path}: is not in {MANIFEST}; python .ci/releases.py renew adds it to a version that is open"


def complaints_about_version(entry: Entry) -> Iterator[str]:
    if not entry["files"]:
        yield f"{FOLDER / MANIFEST}: version {entry['version']} has no files"
    for name, expected in entry["files"].items():
        path = FOLDER / MIGRATIONS / name
        try:
            kind_and_name(name, entry["version"])
        except ValueError as error:
            yield f"{FOLDER / MANIFEST}: {error}"
        if not path.is_file():
            yield f"{path}: is missing"
        elif digest(path.read_bytes()) != expected:
            yield (
                f"{path}: was changed after its release {entry['release']}; restore it, and make a new version instead"
                if entry["frozen"]
                else f"{path}: was changed; python .ci/releases.py renew notes it in {MANIFEST}"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
