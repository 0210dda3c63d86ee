"""Which released files a project has, lacks or has changed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.schema.releases import FILE_NAME, Kind, ReleaseFile, Releases, digest
from scheduler.installing.project import Project

_CREATES_ENGINE: Final = re.compile(
    rb'^\s*create\s+schema\s+(?:if\s+not\s+exists\s+)?"?outbox_engine\b', re.IGNORECASE | re.MULTILINE
)

_SEEDS: Final = re.compile(rb'^\s*select\s+"?outbox_engine"?\."?seed"?\(\)', re.IGNORECASE | re.MULTILINE)


class TakenUp(Exception):
    """A migration of the user's contains our schema already, so a released file would create it twice. The text is one line."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A released file in the project."""

    file: ReleaseFile
    path: Path
    edited: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """``missing`` and ``pending_post`` are in the order in which they have to run.

    ``repeated`` are further copies of a file that is there already, ``unknown`` are files of a version that this package does
    not know, and ``passed_over`` are files of older versions than the newest one that is there. ``unseeded`` is a squashed
    migration that creates our schema without its rows.
    """

    copies: tuple[Copy, ...]
    missing: tuple[ReleaseFile, ...]
    pending_post: tuple[ReleaseFile, ...]
    passed_over: tuple[ReleaseFile, ...]
    repeated: tuple[Path, ...]
    unknown: tuple[Path, ...]
    unseeded: Path | None


@dataclass(frozen=True, slots=True)
class _Found:
    """A file of the project that has the name of a released one."""

    path: Path
    number: int
    kind: Kind
    name: str
    sha256: str


def survey(project: Project, releases: Releases, *, holds: int = 0) -> Survey:
    """Look at every migration of the project.

    The project holds the versions up to ``holds`` under other names, as after `supabase migration squash`. Raises
    :class:`TakenUp` where it seems to hold some that ``holds`` does not name.
    """
    files = project.migration_files()
    found = [one for one in map(_found, files) if one is not None]
    if not found and not holds:
        _refuse_squashed(files)
    copies, repeated = _match(releases.files, found)

    there = {copy.file for copy in copies}
    newest = max((one.number for one in found), default=0)
    absent = [file for file in releases.files if file not in there and file.number > holds]
    missing = tuple(file for file in absent if file.kind is not Kind.POST and file.number >= newest)
    return Survey(
        copies=copies,
        missing=missing,
        pending_post=tuple(file for file in absent if file.kind is Kind.POST),
        passed_over=tuple(file for file in absent if file.kind is not Kind.POST and file.number < newest),
        repeated=repeated,
        unknown=tuple(one.path for one in found if one.number > releases.newest),
        unseeded=_unseeded(files, copies, missing),
    )


def _found(path: Path) -> _Found | None:
    name = FILE_NAME.fullmatch(path.name)
    if name is None:
        return None
    kind = Kind[(name["kind"] or "main").upper()]
    return _Found(path, int(name["number"]), kind, name["name"], digest(path.read_bytes()))


def _match(files: Sequence[ReleaseFile], found: Sequence[_Found]) -> tuple[tuple[Copy, ...], tuple[Path, ...]]:
    """Match each released file to its copy: by name; else by content; else by version and kind."""
    names = {file.name for file in files}
    left = list(found)
    matched: dict[ReleaseFile, _Found] = {}
    rules: tuple[Callable[[ReleaseFile, _Found], bool], ...] = (
        lambda file, one: one.name == file.name,
        lambda file, one: one.sha256 == file.sha256,
        lambda file, one: (one.number, one.kind) == (file.number, file.kind) and one.name not in names,
    )
    for rule in rules:
        for file in files:
            one = None if file in matched else next((one for one in left if rule(file, one)), None)
            if one is not None:
                matched[file] = one
                left.remove(one)

    copies = tuple(Copy(file, matched[file].path, matched[file].sha256 != file.sha256) for file in files if file in matched)
    there = {copy.file.name for copy in copies} | {copy.file.sha256 for copy in copies}
    return copies, tuple(one.path for one in left if one.name in there or one.sha256 in there)


def _refuse_squashed(files: Sequence[Path]) -> None:
    for path in files:
        if _CREATES_ENGINE.search(path.read_bytes()):
            raise TakenUp(
                f"{path.name} creates the schema outbox_engine already, as after supabase migration squash: say with --from "
                "which version the project holds (outbox schema status shows it)"
            )


def _unseeded(files: list[Path], copies: Sequence[Copy], missing: Sequence[ReleaseFile]) -> Path | None:
    """A migration that creates our schema while neither it nor a file after it calls the seeds, as released files do.

    A squashed migration may have the name of a released file, because it keeps the name of the last one.
    """
    released = {copy.path for copy in copies if not copy.edited}
    texts = {path: path.read_bytes() for path in files}
    squashed = next((path for path, text in texts.items() if path not in released and _CREATES_ENGINE.search(text)), None)
    if squashed is None:
        return None
    later = [*list(texts.values())[files.index(squashed) :], *(file.text.encode() for file in missing)]
    return None if any(map(_SEEDS.search, later)) else squashed
