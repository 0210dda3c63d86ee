"""Prints results, errors and questions. Imports neither settings nor the Supabase client."""

import io
import os
import signal
import sys
from typing import IO, Final, cast

import typer
from rich.console import Console

_PIPED_WIDTH: Final = 160


class Failed(typer.TyperException):
    """The command failed. Its message is one line on stderr, and the exit code is 1."""


class WrongUsage(typer.TyperException):
    """The command cannot begin: an option, a folder or a setting is missing or wrong. One line on stderr, exit code 2."""

    exit_code = 2


class NotInteractive(WrongUsage):
    """A question needs an answer, and stdin is not a terminal."""


def console() -> Console:
    """The console for results. Brackets are not markup.

    Lines to a file or a pipe are 160 characters wide, or as wide as ``COLUMNS`` says, and no spaces fill them up.
    """
    if sys.stdout.isatty():
        return Console(highlight=False, markup=False)
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) > 0 else _PIPED_WIDTH
    return Console(highlight=False, markup=False, width=width, file=cast("IO[str]", _Trimmed()))


class _Trimmed(io.TextIOBase):
    """Writes to stdout without the spaces that end a line: rich fills each line of a table to its full width."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return sys.stdout.encoding

    def write(self, text: str) -> int:
        lines = text.split("\n")
        sys.stdout.write("\n".join(line.rstrip(" ") for line in lines))
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()


def counted(count: int, noun: str) -> str:
    """A count with its noun: ``0 lines``, ``1 line``, ``2,000 lines``, ``2 batches``, ``2 replies``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {f'{noun[:-1]}ies' if noun.endswith('ly') else f'{noun}es' if noun.endswith('ch') else f'{noun}s'}"


def agreed(question: str, *, yes: bool) -> bool:
    """Ask whether to go on. Without a terminal, only ``--yes`` agrees."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise NotInteractive(f"{question} There is no terminal to ask at: --yes agrees")
    # The event loop handles Ctrl-C itself, and does not run while the question waits for an answer.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm(question, err=True)
    finally:
        signal.signal(signal.SIGINT, handler)
