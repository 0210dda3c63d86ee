"""Prints the refused lines of a file on stderr."""

import re
import sys
from collections import Counter
from typing import Final

import typer

_AT_MOST: Final = 20
_VALUE: Final = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\d+")
"""The part that differs between lines that are refused for the same reason."""


class Refusals:
    """Prints each line with its number and the reason.

    On a terminal it prints only the first 20 lines of each reason, and at the end how many more there are.
    """

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._reasons: Counter[str] = Counter()
        self._last: dict[str, str] = {}

    @property
    def count(self) -> int:
        return self._reasons.total()

    def say(self, line: int, problem: str) -> None:
        reason = _VALUE.sub("…", problem)
        self._reasons[reason] += 1
        self._last[reason] = problem
        if not self._on_terminal or self._reasons[reason] <= _AT_MOST:
            typer.echo(f"line {line}: {problem}", err=True)

    def say_rest(self) -> None:
        """After the last line, print how many lines were left out, and how to see them."""
        left_out = {reason: count - _AT_MOST for reason, count in self._reasons.items() if count > _AT_MOST}
        if not self._on_terminal or not left_out:
            return
        for reason, count in left_out.items():
            typer.echo(f"and {count:,} more, such as: {self._last[reason]}", err=True)
        typer.echo("(write stderr to a file to see all of them: 2> refused.txt)", err=True)
