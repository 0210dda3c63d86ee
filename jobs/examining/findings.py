"""What a check finds."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """The result of one look. Only ``FAILED`` makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """``advice`` says what to do and names the setting or command, empty if there is nothing to do."""

    check: str
    mark: Mark
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Finder:
    """Makes the findings of one check."""

    check: str

    def ok(self, found: str) -> Finding:
        return Finding(self.check, Mark.OK, found)

    def warning(self, found: str, advice: str = "") -> Finding:
        return Finding(self.check, Mark.WARNING, found, advice)

    def failed(self, found: str, advice: str = "") -> Finding:
        return Finding(self.check, Mark.FAILED, found, advice)

    def skipped(self, found: str, advice: str = "") -> Finding:
        return Finding(self.check, Mark.SKIPPED, found, advice)


def some(names: Iterable[str], most: int = 4) -> str:
    """The first names of a list, and how many more there are."""
    listed = sorted(names)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")
