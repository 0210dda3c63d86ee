"""Reads the rows of a CSV file strictly, so that no row is lost silently."""

import csv
from collections.abc import Iterable, Iterator
from typing import Final

NUMBER_COLUMNS: Final = ("recipient", "number", "phone", "phone_number", "msisdn")
"""Names that lists use for the column of numbers. Our documents use only the first."""
_NOT_COMMAS: Final = {";": "semicolons", "\t": "tabs"}


class NotATable(ValueError):
    """The file as a whole cannot be read. The text says why, with the number of the line if one line is wrong."""


def rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, its cells stripped, with the number of the line on which it ends. The first line is 1.

    Raises :class:`NotATable`.
    """
    # Without strictness an unclosed quote would swallow the rest of the file as one cell.
    reader = csv.reader(lines, strict=True)
    is_first = True
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise NotATable(_problem(begin, reader.line_num, error)) from None
        if row is None:
            return
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if is_first:
            _refuse_other_files(reader.line_num, cells)
            is_first = False
        yield reader.line_num, cells


def _problem(begin: int, end: int, error: csv.Error) -> str:
    """Describe the problem of a row. In a row over several lines, the mistake is mostly on the first."""
    words = "a quote is opened and never closed" if "unexpected end of data" in str(error) else str(error)
    return f"line {begin}: {words}" if begin == end else f"line {begin}: {words} (read as one row as far as line {end})"


def _refuse_other_files(line: int, cells: list[str]) -> None:
    if "\0" in "".join(cells):
        raise NotATable(f"line {line}: it contains a NUL character. Save the file as CSV in UTF-8")
    for separator, name in _NOT_COMMAS.items():
        if len(cells) == 1 and separator in cells[0]:
            raise NotATable(f"line {line}: its columns are separated by {name}. Save the file as CSV with commas")
