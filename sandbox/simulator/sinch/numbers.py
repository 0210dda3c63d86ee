"""Phone numbers as the provider reads them: with ``+`` or ``00`` or neither, punctuation ignored; stored as digits alone."""

import re

from sandbox.simulator.sinch.errors import Refuse, bad_format

_USUAL = re.compile(r"\+?([1-9][0-9]{4,14})")
_UNUSUAL = re.compile(r"(?:\+|00)?([1-9][0-9]{4,14})")
_PUNCTUATION = str.maketrans("", "", " -.()[]{}/")
_GROUP_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_SENDER = re.compile(r"(?:\+|00)?[0-9]{3,15}|(?=.*[A-Za-z])[ -~]{1,11}")


def msisdn(text: str) -> str | None:
    """The digits of a number, or None if it is not one."""
    usual = _USUAL.fullmatch(text)
    if usual:
        return usual[1]
    unusual = _UNUSUAL.fullmatch(text.translate(_PUNCTUATION))
    return unusual[1] if unusual else None


def recipients(to: list[str], field: str = "to") -> tuple[str, ...]:
    """The numbers of one request. One bad number refuses them all; a repeated number is kept once."""
    numbers: dict[str, None] = {}
    for index, text in enumerate(to):
        usual = _USUAL.fullmatch(text)
        number = usual[1] if usual else msisdn(text)
        if number is None:
            raise _no_recipient(field, index, text)
        numbers[number] = None
    return tuple(numbers)


def bad_recipient(field: str, index: int) -> Refuse:
    """The provider's answer to a recipient it cannot use."""
    return bad_format(f"{field}[{index}]", "must be a valid MSISDN or group id")


def _no_recipient(field: str, index: int, text: str) -> Refuse:
    if _GROUP_ID.fullmatch(text):
        return Refuse(403, "unknown_group", f"The group {text} is not known")
    return bad_recipient(field, index)


def sender(text: str) -> str:
    """A number, a short code or up to 11 characters; numbers without ``+``. Raises if it is none of them."""
    if not _SENDER.fullmatch(text):
        raise bad_format("from", "must be a number, a short code or at most 11 characters")
    return text.removeprefix("+")
