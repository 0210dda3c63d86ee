"""The part of a later version that no one can generate: ``supabase/releases/000N_{pre,concurrently,post}_<name>.sql``.

A long file goes on in ``…_<name>_<more>.sql``.

*pre* adds. *concurrently* makes indexes on big tables, outside of a transaction. *post* removes what only older processes used.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sandbox.schema.additions import refusals
from sandbox.schema.definitions import defined
from sandbox.schema.statements import statements

FOLDER: Final = "releases"
FUNCTIONS_HERE: Final = "-- functions"
"""A line of a pre file: the generated functions come here, behind tables that they need and before triggers that call them."""

PARTS: Final = ("pre", "concurrently", "post")
"""In the order in which they run."""

_FILE: Final = re.compile(r"(?P<number>[0-9]{4})_(?P<part>pre|concurrently|post)_(?P<name>[a-z0-9_]+)\.sql")
_CONCURRENTLY: Final = re.compile(r"\bconcurrently\b", re.IGNORECASE)
_ALONE: Final = re.compile(
    r"(create (unique )?index concurrently if not exists|drop index concurrently if exists)\s", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Part:
    """One file. ``path`` is as messages name it."""

    part: str
    name: str
    path: str
    text: str

    @property
    def around_functions(self) -> tuple[str, str]:
        """What comes before the generated functions, and what comes after them. Without the line, all comes before."""
        lines = self.text.splitlines(keepends=True)
        cut = next((place for place, line in enumerate(lines) if line.rstrip() == FUNCTIONS_HERE), len(lines))
        return "".join(lines[:cut]), "".join(lines[cut + 1 :])

    def continues(self, other: "Part") -> bool:
        return self.name.startswith(f"{other.name}_")

    def followed_by(self, other: "Part") -> "Part":
        """Both as one. The functions come between what stands before and what stands after them in either."""
        before, behind = zip(self.around_functions, other.around_functions, strict=True)
        here = [FUNCTIONS_HERE + "\n"] if any(behind) else []
        return replace(self, text="\n".join([*before, *here, *filter(None, behind)]))

    @property
    def suffix(self) -> str:
        """How the released file's name ends."""
        return f"pre_{self.name}_concurrently.sql" if self.part == "concurrently" else f"{self.part}_{self.name}.sql"


def read(supabase: Path, number: int) -> dict[str, Part]:
    """The parts of one version, in the order in which they run."""
    found: dict[str, Part] = {}
    for one in _files(supabase, number):
        first = found.get(one.part)
        if first is None:
            found[one.part] = one
        elif one.continues(first):
            found[one.part] = first.followed_by(one)
    return {part: found[part] for part in PARTS if part in found}


def _files(supabase: Path, number: int) -> Iterator[Part]:
    """Each file by itself."""
    for path in sorted((supabase / FOLDER).glob(f"{number:04}_*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is not None:
            text = path.read_text(encoding="utf-8").strip() + "\n"
            yield Part(match["part"], match["name"], f"{FOLDER}/{path.name}", text)


def complaints(supabase: Path, number: int, *, breaking: bool) -> Iterator[str]:
    """One line for each rule that these files break."""
    parts, files = read(supabase, number), list(_files(supabase, number))
    belong = {one.path for one in files if one.path == parts[one.part].path or one.continues(parts[one.part])}
    for path in sorted((supabase / FOLDER).glob(f"{number:04}_*.sql")):
        if f"{FOLDER}/{path.name}" not in belong:
            yield f"{FOLDER}/{path.name}: one name for each kind, as in {number:04}_<{'|'.join(PARTS)}>_<name>.sql"
    if "pre" not in parts:
        yield f"{FOLDER}/{number:04}_pre_<name>.sql is missing: write it, if only with a comment"
    for one in files:
        yield from _about(one, breaking=breaking)


def _about(part: Part, *, breaking: bool) -> Iterator[str]:
    if defined(part.text):
        yield f"{part.path}: defines a function; functions come from supabase/schemas/"
    if part.part == "concurrently":
        for statement in statements(part.text):
            if _ALONE.match(statement) is None:
                yield f"{part.path}: only create index concurrently if not exists, and drop index concurrently if exists"
        return
    code = "\n".join(statements(part.text))
    if _CONCURRENTLY.search(code):
        yield f"{part.path}: is one transaction; concurrently belongs into {part.path.replace(part.part, 'concurrently', 1)}"
    if part.part == "pre" and not breaking:
        yield from (f"{part.path}: {refusal}" for refusal in refusals(statements(part.text)))
    if [line.rstrip() for line in part.text.splitlines()].count(FUNCTIONS_HERE) > (part.part == "pre"):
        yield f"{part.path}: the line '{FUNCTIONS_HERE}' stands once, in a pre file"
