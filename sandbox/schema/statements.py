"""Cuts SQL text into its statements."""

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)"
    r"|(?P<quoted>'(?:[^']|'')*'|\"[^\"]*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"
    r"|(?P<end>;)"
    r"|(?P<other>[^-/'\"$;]+|.)",
    re.DOTALL,
)


def statements(text: str) -> list[str]:
    """Each statement without its semicolon and without the comments outside of quotes."""
    found = [""]
    for token in _TOKEN.finditer(text):
        if token["end"]:
            found.append("")
        elif not token["comment"]:
            found[-1] += token[0]
    return [statement.strip() for statement in found if statement.strip()]
