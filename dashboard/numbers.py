"""Reads phone numbers that people type into a search, in any spelling.

A search may guess where an insert may not: a wrong guess finds nothing, and the page says how it read the number.
"""

import re
from dataclasses import dataclass
from typing import Final

import phonenumbers

from jobs.runtime.phone import spellings

_BETWEEN: Final = re.compile(r"[,;|\n\r\t]+|\s+(?=\+)")
_LOOKALIKES: Final = str.maketrans("oOlI", "0011")
_LETTERS: Final = re.compile(r"[A-Za-z]")
_FEWEST_DIGITS: Final = 4
_MOST_END_DIGITS: Final = 10
_WITH_CODE_DIGITS: Final = 11
_TOO_SHORT: Final = "It has too few digits, or too many."
MOST: Final = 50


@dataclass(frozen=True, slots=True)
class Typed:
    """Numbers as a search uses them.

    ``recipients`` are E.164. ``last_digits`` is the end of a number whose country nothing says. ``notes`` say how numbers were
    read, ``problems`` which could not be.
    """

    recipients: tuple[str, ...] = ()
    last_digits: str | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read_numbers(text: str, region: str | None) -> Typed:
    """The numbers in ``text``. ``region`` is the country (ISO) of those without a country code."""
    recipients: list[str] = []
    ends: list[str] = []
    notes: list[str] = []
    problems: list[str] = []
    for written in filter(None, (part.strip() for part in _BETWEEN.split(text))):
        if len(recipients) > MOST or len(problems) > MOST:
            break
        plain = _plain(written)
        number = _with_code(plain) or _in_region(plain, region)
        if number is not None:
            recipients += [one for one in spellings(number) if one not in recipients]
            if plain != number:
                notes.append(f"{written} was read as {number}.")
        elif (end := _end(plain)) is not None:
            ends.append(end)
        else:
            advice = (
                _TOO_SHORT if plain.startswith(("+", "00")) else "Write it with + and the country code, such as +14155550123."
            )
            problems.append(f"{written} is no phone number. {advice}")
    if ends and (recipients or len(ends) > 1):
        problems += [f"The number that ends in {end[-4:]} has no country code. Choose its country." for end in ends]
        ends = []
    if len(recipients) > MOST:
        problems.append(f"At most {MOST} numbers are searched at once. The others were left out.")
    if ends:
        notes.append(f"No country code: all numbers that end in {ends[0]} are shown. Choose a country for exactly one number.")
    return Typed(tuple(recipients[:MOST]), ends[0] if ends else None, tuple(notes), tuple(problems))


def looks_like_number(text: str) -> bool:
    """Whether a search box was given a number, and not an id or a key."""
    plain = _plain(text)
    digits = re.sub(r"[^0-9]", "", plain)
    is_written_so = not _LETTERS.search(plain) and (
        plain.startswith(("+", "0", "(")) or bool(re.search(r"[0-9][ ().-]+[0-9]", plain))
    )
    return is_written_so and len(digits) >= _FEWEST_DIGITS and not re.search(r"[^0-9+ ()./\-\u00a0\u2009-\u2015\u202f]", plain)


def regions() -> tuple[str, ...]:
    """The countries that a number may be of (ISO), in order."""
    return tuple(sorted(phonenumbers.SUPPORTED_REGIONS))


def _plain(written: str) -> str:
    """With digits in place of letters that look like them, if no other letter is there."""
    plain = written.strip().removeprefix("tel:").replace("\uff0b", "+")
    swapped = plain.translate(_LOOKALIKES)
    plain = swapped if re.search(r"[0-9]", plain) and not _LETTERS.search(swapped) else plain
    return "".join(str(int(sign)) if sign.isdecimal() else sign for sign in plain)


def _with_code(plain: str) -> str | None:
    """A number with its country code: behind + or 00, or so many digits that they must have one."""
    bare = re.sub(r"[^0-9+]", "", plain.replace("(0)", ""))
    if _LETTERS.search(plain) or "+" in bare[1:]:
        return None
    if bare.startswith("00"):
        return _parsed(f"+{bare[2:]}", None)
    if bare.startswith("+"):
        return _parsed(bare, None)
    return _parsed(f"+{bare}", None) if len(bare) >= _WITH_CODE_DIGITS and not bare.startswith("0") else None


def _in_region(plain: str, region: str | None) -> str | None:
    return None if region is None or plain.startswith(("+", "00")) else _parsed(plain, region)


def _parsed(text: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _end(plain: str) -> str | None:
    """The last digits of a number without a country code. The zeros before it are dialled inside its country only."""
    digits = "" if _LETTERS.search(plain) or plain.startswith("+") else re.sub(r"[^0-9]", "", plain)
    national = digits.lstrip("0") if len(digits) > _MOST_END_DIGITS - 1 else digits
    return national[-_MOST_END_DIGITS:] if len(national) >= _FEWEST_DIGITS else None
