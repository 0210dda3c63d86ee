"""The digits in front of a migration's name, which the Supabase CLI calls its version.

The CLI compares versions as text. It refuses a new file whose version sorts before the newest one of the database.
"""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Final

MIGRATION: Final = re.compile(r"([0-9]+)_(.*)\.sql")
"""The names that the Supabase CLI reads as migrations. It skips all others in the folder."""

_FORMAT: Final = "%Y%m%d%H%M%S"
_DIGITS: Final = 14
_UNITS: Final = (14, 12, 10, 8, 6, 4)
"""The number of digits of a version that is precise to a second, a minute, an hour, a day, a month and a year."""
_FIRST: Final = "0101000000"
"""The first second of a year, without the year."""


def version_of(file_name: str) -> str | None:
    """The version of a migration, or None for other files."""
    found = MIGRATION.fullmatch(file_name)
    return None if found is None else found[1]


def new_stamps(existing: Collection[str], now: datetime, count: int) -> list[str]:
    """``count`` versions that sort after all ``existing`` ones and after each other, from ``now`` (UTC) on, a second apart."""
    stamps: list[str] = []
    newest = max(existing, default="")
    wanted = now.strftime(_FORMAT)
    for _ in range(count):
        newest = wanted if wanted > newest else _after(newest)
        stamps.append(newest)
    return stamps


def sorted_before_by_name(existing: Collection[str], stamp: str) -> list[str]:
    """Versions that a CLI which sorts by file name puts after ``stamp``: ``20270101_`` sorts after ``20270101120000_``.

    The CLI did so before its version 3, and then misses what it finds out of order.
    """
    return sorted(version for version in existing if stamp.startswith(version) and version != stamp)


def _after(version: str) -> str:
    """The first second that sorts after a version of any length. Without one, the next number."""
    number = int(version[:_DIGITS].ljust(_DIGITS, "0")) + 1
    if number >= 10**_DIGITS:
        return f"{version}0"
    digits = f"{number:0{_DIGITS}}"
    candidates = (f"{int(digits[:unit]) + (unit < _DIGITS):0{unit}}{_FIRST[unit - 4 :]}" for unit in _UNITS)
    return next(filter(_is_time, candidates), digits)


def _is_time(digits: str) -> bool:
    try:
        datetime.strptime(digits, _FORMAT)  # noqa: DTZ007  # digits of a file name have no zone
    except ValueError:
        return False
    return True
