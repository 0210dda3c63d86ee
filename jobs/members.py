"""Members of a campaign as a file: CSV with a header, read a line at a time."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from jobs.gateway.campaigning import Line, RefusedLine

REQUIRED: Final = ("external_id", "recipient")
_OWN: Final = (*REQUIRED, "timezone", "event_at")


class NotMembers(ValueError):
    """The file as a whole does not name members. The words say why."""


def read(lines: Iterable[str]) -> Iterator[Line | RefusedLine]:
    """The members of a file, or why a line names none, each with the number of the line it ends on.

    The header names ``external_id`` and ``recipient``, perhaps ``timezone`` and ``event_at`` (ISO 8601; without an offset it is
    the member's wall clock), and all else is a parameter of the template. An empty cell is no value. What only the database
    can judge is not judged here. Raises :class:`NotMembers` where the header is wrong.
    """
    # Without strictness an unclosed quote would swallow the rest of the file as one cell.
    reader = csv.reader(lines, strict=True)
    header = _header(next(reader, []))
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield _line(reader.line_num, header, row)
    except csv.Error as error:
        raise NotMembers(f"line {reader.line_num}: {error}") from None


def _header(row: Sequence[str]) -> Sequence[str]:
    header = [name.strip() for name in row]
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise NotMembers(f"the first line must name the columns; {' and '.join(missing)} not found in: {found}")
    for name in header:
        if not name:
            raise NotMembers("a column has no name in the first line")
        if header.count(name) > 1:
            raise NotMembers(f"column {name} is there twice")
    return header


def _line(number: int, header: Sequence[str], row: Sequence[str]) -> Line | RefusedLine:
    if len(row) != len(header):
        return RefusedLine(number, f"{len(row)} fields where the first line names {len(header)}")
    if "\0" in "".join(row):
        return RefusedLine(number, "it contains a NUL character")
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    event_at = cells.get("event_at", "")
    if event_at:
        try:
            event_at = datetime.fromisoformat(event_at).isoformat()
        except ValueError:
            return RefusedLine(number, f"event_at {event_at!r} is not a time: write it as 2027-01-31T09:00 or with an offset")
    return Line(
        number=number,
        external_id=cells["external_id"],
        recipient=cells["recipient"],
        timezone=cells.get("timezone", ""),
        event_at=event_at,
        parameters={name: cell for name, cell in cells.items() if name not in _OWN and cell},
    )
