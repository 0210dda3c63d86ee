"""Lets texts that differ travel in one request: what they begin and end with is said once, the rest for each recipient."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from os.path import commonprefix

_PLACEHOLDERS = "{{"


def share(texts: Sequence[str], recipients: Sequence[str], *, longest: int) -> tuple[str, Mapping[str, Mapping[str, str]] | None]:
    """The body and parameters of a :class:`~jobs.providers.base.Submission` that gives each recipient the text in its place.

    No value is empty or has more than ``longest`` UTF-16 units; what is longer becomes several. None where all texts agree.
    """
    first, last = min(texts), max(texts)
    if first == last:
        return first, None
    front, back = _common(first, last, texts)
    values = [text[len(front) : len(text) - len(back)] for text in texts]
    columns = list(zip_longest(*(_pieces(value, longest) for value in values), fillvalue=""))
    parameters = {
        str(place): {recipient: piece for recipient, piece in zip(recipients, column, strict=True) if piece}
        for place, column in enumerate(columns)
    }
    for values_of_one in parameters.values():
        if len(values_of_one) < len(recipients):
            values_of_one["default"] = ""
    body = "".join(f"{{{{{place}}}}}" for place in parameters)
    return f"{front}{body}{back}", parameters


def _common(first: str, last: str, texts: Sequence[str]) -> tuple[str, str]:
    """What all texts begin and end with, leaving at least one character of each. Of sorted texts the outermost two decide."""
    room = min(map(len, texts)) - 1
    front = commonprefix([first, last])[:room]
    turned = [text[::-1] for text in texts]
    back = commonprefix([min(turned), max(turned)])[: room - len(front)][::-1]
    # Somebody's own braces must not be taken for a placeholder.
    return ("", "") if "{" in front + back else (front, back)


def _pieces(value: str, longest: int) -> Iterator[str]:
    """A character outside the basic plane takes two units; none is cut in half."""
    start = units = 0
    for end, character in enumerate(value):
        width = 2 if character > "\uffff" else 1
        if units + width > longest:
            yield value[start:end]
            start, units = end, 0
        units += width
    yield value[start:]
