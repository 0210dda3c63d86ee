"""Reads bytes that are almost JSON, so that one odd character loses neither a report nor a reply.

What a phone or a carrier writes passes through here: half an emoji, a NUL, a raw line break, a byte of another encoding. JSON
or the database refuses each of these, and the whole text with it.
"""

import re
from typing import Final

# A string that never ends reaches to the end of the text: sought again from each quote in it, a megabyte would take hours.
_STRING: Final = r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
_LITERAL: Final = re.compile(_STRING, re.DOTALL)
_HALF_HIGH, _HALF_LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ODD: Final = re.compile(rf'{_HALF_HIGH}{_HALF_LOW}|\\u([0-9a-fA-F]{{4}})|\\["\\/bfnrt]|\\|[\x00-\x1f]')
_TOKEN: Final = re.compile(rf"{_STRING}|[\[\]{{}},]", re.DOTALL)
_CLOSES: Final = {"]": "[", "}": "{"}
_SURROGATES: Final = range(0xD800, 0xE000)
_REPLACEMENT: Final = "\ufffd"


def json_text(raw: bytes) -> str:
    """``raw`` as JSON text whose strings can be read and stored; unchanged if they can be already.

    A NUL is left out. U+FFFD replaces a byte that is not UTF-8, a surrogate without its other half, and the backslash of an
    escape that JSON does not know. A raw control character is escaped. Text that is no JSON stays so.
    """
    text = raw.decode(errors="replace").removeprefix("\ufeff")
    # Most callbacks are plain ASCII, and this check is all that they cost.
    if text.isprintable() and "\\" not in text:
        return text
    return _LITERAL.sub(_repaired, text)


def array_items(text: str, name: str) -> tuple[list[str], str] | None:
    """Split the array ``name`` of a JSON object into its items, some of which may be no JSON.

    Also returns the rest of the object, without the array. None if the object has no such array, or if it does not end.
    """
    begin = re.search(rf'"{name}"\s*:\s*\[', text)
    if begin is None:
        return None
    items: list[str] = []
    opened: list[str] = []
    start = begin.end()
    for token in _TOKEN.finditer(text, start):
        sign = token.group()
        if not opened and sign in (",", "]"):
            items.append(text[start : token.start()].strip())
            start = token.end()
            if sign == "]":
                return [item for item in items if item], text[: begin.start()] + text[start:]
        elif sign in _CLOSES.values():
            opened.append(sign)
        elif _CLOSES.get(sign) in opened:
            # Whatever an item left open inside ends with it.
            while opened.pop() != _CLOSES[sign]:
                pass
    return None


def _repaired(literal: re.Match[str]) -> str:
    string = literal.group()
    return string if string.isprintable() and "\\" not in string else _ODD.sub(_replacement, string)


def _replacement(found: re.Match[str]) -> str:
    sign, escaped = found.group(), found.group(1)
    if escaped is not None:
        unit = int(escaped, 16)
        return "" if unit == 0 else _REPLACEMENT if unit in _SURROGATES else sign
    if sign == "\\":
        return _REPLACEMENT
    if sign < " ":
        return "" if sign == "\0" else f"\\u{ord(sign):04x}"
    return sign
