"""Reads the phone number in a cell of a file."""

import re
import unicodedata

from jobs.runtime.phone import bare, e164, trunk_zero_code

_OTHER = re.compile(r"[^0-9 .()\u00a0\u2009\u202f\u2010-\u2015-]")
_INVISIBLE = re.compile(
    # Those of `invisible_pattern` in the schema, and NUL.
    r"[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u2008\u200a-\u200f"
    r"\u2028-\u202e\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_LONGEST_SHOWN = 40


def read(written: str) -> str:
    """The number as E.164. It needs ``+`` or ``00``: without it, a country code looks like the beginning of a national number.

    Raises ValueError. Its text shows the number masked and says how to write it.
    """
    if not written:
        raise ValueError("no number")
    number = e164(written)
    if number is None or trunk_zero_code(number) or not bare(written).startswith(("+", "00")):
        raise ValueError(f"recipient {_masked(written)!r} {_problem(written)}")
    return number


def _problem(written: str) -> str:
    if found := _INVISIBLE.search(written):
        return f"has an invisible character in it, {_name(found[0])}. Remove it"
    if not bare(written).startswith(("+", "00")):
        return "has neither + nor 00 before its country code"
    if other := _OTHER.search(written.replace("+", "", 1) if bare(written).startswith("+") else written):
        return f"has {other[0]!r} in it. Write the number alone, in digits and without an extension"
    digits = bare(written).removeprefix("00").removeprefix("+")
    if code := trunk_zero_code(f"+{digits}"):
        return f"has a zero that is dialled inside the country only. Leave out the zero after {code}"
    if digits.startswith("0"):
        return "has a zero before its country code. Write + and the country code, such as +14155550123"
    if re.search(r"\(\s*0", written):
        return (
            "has a zero in brackets. Write the number without brackets, as it is dialled from another country: some "
            "countries keep the zero, such as Italy"
        )
    return f"has {len(digits)} digits. With its country code a number has 7 to 15"


def _name(character: str) -> str:
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "")
    return f"{name} ({code})" if name else code


def _masked(written: str) -> str:
    """The number as it is written, without the digits in its middle. Invisible characters are shown as their codes."""
    shown = written if len(written) <= _LONGEST_SHOWN else f"{written[:_LONGEST_SHOWN]}…"
    places = [place for place, character in enumerate(shown) if character.isdigit()]
    ends = 4 if len(places) > 10 else 2
    hidden = set(places[ends:-ends])
    masked = "".join("•" if place in hidden else character for place, character in enumerate(shown))
    return _INVISIBLE.sub(lambda found: f"<{ord(found[0]):04X}>", masked)
