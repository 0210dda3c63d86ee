"""Phone numbers from outside.

Inside, a number is E.164 with ``+``. Sinch returns numbers without it and accepts ``00``, spaces, dashes and brackets.
Every number from outside therefore goes through :func:`e164` once, where it is parsed.
"""

import re

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_DECORATION = str.maketrans("", "", " -.()\u00a0")


def e164(number: str) -> str | None:
    """``number`` as E.164 with ``+``, or None if it is not a phone number (a short code, a name)."""
    bare = number.translate(_DECORATION)
    if bare.startswith("00"):
        bare = bare[2:]
    candidate = bare if bare.startswith("+") else f"+{bare}"
    return candidate if _E164.fullmatch(candidate) else None


def address(text: str) -> str:
    """A number as E.164; a short code or an alphanumeric sender unchanged."""
    return e164(text) or text
