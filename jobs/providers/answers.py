"""HTTP answers of providers, and what means the same in all of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from jobs.runtime.masking import mask_url

LONGEST_LINE: Final = 300
"""Characters of what a provider says that are kept."""

_LONGEST_WAIT: Final = 3600.0
_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. The names of headers are lower case. ``body`` is None if it broke off."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


def retry_after(headers: Mapping[str, str], *, longest: float = _LONGEST_WAIT) -> float | None:
    """Seconds to wait as ``Retry-After`` says (RFC 9110 §10.2.3: seconds or a date), at most ``longest``; None without it.

    A date is compared with the answer's own ``Date`` if it has one, so that a wrong clock on either side does not matter.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), longest)
    until = http_date(value)
    if until is None:
        return None
    now = http_date(headers.get("date", "")) or datetime.now(UTC)
    return min(max((until - now).total_seconds(), 0.0), longest)


def http_date(value: str) -> datetime | None:
    """The instant of a ``Date`` header (RFC 9110 §5.6.7), None where it is absent or malformed."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def printable(text: str) -> str:
    """One printable line of bounded length: it is stored, and the database takes no NUL. A URL of ours may hold a password."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * LONGEST_LINE]).split())
    return mask_url(line)[:LONGEST_LINE]
