"""Body parameters: texts that differ travel in one request, which carries their common beginning and end once."""

from collections.abc import Mapping, Sequence
from os.path import commonprefix

_BRACE = "{"


def body_and_parameters(
    texts: Sequence[str], recipients: Sequence[str], *, longest: int
) -> tuple[str, Mapping[str, Mapping[str, str]] | None]:
    """The body and parameters of a :class:`~jobs.providers.base.Submission` that gives each recipient the text at its index.

    Each recipient has each value. No value is empty, and none has more than ``longest`` UTF-16 units: a longer one is cut into
    values that follow each other. Parameters are None if all texts are equal. Raises ValueError if one text is so much shorter
    than another that it cannot be cut into as many values.
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
        str(index): {recipient: of_one[index] for recipient, of_one in zip(recipients, cut, strict=True)}
        for index in range(pieces)
    }
    return f"{front}{''.join(f'{{{{{index}}}}}' for index in parameters)}{back}", parameters


def _common(texts: Sequence[str]) -> tuple[str, str]:
    """The common beginning and end, leaving at least one character of each text. Of sorted texts the outermost two decide."""
    room = min(map(len, texts)) - 1
    reversed_texts = [text[::-1] for text in texts]
    front = commonprefix([min(texts), max(texts)])[:room]  # noqa: RUF071  # these are no paths
    back = commonprefix([min(reversed_texts), max(reversed_texts)])[: room - len(front)][::-1]  # noqa: RUF071
    # The provider must not take braces of the text for a placeholder of ours.
    return ("", "") if _BRACE in front + back else (front, back)


def _pieces_needed(values: Sequence[str], longest: int) -> int:
    return max(len(_cut(value, 1, longest)) for value in values)


def _cut(value: str, least: int, longest: int) -> list[str]:
    """At least ``least`` pieces of at most ``longest`` UTF-16 units each. No character is cut in half."""
    pieces = [value] if _units(value) <= longest else _cut_long(value, longest)
    while len(pieces) < least:
        index = max(range(len(pieces)), key=lambda index: len(pieces[index]))
        middle = len(pieces[index]) // 2
        if middle == 0:
            raise ValueError(f"a text of {len(value)} characters cannot be cut into {least} values")
        pieces[index : index + 1] = [pieces[index][:middle], pieces[index][middle:]]
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
