"""CSV files that people open in a spreadsheet."""

import re
from typing import Final

FORMULA: Final = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""Text that a spreadsheet takes for a formula. East Asian spreadsheets take the wide signs too."""


def defused(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would read it as a formula."""
    return f"'{text}" if FORMULA.match(text.lstrip("'")) else text
