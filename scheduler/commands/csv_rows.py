"""The rows of a CSV file, so strictly read that none goes missing without a word."""

import csv
from collections.abc import Iterable, Iterator
from typing import Final

NUMBER_COLUMNS: Final = ("recipient", "number", "phone", "phone_number", "msisdn")
"""What lists call the column of numbers. Only the first of them is in our own documents."""
_NOT_COMMAS: Final = {";": "semicolons", "\t": "tabs"}


class NotATable(ValueError):
    """The file as a whole cannot be read. The words say why, with the number of the line where it is one line's fault."""


def rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Each row that holds anything, its cells stripped, with the number of the line it ends on, the first being 1.

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
            raise NotATable(_what_is_wrong(begin, reader.line_num, error)) from None
        if row is None:
            return
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if is_first:
            _refuse_other_files(reader.line_num, cells)
            is_first = False
        yield reader.line_num, cells


def _what_is_wrong(begin: int, end: int, error: csv.Error) -> str:
    """Of a row that goes on over several lines, what is wrong was mostly begun on its first."""
    words = "a quote is opened and never closed" if "unexpected end of data" in str(error) else str(error)
    return f"line {begin}: {words}" if begin == end else f"line {begin}: {words} (read as one row as far as line {end})"


def _refuse_other_files(line: int, cells: list[str]) -> None:
    if "\0" in "".join(cells):
        raise NotATable(f"line {line}: it contains a NUL character; save the file as CSV in UTF-8")
    for separator, name in _NOT_COMMAS.items():
        if len(cells) == 1 and separator in cells[0]:
            raise NotATable(f"line {line}: its columns are separated by {name}; save the file as CSV with commas")
