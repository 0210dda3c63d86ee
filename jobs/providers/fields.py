"""Reads the fields of callbacks and listings, which providers write in more than one way.

A number comes with or without ``+``, as text or as a JSON number; a time with or without an offset.
"""

import hashlib
import re
from datetime import UTC, datetime
from typing import Final

from jobs.runtime import phone

LONGEST_ID: Final = 255
"""The longest id, number or name that is read. Providers' have up to 36; the database indexes none of several thousand."""

HIGHEST_CODE: Final = 2**31 - 1
"""The database's ``integer``."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Unreadable(ValueError):
    """A value does not have its documented form. The text names the value."""


def required(value: object, name: str) -> str:
    """A text that may not be missing. Raises :class:`Unreadable`."""
    if value is None or value == "":
        raise Unreadable(f"{name} is missing")
    if not isinstance(value, str):
        raise Unreadable(f"{name} is no text")
    if len(value) > LONGEST_ID:
        raise Unreadable(f"{name} has {len(value)} characters")
    return value


def address(value: object, name: str) -> str:
    """A phone number as E.164, which may be a JSON number, or a short code or name as it is. Raises :class:`Unreadable`.

    Invisible marks do not belong to it.
    """
    text = required(_written(value), name)
    return phone.address(text if text.isprintable() else "".join(filter(str.isprintable, text)))


def inbound_id(value: object, name: str, raw: str) -> str:
    """The id of a reply. One without an id gets one of its bytes, so that it counts once however often it comes."""
    if value is None or value == "":
        return f"without-id-{hashlib.sha256(raw.encode()).hexdigest()[:32]}"
    return required(_written(value), name)


def our_address(value: object) -> str:
    """The number that a reply went to. Empty if it is missing or cannot be read: a STOP counts all the same."""
    try:
        return address(value, "to")
    except Unreadable:
        return ""


def number(text: str) -> str:
    """A phone number as E.164. Raises :class:`Unreadable`."""
    found = phone.e164(text)
    if found is None:
        raise Unreadable("not a phone number")
    return found


def instant(text: str) -> datetime:
    """The instant ``text`` names, in UTC; without an offset it is UTC already. Raises :class:`Unreadable`."""
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unreadable(f"not a time: {text[:40]!r}") from None


def instant_or_none(value: object) -> datetime | None:
    """None for a time that is missing or cannot be read: the message or status beside it counts all the same."""
    try:
        return instant(value) if isinstance(value, str) else None
    except Unreadable:
        return None


def code(value: object) -> int | None:
    """A status code, which some samples write as a string. Raises :class:`Unreadable`."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,9}\s*", value):
        return int(value)
    raise Unreadable("not a status code")


def reference(text: object) -> str | None:
    """The reference of a request, in lower case and without blanks around it if it may be one of ours. None without text."""
    if not text or not isinstance(text, str):
        return None
    bare = text.strip()
    return bare.lower() if _UUID.fullmatch(bare) else clipped(text)


def clipped(text: object) -> str | None:
    """As much of an id or a reference as is read. None if it is no text."""
    return text[:LONGEST_ID] if isinstance(text, str) else None


def _written(value: object) -> object:
    """A whole JSON number as its digits, also one that is written as 1.4155550123e10. Others unchanged."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return str(value) if type(value) is int else value
