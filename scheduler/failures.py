"""What a command prints on stderr when it fails, and its exit code."""

import json
from collections.abc import Sequence

import typer

_PLAINER = {
    "Input should be a valid integer, unable to parse string as an integer": "it is not a whole number",
    "Input should be a valid number, unable to parse string as a number": "it is not a number",
    "Input should be": "it has to be",
}
"""Words of the library that checks the values of options, and ours."""


def failed(error: Exception, *, as_json: bool) -> int:
    """Print what went wrong, one line for each problem or one JSON object, and return the exit code."""
    if isinstance(error, typer.TyperException):
        return _print([_in_short(error.format_message())], error.exit_code, as_json=as_json)
    problems, exit_code = _unexpected(error)
    return _print(problems, exit_code, as_json=as_json)


def _in_short(message: str) -> str:
    """Where no command was given, the message is the whole help; one line that says where to find it is enough."""
    for words, plainer in _PLAINER.items():
        message = message.replace(words, plainer)
    usage, _, _ = message.removeprefix("Usage: ").partition(" [")
    return f"a command is missing: {usage} --help lists them" if message.startswith("Usage: ") else message


def _unexpected(error: Exception) -> tuple[Sequence[str], int]:
    # Here and not above: `outbox --help` needs neither settings nor logs.
    import structlog

    from jobs.runtime.masking import scrub
    from jobs.runtime.settings import SettingsError

    if isinstance(error, SettingsError):
        return error.problems, 2
    structlog.get_logger().exception("command.failed")
    return [f"failed: {type(error).__name__}: {scrub(str(error))}"], 1


def _print(problems: Sequence[str], exit_code: int, *, as_json: bool) -> int:
    # A command that printed its help on its own has nothing more to say.
    lines = [" ".join(problem.split()) for problem in problems if problem.strip()]
    if as_json and lines:
        typer.echo(json.dumps({"error": lines[0], "errors": lines, "exit_code": exit_code}), err=True)
        return exit_code
    for line in lines:
        typer.echo(f"outbox: {line}", err=True)
    return exit_code
