"""The words of an `outbox` command, parsed as the command itself parses them, and not run."""

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from typer.main import get_command

from scheduler import cli

GENERAL = {"--help", "--version"}


@cache
def subcommand(name: str) -> Any:
    """The command that `outbox NAME` runs, or hands its words over to. None if there is none."""
    known = {one.name or one.callback.__name__: one.callback for one in cli.app.registered_commands if one.callback is not None}
    if name not in known:
        return None
    handed: list[Any] = []
    with patch.object(cli, "_hand_over", lambda _context, commands: handed.append(commands)):
        if name in {"run", "all"}:
            return get_command(cli.app).commands[name]  # type: ignore[attr-defined]
        known[name](SimpleNamespace(args=[]))
    return get_command(handed[0])


def resolve(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The innermost command that these words name, and the words that are left for it."""
    command, left = subcommand(words[0]), list(words[1:])
    while left and left[0] in getattr(command, "commands", {}):
        command = command.commands[left.pop(0)]
    return command, left


def options(command: Any) -> set[str]:
    """The options that a command takes."""
    return GENERAL | {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def refusal(words: Sequence[str]) -> str:
    """Why the command line refuses these words, which follow `outbox`. Empty if it accepts them."""
    command, left = resolve(words)
    if command is None:
        return f"there is no command {words[0]!r}"
    try:
        command.make_context("outbox", left)
    except Exception as error:  # noqa: BLE001  # of several kinds, each of which refuses the words
        return error.format_message() if hasattr(error, "format_message") else repr(error)
    return ""
