"""Lists of suppressed recipients as CSV files, read and written."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from jobs.gateway.operating import Suppression
from jobs.lists import csv_rows, numbers
from jobs.lists.csv_rows import NUMBER_COLUMNS, NotATable
from jobs.runtime.spreadsheets import FORMULA, defused

COLUMNS: Final = ("recipient", "reason", "source", "created_at")
_SOURCES: Final = ("reply", "operator")
_LONGEST_REASON: Final = 200
_HARMLESS_FORMULA: Final = re.compile(rf"'+{FORMULA.pattern}")


class NotAList(NotATable):
    """The file as a whole is not such a list. The text says why."""


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line (counted from 1) that names no recipient to suppress, and why."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of a file: each recipient once, the number of repetitions, and the refused lines."""

    suppressions: tuple[Suppression, ...]
    repeated: int
    refused: tuple[RefusedLine, ...]


def read(lines: Iterable[str], *, reason: str = "") -> Reading:
    """Read a list, with a header that names ``recipient`` (and ``reason``, ``source``) or with numbers in its first column.

    ``reason`` is for lines that give none. Of lines with the same number, the first counts, or the first with source operator:
    no START lifts an operator's decision. Raises :class:`NotAList` if a header names no column of numbers, and
    :class:`jobs.lists.csv_rows.NotATable` if the file is not CSV.
    """
    taken: dict[str, Suppression] = {}
    refused: list[RefusedLine] = []
    repeated = 0
    for line, row in _rows(lines):
        try:
            one = _suppression(row, reason)
        except ValueError as error:
            refused.append(RefusedLine(line, str(error)))
            continue
        before = taken.setdefault(one.recipient, one)
        if before is one:
            continue
        repeated += 1
        if before.replied and not one.replied:
            taken[one.recipient] = replace(one, reason=one.reason or before.reason)
    return Reading(suppressions=tuple(taken.values()), repeated=repeated, refused=tuple(refused))


def line_of(one: Suppression) -> Sequence[str]:
    """The fields of :data:`COLUMNS`, as :func:`read` takes them back. It ignores ``created_at``, which is for people.

    An apostrophe before a reason keeps spreadsheets from reading it as a formula.
    """
    source = "reply" if one.replied else "operator"
    return (one.recipient, defused(one.reason), source, one.created_at.isoformat() if one.created_at else "")


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each line that is not empty, by the names of its columns."""
    names: Sequence[str] | None = None
    for line, cells in csv_rows.rows(lines):
        if names is None:
            names = _header(cells)
            if names is not None:
                continue
            names = ("recipient", "reason")
        yield line, dict(zip(names, cells, strict=False))


def _header(cells: Sequence[str]) -> Sequence[str] | None:
    """The names of the columns, or None if the first line is a number already."""
    if any(character.isdigit() for character in cells[0]):
        return None
    names = [cell.lower().lstrip("\ufeff") for cell in cells]
    for name in NUMBER_COLUMNS:
        if name in names:
            return ["recipient" if column == name else column for column in names]
    raise NotAList(f"the header names none of {', '.join(NUMBER_COLUMNS)}: {', '.join(names)}")


def _suppression(row: Mapping[str, str], reason: str) -> Suppression:
    written = row.get("recipient", "").lstrip("\ufeff")
    source = row.get("source", "").lower() or "operator"
    given = row.get("reason", "")
    given = (given[1:] if _HARMLESS_FORMULA.match(given) else given) or reason
    if "\0" in "".join(row.values()):
        raise ValueError("it contains a NUL character")
    recipient = numbers.read(written)
    if source not in _SOURCES:
        raise ValueError(f"source {source!r} is neither reply nor operator")
    if len(given) > _LONGEST_REASON:
        raise ValueError(f"a reason of {len(given)} characters, {_LONGEST_REASON} are allowed")
    return Suppression(recipient=recipient, reason=given, replied=source == "reply")
