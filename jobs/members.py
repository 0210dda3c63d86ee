"""Members of a campaign as a file: CSV with a header, read a line at a time."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from jobs import csv_rows
from jobs.csv_rows import NotATable
from jobs.gateway.campaigning import Line, RefusedLine

REQUIRED: Final = ("external_id", "recipient")
_OWN: Final = (*REQUIRED, "timezone", "event_at")


class NotMembers(NotATable):
    """The file as a whole does not name members. The words say why."""


def read(lines: Iterable[str]) -> Iterator[Line | RefusedLine]:
    """The members of a file, or why a line names none, each with the number of the line it ends on.

    The header names ``external_id`` and ``recipient``, perhaps ``timezone`` and ``event_at`` (ISO 8601; without an offset it is
    the member's wall clock), and all else is a parameter of the template. An empty cell is no value. What only the database
    can judge is not judged here. Raises :class:`NotMembers` where the header is wrong, :class:`jobs.csv_rows.NotATable` where
    the file is no CSV.
    """
    rows = csv_rows.rows(lines)
    _, names = next(rows, (0, []))
    header = _header(names)
    for number, row in rows:
        yield _line(number, header, row)


def _header(header: Sequence[str]) -> Sequence[str]:
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
    cells = dict(zip(header, row, strict=True))
    event_at = cells.get("event_at", "")
    if event_at:
        try:
            event_at = _moment(event_at)
        except ValueError as error:
            return RefusedLine(number, f"event_at {event_at!r} is {error}: write it as 2027-01-31T09:00 or with an offset")
    return Line(
        number=number,
        external_id=cells["external_id"],
        recipient=cells["recipient"],
        timezone=cells.get("timezone", ""),
        event_at=event_at,
        parameters={name: cell for name, cell in cells.items() if name not in _OWN and cell},
    )


def _moment(text: str) -> str:
    """ISO 8601 as the database reads it. Raises ValueError, whose words say what the text is instead."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("not a time") from None
    if (moment.utcoffset() or timedelta()).microseconds:
        raise ValueError("not a time")
    # Midnight is what a day alone would be read as, which is when nobody means to remind anybody.
    if _is_day(text):
        raise ValueError("a day without a time")
    return moment.isoformat()


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
