"""Phone numbers from outside.

Inside, a number is E.164 with ``+``. Sinch returns numbers without it and accepts ``00``, spaces, dashes and brackets.
Every number from outside therefore goes through :func:`e164` once, where it is parsed. What people and apps write, in files,
commands and rows, is read by `jobs.lists.numbers` and, by the same rules, in the database (`read_recipient`).
"""

import re

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_BUT_OPENING_BRACKETS = str.maketrans("", "", " -.)\u00a0\u2009\u202f\u2010\u2011\u2012\u2013\u2014\u2015")
_DECORATION = _BUT_OPENING_BRACKETS | str.maketrans("", "", "(")
# The countries in which a zero is dialled before a number and belongs to none: those of `trunk_zero_pattern` in the schema.
# sandbox/regions.py derives them.
_TRUNK_ZERO_CODES = (
    r"20|27|31|32|33|36|40|41|43|44|46|49|51|53|54|55|57|58|60|61|62|63|64|66|81|82|84|86|90|91|92|93|94|95|98|"
    r"211|212|213|218|231|232|233|234|243|249|251|252|254|255|256|260|261|262|263|264|265|291|353|355|358|359|370|373|"
    r"374|377|380|381|382|383|385|386|387|389|421|423|508|590|591|593|594|595|596|598|686|850|855|856|880|886|961|962|"
    r"963|964|966|967|970|971|972|976|977|994|995|996"
)
_TRUNK_ZERO = re.compile(rf"(\+(?:{_TRUNK_ZERO_CODES}))0[1-9]")
_BEFORE_TRUNK_ZERO = re.compile(rf"\+(?:{_TRUNK_ZERO_CODES})(?=[1-9])")
_LONG_FORM = re.compile(r"(\+52)1([2-9][0-9]{9})|(\+54)9([1-8][0-9]{9})|(\+55[1-9][0-9])9([6-9][0-9]{7})")
_SHORT_CODE_DIGITS = 8
_BRACKETED_ZERO = re.compile(r"\(*(?:\+|00)\(*[1-9][0-9]{0,2}\(+0(?!0)")


def e164(number: str) -> str | None:
    """``number`` as E.164 with ``+``, or None if it is not a phone number (a short code, a name).

    Nor is a number written with a zero that is dialled inside the country only (+44 (0)7911 123456, +49 0151 23456789):
    leaving the zero out would be a guess. Digits alone are taken as they are, because a provider repeats the numbers of
    requests, and rows of an older release may have such a zero. :func:`has_trunk_zero` tells.
    """
    if "(" in number and _BRACKETED_ZERO.match(number.translate(_BUT_OPENING_BRACKETS)):
        return None
    digits = bare(number)
    is_decorated = digits != number
    if digits.startswith("00"):
        digits = f"+{digits[2:]}"
    candidate = digits if digits.startswith("+") else f"+{digits}"
    if not _E164.fullmatch(candidate) or (is_decorated and has_trunk_zero(candidate)):
        return None
    return candidate


def bare(number: str) -> str:
    """``number`` without the blanks, dashes, dots and brackets that people write between its digits."""
    return number.translate(_DECORATION)


def has_trunk_zero(number: str) -> bool:
    """Whether an E.164 number still has the zero that is dialled inside its country only, so that it belongs to no phone."""
    return trunk_zero_code(number) is not None


def trunk_zero_code(number: str) -> str | None:
    """The country code, with ``+``, behind which an E.164 number or its beginning has such a zero. None if it has none."""
    found = _TRUNK_ZERO.match(number)
    return found and found[1]


def sender_zero_code(sender: str) -> str | None:
    """As :func:`trunk_zero_code`, for a sender: digits without ``+`` may be a short code, which has at most eight."""
    number = sender if sender.startswith("+") else f"+{sender}"
    return trunk_zero_code(number) if sender.startswith("+") or len(sender) > _SHORT_CODE_DIGITS else None


def spellings(number: str) -> tuple[str, ...]:
    """An E.164 number, and the same with the zero that is dialled inside its country only, as older releases stored it."""
    found = _BEFORE_TRUNK_ZERO.match(number)
    with_zero = found and f"{found[0]}0{number[found.end() :]}"
    return (number, with_zero) if with_zero and _E164.fullmatch(with_zero) else (number,)


def short_form(number: str) -> str:
    """An E.164 number without the digit that it may have or not: +521… as +52…, as `twin_of` in the schema pairs them."""
    found = _LONG_FORM.fullmatch(number)
    return "".join(filter(None, found.groups())) if found else number


def address(text: str) -> str:
    """A number as E.164; a short code or an alphanumeric sender unchanged."""
    return e164(text) or text
