"""The released schema files that this package carries.

A schema version is a number. Its files are migrations: one ``main`` file for the first version, later ``pre`` files, which only
add and run before new processes start, and ``post`` files, which remove and run after old processes have ended.

A wheel carries them in ``jobs/schema/released``, a checkout in ``supabase``; both folders have the same layout:
``releases.json``, ``migrations/*.sql``, ``uninstall.sql`` and ``types``, which are the types of the newest version for apps.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Final

_IN_WHEEL: Final = Path(__file__).with_name("released")
_IN_CHECKOUT: Final = Path(__file__).parents[2] / "supabase"

MANIFEST: Final = "releases.json"
MIGRATIONS: Final = "migrations"
UNINSTALL: Final = "uninstall.sql"
TYPES: Final = "types"

FILE_NAME: Final = re.compile(
    r"(?P<stamp>[0-9]+)_(?:.*_)?(?P<name>outbox_(?P<number>[0-9]{4})_(?:(?P<kind>pre|post)_)?.+\.sql)"
)
"""A released file, and any copy of one in a user's project: only the digits in front differ."""


class Kind(IntEnum):
    """When a file runs. The values are the order within one version."""

    MAIN = 0
    PRE = 1
    POST = 2


class TypesFor(StrEnum):
    """The languages that there are types for."""

    TYPESCRIPT = "typescript"
    PYTHON = "python"

    @property
    def file(self) -> str:
        return {"typescript": "outbox.types.ts", "python": "outbox_types.py"}[self]


class BrokenPackage(Exception):
    """The released files are missing or do not fit their manifest. The text is one line and says what to do."""


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One migration as it was released. ``name`` is the file name without its stamp; lines of ``text`` end in LF."""

    number: int
    kind: Kind
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return digest(self.text.encode())


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the schema. Processes that do not know a ``breaking`` version must not work with it."""

    number: int
    release: str
    breaking: bool
    frozen: bool
    files: tuple[ReleaseFile, ...]


@dataclass(frozen=True, slots=True)
class Releases:
    """All versions, oldest first."""

    versions: tuple[Version, ...]

    @classmethod
    def read(cls, folder: Path) -> "Releases":
        """Raises :class:`BrokenPackage`."""
        try:
            listed = read_manifest(folder)
            return cls(tuple(_version(folder, entry) for entry in listed))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenPackage(f"the schema files of this installation cannot be read ({error}): install it again") from None

    @property
    def newest(self) -> int:
        """The number of the newest version, 0 where there is none."""
        return max((version.number for version in self.versions), default=0)

    @property
    def files(self) -> tuple[ReleaseFile, ...]:
        """Every file in the order in which an empty database takes them."""
        return tuple(file for version in self.versions for file in version.files)

    def version(self, number: int) -> Version:
        """Raises KeyError for a number that this package does not know."""
        return {version.number: version for version in self.versions}[number]


def packaged() -> Releases:
    """The files of this installation. Raises :class:`BrokenPackage`."""
    return Releases.read(folder())


def folder() -> Path:
    """Where this installation keeps them."""
    return _IN_WHEEL if (_IN_WHEEL / MANIFEST).is_file() else _IN_CHECKOUT


def uninstall_script() -> str:
    """The SQL that removes every object of the outbox. Raises :class:`BrokenPackage`."""
    try:
        return with_lf((folder() / UNINSTALL).read_bytes()).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenPackage(f"{UNINSTALL} of this installation cannot be read ({error}): install it again") from None


def types(language: TypesFor) -> str:
    """The types of the newest version's tables and functions. Raises :class:`BrokenPackage`."""
    try:
        return with_lf((folder() / TYPES / language.file).read_bytes()).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenPackage(f"{language.file} of this installation cannot be read ({error}): install it again") from None


def digest(content: bytes) -> str:
    """SHA-256 over the content with LF line endings: a checkout with CRLF holds the same file."""
    return hashlib.sha256(with_lf(content)).hexdigest()


def with_lf(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n")


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The entries of ``releases.json``, oldest version first."""
    entries: list[dict[str, Any]] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["versions"]
    return sorted(entries, key=lambda entry: entry["version"])


def _version(folder: Path, entry: dict[str, Any]) -> Version:
    number = int(entry["version"])
    files = sorted(_files(folder / MIGRATIONS, number, list(entry["files"])))
    return Version(
        number=number,
        release=str(entry["release"]),
        breaking=bool(entry["breaking"]),
        frozen=bool(entry["frozen"]),
        files=tuple(file for _, _, file in files),
    )


def _files(folder: Path, number: int, names: list[str]) -> Iterator[tuple[Kind, str, ReleaseFile]]:
    for name in names:
        kind, short = kind_and_name(name, number)
        text = with_lf((folder / name).read_bytes()).decode()
        yield kind, name, ReleaseFile(number, kind, short, text)


def kind_and_name(file_name: str, number: int) -> tuple[Kind, str]:
    """What a released file's name says. Raises ValueError for one that cannot belong to version ``number``."""
    found = FILE_NAME.fullmatch(file_name)
    if found is None or int(found["number"]) != number:
        raise ValueError(f"{file_name} is not named <stamp>_outbox_{number:04}_….sql")
    return Kind[(found["kind"] or "main").upper()], found["name"]
