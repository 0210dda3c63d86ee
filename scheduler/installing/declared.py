"""Projects that declare their schema: `supabase db diff` proposes to drop what only migrations create.

For them the schema is written once more, as one file that holds all released files of the project in their order.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from jobs.schema.releases import ReleaseFile, digest, with_lf
from scheduler.installing.project import Project

_MARK: Final = re.compile(rb"^-- sha256 of the lines below: ([0-9a-f]{64})\n", re.MULTILINE)
_CONCURRENTLY: Final = re.compile(r"^(\s*(?:create(?:\s+unique)?|drop)\s+index)\s+concurrently\b", re.IGNORECASE | re.MULTILINE)


class Standing(Enum):
    """The state of the project's file, compared with the content that it must have."""

    ABSENT = "absent"
    CURRENT = "current"
    OUTDATED = "outdated"
    EDITED = "edited"


@dataclass(frozen=True, slots=True)
class Declared:
    """The file, its text for the files that the project has or is about to get, and its current state."""

    path: Path
    text: str
    standing: Standing

    @property
    def is_wanted(self) -> bool:
        """Whether it should be written. An edited file is left alone."""
        return self.standing in (Standing.ABSENT, Standing.OUTDATED)


def declared(project: Project, files: Sequence[ReleaseFile]) -> Declared | None:
    """The file for these released files; None if the project declares no schema, or has no released file."""
    if not project.declares_schema or not files:
        return None
    path = project.schemas / "outbox" / "outbox.sql"
    text = _text(files)
    return Declared(path, text, _standing(path, text))


def is_listed(project: Project, path: Path) -> bool:
    """Whether ``schema_paths`` includes the file, which must exist. Without the setting every file in schemas/ counts."""
    if not project.schema_paths:
        return True
    return any(_finds(project.folder, pattern, path) for pattern in project.schema_paths)


def _finds(folder: Path, pattern: str, path: Path) -> bool:
    try:
        return path in folder.glob(pattern.removeprefix("./"))
    except (ValueError, NotImplementedError):
        return False


def _text(files: Sequence[ReleaseFile]) -> str:
    body = "\n".join(f"-- {file.name}\n\n{_in_a_transaction(file.text).rstrip()}\n" for file in files)
    return (
        f"-- The schema of the outbox, version {files[-1].number}, as `supabase db diff` compares it with the migrations.\n"
        "-- `outbox install` writes this file and replaces it with each new version: do not edit it.\n"
        f"-- sha256 of the lines below: {digest(body.encode())}\n{body}"
    )


def _in_a_transaction(text: str) -> str:
    """A declared schema is applied to an empty database in one transaction, which refuses to build an index concurrently."""
    return _CONCURRENTLY.sub(r"\1", text)


def _standing(path: Path, text: str) -> Standing:
    if not path.is_file():
        return Standing.ABSENT
    content = with_lf(path.read_bytes())
    if content == text.encode():
        return Standing.CURRENT
    mark = _MARK.search(content)
    unedited = mark is not None and digest(content[mark.end() :]) == mark[1].decode()
    return Standing.OUTDATED if unedited else Standing.EDITED
