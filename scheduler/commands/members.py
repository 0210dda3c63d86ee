"""Members of a campaign as a CSV file with a header, read line by line."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Final

from jobs.gateway.campaigning import Form, Line, RefusedLine
from jobs.lists import csv_rows, numbers
from jobs.lists.csv_rows import NUMBER_COLUMNS, NotATable
from jobs.runtime.counts import counted

REQUIRED: Final = ("external_id", "recipient")
_OWN: Final = (*REQUIRED, "timezone", "event_at")


class NotMembers(NotATable):
    """The file as a whole does not fit the campaign. Each of the ``problems`` is one line that says why."""

    def __init__(self, *problems: str) -> None:
        super().__init__(problems[0])
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Table:
    """A file whose header was read: the meaning of its columns, and its lines, which are read as the caller takes them."""

    columns: Sequence[str]
    lines: Iterator[Line | RefusedLine]


def read(lines: Iterable[str], form: Form) -> Table:
    """The members of a file, and the lines that name none, each with the number of the line on which it ends.

    The header names ``external_id`` and ``recipient``, and may name ``timezone`` and ``event_at`` (ISO 8601; without an offset
    it is the member's wall clock). All other columns are placeholders of the template, in letters of any case. An empty cell
    is no value. A number needs ``+`` or ``00``. The database checks the rest. Raises :class:`NotMembers` if the header does
    not fit the campaign's ``form``, and :class:`jobs.lists.csv_rows.NotATable` if the file is not CSV.
    """
    rows = csv_rows.rows(lines)
    _, names = next(rows, (0, []))
    columns = _columns(names, form)
    return Table(columns, (_line(number, columns, row) for number, row in rows))


def _columns(header: Sequence[str], form: Form) -> Sequence[str]:
    """The meaning of each column: one of the fixed names, or a placeholder as the template spells it."""
    columns = [_column(name, form) for name in header]
    if "recipient" not in columns:
        numbers = [name for name in columns if name.lower() in NUMBER_COLUMNS and name not in form.placeholders]
        if len(numbers) == 1:
            columns[columns.index(numbers[0])] = "recipient"
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        found = ", ".join(header) or "nothing"
        raise NotMembers(f"the first line must name the columns; {' and '.join(missing)} not found in: {found}")
    for name in columns:
        if not name:
            raise NotMembers("a column has no name in the first line")
        if columns.count(name) > 1:
            raise NotMembers(f"column {name} is there twice")
    problems = [*_unknown(columns, form), *_lacking(columns, form)]
    if problems:
        raise NotMembers(*problems)
    return columns


def _column(name: str, form: Form) -> str:
    if name.lower() in _OWN:
        return name.lower()
    spelled_alike = [placeholder for placeholder in form.placeholders if placeholder.lower() == name.lower()]
    return spelled_alike[0] if len(spelled_alike) == 1 else name


def _unknown(columns: Sequence[str], form: Form) -> Iterator[str]:
    """Problems with columns that are neither fixed names nor placeholders. The database would refuse every line."""
    others = [name for name in form.placeholders if name not in columns]
    for column in columns:
        if column in _OWN or column in form.placeholders:
            continue
        words = f"column {column!r} is no placeholder of template {form.template!r}"
        if closest := get_close_matches(column, others, n=1, cutoff=0.5):
            yield f"{words}; the closest is {{{{{closest[0]}}}}}"
        elif form.placeholders:
            yield f"{words}, which has {', '.join(f'{{{{{name}}}}}' for name in form.placeholders)}"
        else:
            yield f"{words}, which has none"


def _lacking(columns: Sequence[str], form: Form) -> Iterator[str]:
    """Problems with missing columns. Without them the database would refuse every line."""
    for name in form.required:
        if name not in columns:
            yield f"no column for {{{{{name}}}}} of template {form.template!r}, which has no default for it"
    if form.needs_event and "event_at" not in columns:
        yield "no column event_at, which reminders are sent around"
    if form.zone_needed_by is not None and "timezone" not in columns:
        yield f"no column timezone, and the campaign has none either; {form.zone_needed_by} needs one"


def _line(number: int, header: Sequence[str], row: Sequence[str]) -> Line | RefusedLine:
    if len(row) != len(header):
        return RefusedLine(number, f"{counted(len(row), 'field')} where the first line names {len(header)}")
    if "\0" in "".join(row):
        return RefusedLine(number, "it contains a NUL character")
    cells = dict(zip(header, row, strict=True))
    event_at = cells.get("event_at", "")
    if event_at:
        try:
            event_at = _moment(event_at)
        except ValueError as error:
            return RefusedLine(number, f"event_at {event_at!r} is {error}: write it as 2027-01-31T09:00 or with an offset")
    try:
        recipient = numbers.read(cells["recipient"])
    except ValueError as error:
        return RefusedLine(number, str(error))
    return Line(
        number=number,
        external_id=cells["external_id"],
        recipient=recipient,
        timezone=cells.get("timezone", ""),
        event_at=event_at,
        parameters={name: cell for name, cell in cells.items() if name not in _OWN and cell},
    )


def _moment(text: str) -> str:
    """The time as ISO 8601, as the database reads it. Raises ValueError, whose text says what the cell holds instead."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("not a time") from None
    if (moment.utcoffset() or timedelta()).microseconds:
        raise ValueError("not a time")
    # A day alone would be read as midnight, which is hardly the time of an event.
    if _is_day(text):
        raise ValueError("a day without a time")
    return moment.isoformat()


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
