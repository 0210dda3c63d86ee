"""Phone numbers as they cross our edges.

Inside, a number is E.164 with ``+``. Sinch gives numbers back without it and takes ``00``, spaces, dashes and brackets, so
whatever comes from outside goes through :func:`e164` once, where it is parsed.
"""

import re

import phonenumbers

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_DECORATION = str.maketrans("", "", " -.()\u00a0")
_NORTH_AMERICA = 1


def e164(number: str) -> str | None:
    """``number`` as E.164 with ``+``, or None where it is not a phone number (a short code, a name)."""
    bare = number.translate(_DECORATION)
    if bare.startswith("00"):
        bare = bare[2:]
    candidate = bare if bare.startswith("+") else f"+{bare}"
    return candidate if _E164.fullmatch(candidate) else None


def address(text: str) -> str:
    """A number as E.164; a short code or an alphanumeric sender as it stands."""
    return e164(text) or text


def region(number: str) -> str | None:
    """The ISO code of the country an E.164 number belongs to, or None where nobody can say.

    ``+1`` is shared by the US, Canada and twenty islands with other prices, so a number there that matches none of them has
    no region. Elsewhere it gets its calling code's main country: ranges for drama and for tests are in no country's plan.
    """
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return None

    found = phonenumbers.region_code_for_number(parsed)
    calling_code = parsed.country_code or 0
    if found is None and calling_code != _NORTH_AMERICA:
        found = phonenumbers.region_code_for_country_code(calling_code)
    return found if found and len(found) == 2 and found != "ZZ" else None
