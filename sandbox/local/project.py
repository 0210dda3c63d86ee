"""Which migrations a local stack applies: those of the user's Supabase project, where there is one, and the outbox's own."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.runtime.counts import counted
from jobs.schema.releases import FILE_NAME

_MIGRATION: Final = re.compile(r"[0-9]+_.*\.sql")
"""The names that the Supabase CLI reads as migrations."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The folders whose migrations are applied, together in the order of their names, and lines that tell the user."""

    folders: tuple[Path, ...]
    said: tuple[str, ...]


def sources(start: Path, own: Path) -> Sources:
    """What to apply in the folder ``start``. ``own`` is the folder with the outbox's migrations."""
    supabase = next((one / "supabase" for one in (start, *start.parents) if _is_project(one / "supabase")), None)
    if supabase is None:
        return Sources((own,), ("applies the outbox's migrations; there is no Supabase project in this folder or above it",))
    theirs = supabase / "migrations"
    if theirs.resolve() == own.resolve():
        return Sources((own,), ())
    names = [path.name for path in migrations(theirs)]
    wanted = {released(path.name) for path in migrations(own)}
    missing = wanted - {released(name) for name in names}
    said = [_said(theirs, names, missing, is_installed=missing != wanted)]
    if (supabase / "seed.sql").is_file():
        said.append(f"does not apply seed.sql: outbox local psql -f {os.path.relpath(supabase / 'seed.sql')}")
    return Sources((theirs,) if missing != wanted else (theirs, own), tuple(said))


def migrations(folder: Path) -> Sequence[Path]:
    """The migrations in a folder, which need not exist, in their order."""
    return sorted(path for path in _entries(folder) if path.is_file() and _MIGRATION.fullmatch(path.name))


def released(name: str) -> str | None:
    """The name of a released file of the outbox without its version, which differs between projects. None for other files."""
    found = FILE_NAME.fullmatch(name)
    return None if found is None else found["name"]


def _is_project(supabase: Path) -> bool:
    return (supabase / "config.toml").is_file() or (supabase / "migrations").is_dir()


def _entries(folder: Path) -> Iterable[Path]:
    return folder.iterdir() if folder.is_dir() else ()


def _said(theirs: Path, names: Sequence[str], missing: set[str | None], *, is_installed: bool) -> str:
    project = f"{counted(len(names), 'migration')} of {os.path.relpath(theirs)}"
    if not is_installed:
        return f"applies the {project}, and the outbox's, which outbox install puts there"
    if missing:
        return f"applies the {project}, without {counted(len(missing), 'file')} of the outbox: run outbox install"
    return f"applies the {project}, the outbox's among them"
