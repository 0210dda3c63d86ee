"""A user's Supabase project on disk: the folder that holds ``config.toml``."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scheduler.installing.stamps import version_of

CONFIG: Final = "config.toml"
_FOLDER: Final = "supabase"


class NoProject(Exception):
    """There is no project to install into, or its configuration cannot be read. The text is one line."""


@dataclass(frozen=True, slots=True)
class Project:
    """``schema_paths`` are the files that declare the schema, as ``config.toml`` names them."""

    folder: Path
    schema_paths: tuple[str, ...]
    pushes_migrations: bool

    @property
    def migrations(self) -> Path:
        return self.folder / "migrations"

    @property
    def schemas(self) -> Path:
        return self.folder / "schemas"

    @property
    def declares_schema(self) -> bool:
        """Whether `supabase db diff` compares the migrations with files that declare the schema."""
        return bool(self.schema_paths) or any(self.schemas.rglob("*.sql"))

    def migration_files(self) -> list[Path]:
        """The files that the Supabase CLI reads as migrations, in the order of their names."""
        return sorted(path for path in self._entries() if path.is_file() and version_of(path.name) is not None)

    def versions(self) -> set[str]:
        """The versions in use. A folder counts by its name too, because some releases of the CLI read migrations in folders."""
        names = (f"{path.name}.sql" if path.is_dir() else path.name for path in self._entries())
        return {version for version in map(version_of, names) if version is not None}

    def _entries(self) -> list[Path]:
        """Everything in the migrations folder, which need not exist."""
        return list(self.migrations.iterdir()) if self.migrations.is_dir() else []


def find(start: Path, given: Path | None = None) -> Project:
    """The project at ``given``, or the nearest one at ``start`` or above it. Raises :class:`NoProject`."""
    if given is not None:
        return _at(given)
    for folder in (start, *start.parents):
        if (folder / _FOLDER / CONFIG).is_file():
            return _read(folder / _FOLDER)
    raise NoProject(
        f"there is no {_FOLDER}/{CONFIG} in this folder or above it: run supabase init, or name the folder with --supabase"
    )


def _at(given: Path) -> Project:
    for folder in (given, given / _FOLDER):
        if (folder / CONFIG).is_file():
            return _read(folder)
    raise NoProject(f"--supabase {given}: there is no {CONFIG} in this folder; supabase init makes one")


def _read(folder: Path) -> Project:
    try:
        config = tomllib.loads((folder / CONFIG).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise NoProject(f"{folder / CONFIG} cannot be read: {error}") from None
    migrations = _table(_table(config, "db"), "migrations")
    paths = migrations.get("schema_paths")
    return Project(
        folder=folder,
        schema_paths=tuple(map(str, paths)) if isinstance(paths, list) else (),
        pushes_migrations=migrations.get("enabled") is not False,
    )


def _table(config: dict[str, Any], name: str) -> dict[str, Any]:
    table = config.get(name)
    return table if isinstance(table, dict) else {}
