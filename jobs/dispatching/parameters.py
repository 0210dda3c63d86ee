"""Lets texts that differ travel in one request: what they begin and end with is said once, the rest for each recipient."""

from collections.abc import Mapping, Sequence
from os.path import commonprefix

_BRACE = "{"


def share(
    texts: Sequence[str], recipients: Sequence[str], *, longest: int
) -> tuple[str, Mapping[str, Mapping[str, str]] | None]:
    """The body and parameters of a :class:`~jobs.providers.base.Submission` that gives each recipient the text in its place.

    Every recipient has every value, none is empty, and none has more than ``longest`` UTF-16 units: what is longer becomes
    several values that follow each other. Parameters are None where all texts agree. Raises ValueError where one text is so
    short beside another that it cannot be cut into as many values.
    """
    if min(texts) == max(texts):
        return texts[0], None
    front, back = _common(texts)
    values = [text[len(front) : len(text) - len(back)] for text in texts]
    if _pieces_needed(values, longest) > min(map(len, values)):
        front, back, values = "", "", list(texts)
    pieces = _pieces_needed(values, longest)
    cut = [_cut(value, pieces, longest) for value in values]
    parameters = {
        str(place): {recipient: of_one[place] for recipient, of_one in zip(recipients, cut, strict=True)}
        for place in range(pieces)
    }
    return f"{front}{''.join(f'{{{{{place}}}}}' for place in parameters)}{back}", parameters


def _common(texts: Sequence[str]) -> tuple[str, str]:
    """What all texts begin and end with, leaving at least one character of each. Of sorted texts the outermost two decide."""
    room = min(map(len, texts)) - 1
    turned = [text[::-1] for text in texts]
    front = commonprefix([min(texts), max(texts)])[:room]  # noqa: RUF071  # these are no paths
    back = commonprefix([min(turned), max(turned)])[: room - len(front)][::-1]  # noqa: RUF071
    # Braces that somebody typed must not be taken for a placeholder of ours.
    return ("", "") if _BRACE in front + back else (front, back)


def _pieces_needed(values: Sequence[str], longest: int) -> int:
    return max(len(_cut(value, 1, longest)) for value in values)


def _cut(value: str, least: int, longest: int) -> list[str]:
    """Pieces of at most ``longest`` units, and at least ``least`` of them. No character is cut in half."""
    pieces = [value] if _units(value) <= longest else _cut_long(value, longest)
    while len(pieces) < least:
        place = max(range(len(pieces)), key=lambda place: len(pieces[place]))
        middle = len(pieces[place]) // 2
        if middle == 0:
            raise ValueError(f"a text of {len(value)} characters cannot be cut into {least} values")
        pieces[place : place + 1] = [pieces[place][:middle], pieces[place][middle:]]
    return pieces


def _cut_long(value: str, longest: int) -> list[str]:
    pieces: list[str] = []
    start = units = 0
    for end, character in enumerate(value):
        width = _units(character)
        if units + width > longest:
            pieces.append(value[start:end])
            start, units = end, 0
        units += width
    return [*pieces, value[start:]]


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
