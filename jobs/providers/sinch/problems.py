"""The body of a refusal, in every shape that Sinch documents or shows in samples.

- ``{"code": "…", "text": "…"}``: the SMS API's own. Some samples say ``description`` or ``message`` in place of ``text``.
- ``{"error": {"code": 400, "status": "…", "message": "…", "details": […]}}``: the sample beside 400 and 401 on the same page.
- The same with numbers for codes, nested once more, or as a list of errors: Sinch's other APIs, and gateways before them.
- No JSON, or JSON that broke off: a gateway's page, a lost connection. It has neither code nor text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobs.providers.answers import LONGEST_LINE, printable
from jobs.providers.lenient import json_text

_CODES: Final = ("code", "errorCode", "error_code", "messageId", "status", "reason")
_TEXTS: Final = ("text", "description", "message", "title", "detail", "field")
_NESTED: Final = ("error", "errors", "requestError", "serviceException", "policyException", "details", "fieldViolations")
_MOST_DEPTH: Final = 6
_MOST_PARTS: Final = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """``codes`` are all that the body holds, numbers too, the outermost first; ``text`` joins its words. Both are printable."""

    codes: tuple[str, ...] = ()
    text: str = ""

    @property
    def code(self) -> str | None:
        """The first code that is a word, which says more than a number; else the first; None if there is none."""
        return next((code for code in self.codes if not code.isdecimal()), next(iter(self.codes), None))


def problem(body: bytes | None) -> Problem:
    """Read the body of a refusal. ``body`` is None if it broke off. Never raises."""
    try:
        decoded = msgspec.json.decode(json_text(body or b""))
    except (ValueError, RecursionError):
        return Problem()
    codes, texts = [], []
    for name, value in _leaves(decoded, "", _MOST_DEPTH):
        line = printable(value)
        if line and name in _CODES and line not in codes:
            codes.append(line)
        elif line and name in (*_TEXTS, *_NESTED) and line not in texts:
            texts.append(line)
    return Problem(tuple(codes[:_MOST_PARTS]), printable(": ".join(texts[:_MOST_PARTS])))


def _leaves(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    """The strings and numbers of the body with the names of their fields, a level's own before those of nested ones."""
    if isinstance(value, list) and depth:
        for item in value[:_MOST_PARTS]:
            yield from _leaves(item, name, depth - 1)
    elif isinstance(value, dict) and depth:
        for key in (*_CODES, *_TEXTS):
            if isinstance(value.get(key), str | int):
                yield key, str(value[key])[: 2 * LONGEST_LINE]
        for key in _NESTED:
            yield from _leaves(value.get(key), key, depth - 1)
    elif isinstance(value, str):
        yield name, value[: 2 * LONGEST_LINE]
