"""Times and durations as operators write them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import typer

from jobs.runtime.times import ago, all_in_utc, read_utc, utc

__all__ = ["ago", "all_in_utc", "moment", "past", "read_utc", "seconds", "utc"]

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_SECONDS: Final = 3650 * 86400


def seconds(text: str) -> float:
    """``90s``, ``30m``, ``2h`` or ``1d`` in seconds, above zero and at most ten years. Raises BadParameter."""
    read = _DURATION.fullmatch(text.strip())
    amount = float(read[1]) * _UNITS[read[2]] if read else 0.0
    if not 0 < amount <= _LONGEST_SECONDS:
        raise typer.BadParameter(f"{text!r} is not a duration. Write it as 90s, 30m, 2h or 1d")
    return amount


def moment(text: str) -> datetime:
    """An ISO 8601 time with its offset, such as ``2027-01-31T09:00Z``. Raises BadParameter without an offset."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is not a time with an offset. Write it as 2027-01-31T09:00Z or 2027-01-31T09:00+01:00"
        )
    return at


def past(text: str) -> datetime:
    """A time, given as such or as a duration before now."""
    return datetime.now(UTC) - timedelta(seconds=seconds(text)) if _DURATION.fullmatch(text.strip()) else moment(text)
