"""Prints results, errors and questions. Imports neither settings nor the Supabase client."""

import io
import json
import os
import signal
import sys
from typing import IO, Final, cast

import typer
from rich.console import Console

_UNBROKEN: Final = 100_000
"""Columns of a line to a file or a pipe: more than any line takes."""


class Failed(typer.TyperException):
    """The command failed. Its message is one line on stderr, and the exit code is 1."""


class WrongUsage(typer.TyperException):
    """The command cannot begin: an option, a folder or a setting is missing or wrong. One line on stderr, exit code 2."""

    exit_code = 2


class NotInteractive(WrongUsage):
    """A question needs an answer, and stdin is not a terminal."""


def console() -> Console:
    """The console for results. Brackets are not markup.

    Output to a file or a pipe is plain, whatever colours the environment asks for: no line is broken, unless ``COLUMNS`` sets a
    width, and no spaces fill it up.
    """
    if sys.stdout.isatty():
        return Console(highlight=False, markup=False)
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) > 0 else _UNBROKEN
    return Console(
        highlight=False,
        markup=False,
        width=width,
        file=cast("IO[str]", _Trimmed()),
        force_terminal=False,
        color_system=None,
        no_color=True,
    )


def replace_what_streams_lack() -> None:
    """Let stdout and stderr write a question mark for a character that their encoding lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def json_line(value: object) -> str:
    """The value as one line of JSON that stdout can write: characters that its encoding may lack are escaped."""
    return json.dumps(value, ensure_ascii=not (sys.stdout.encoding or "").lower().startswith("utf"))


class _Trimmed(io.TextIOBase):
    """Writes to stdout without the spaces that end a line, and without rules: rich makes them as wide as the table."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return sys.stdout.encoding

    def write(self, text: str) -> int:
        lines = text.split("\n")
        sys.stdout.write("\n".join(line.rstrip(" ") for line in lines if not line.strip(" ") or line.strip(" ─")))
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()


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
