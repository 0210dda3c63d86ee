"""How many parts a text takes: 160 septets or 70 UTF-16 units alone, 153 or 67 each when joined."""

from dataclasses import dataclass

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("|^€{}[]~\\\f")


@dataclass(frozen=True, slots=True)
class Measure:
    """``encoding`` is ``text`` (GSM-7) or ``unicode`` (UCS-2); ``parts`` is at least 1."""

    encoding: str
    parts: int


def measure(text: str) -> Measure:
    """Count the parts of one text. One character outside GSM-7 turns the whole text into UCS-2."""
    characters = set(text)
    if characters <= _GSM:
        return Measure("text", 1 if len(text) <= 160 else -(-len(text) // 153))
    if characters <= _GSM | _GSM_TWICE:
        return Measure("text", _packed([2 if c in _GSM_TWICE else 1 for c in text], single=160, joined=153))
    return Measure("unicode", _packed([2 if ord(c) > 0xFFFF else 1 for c in text], single=70, joined=67))


def _packed(widths: list[int], *, single: int, joined: int) -> int:
    """Fill parts from the left; a character that takes two units is never torn apart."""
    if sum(widths) <= single:
        return 1
    parts, room = 1, joined
    for width in widths:
        if width > room:
            parts, room = parts + 1, joined
        room -= width
    return parts
