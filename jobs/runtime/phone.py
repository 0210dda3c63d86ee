"""Phone numbers from outside.

Inside, a number is E.164 with ``+``. Sinch returns numbers without it and accepts ``00``, spaces, dashes and brackets.
Every number from outside therefore goes through :func:`e164` once, where it is parsed. Apps insert E.164 only, and so do
members of campaigns: the database takes no other form.
"""

import re

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_DECORATION = str.maketrans("", "", " -.()\u00a0")
# The codes of countries, and those whose numbers begin with a zero behind it: Italy, San Marino, and four in Africa.
_COUNTRY = (
    r"(?:[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|(?:2[1-689]|3[578]|42|5[09]|6[7-9]|8[05-9]|9[679])[0-9])"
)
_KEEPS_ZERO = r"(?:39|378|379|225|229|241|242)"
# A zero that is dialled inside the country only: +44 (0)7911 123456, +49 0151 23456789. With it the number belongs to no phone.
_TRUNK_ZERO = re.compile(rf"\(\s*0(?!0)|(?:\+|\b00)\s*(?!{_KEEPS_ZERO}\b){_COUNTRY}[ \-.)\u00a0]+0")


def e164(number: str) -> str | None:
    """``number`` as E.164 with ``+``, or None if it is not a phone number (a short code, a name).

    Nor is a number with a zero that is dialled inside the country only: whether to leave it out depends on the country.
    """
    if _TRUNK_ZERO.search(number):
        return None
    bare = number.translate(_DECORATION)
    if bare.startswith("00"):
        bare = bare[2:]
    candidate = bare if bare.startswith("+") else f"+{bare}"
    return candidate if _E164.fullmatch(candidate) else None


def address(text: str) -> str:
    """A number as E.164; a short code or an alphanumeric sender unchanged."""
    return e164(text) or text
