"""What commands say to people and ask them. Loads neither settings nor the Supabase client."""

import signal
import sys
from typing import Final

import typer
from rich.console import Console

_PIPED_WIDTH: Final = 160


class Failed(typer.TyperException):
    """The command could not do what it was asked to. Its words are one line on stderr, and the exit code is 1."""


class WrongUsage(typer.TyperException):
    """The command cannot begin: an option, a folder or a setting is missing or wrong. One line on stderr, exit code 2."""

    exit_code = 2


class NotInteractive(WrongUsage):
    """A question whose answer was not given along, and nobody at the keyboard."""


def console() -> Console:
    """Where results go. Lines that go to a file or a pipe are not folded at 80 characters, and brackets stay what they are."""
    piped = not sys.stdout.isatty()
    return Console(highlight=False, markup=False, width=_PIPED_WIDTH if piped else None)


def counted(count: int, noun: str) -> str:
    """A number of things for people: ``0 lines``, ``1 line``, ``2,000 lines``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def agreed(question: str, *, yes: bool) -> bool:
    """Whether to go on. Where nobody can be asked, only ``--yes`` agrees."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise NotInteractive(f"{question} There is no terminal to ask at: --yes agrees")
    # The event loop takes Ctrl-C for itself, and does not turn while somebody is asked.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm(question, err=True)
    finally:
        signal.signal(signal.SIGINT, handler)
