"""Times and durations in words: every screen and every line writes them alike."""

import re
from datetime import UTC, datetime
from typing import Final

_WRITTEN: Final = re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d(:\d\d)?(?![\d:])")
"""A time as PostgreSQL writes it into a text, or into JSON."""


def ago(duration: float) -> str:
    """A duration in seconds for people: ``3 s``, ``4 min``, ``2.5 h``, ``3 days``."""
    if duration < 120:
        return f"{duration:.0f} s"
    if duration < 7200:
        return f"{duration / 60:.0f} min"
    return f"{duration / 3600:.1f} h" if duration < 172800 else f"{duration / 86400:.0f} days"


def utc(at: datetime) -> str:
    """For people, in UTC to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def read_utc(text: str) -> str:
    """A time that PostgreSQL wrote, as :func:`utc` has it. Any other text stays as it is."""
    try:
        return utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        # An owner of the table may write 'infinity', and a provider anything into a text.
        return text


def all_in_utc(text: str) -> str:
    """The text with all times that PostgreSQL wrote into it as :func:`utc` has them."""
    return _WRITTEN.sub(lambda found: read_utc(found[0]), text)
