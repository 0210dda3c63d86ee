"""Writes a file that only its owner may read."""

import os
from pathlib import Path

import typer

from scheduler.commands.terminal import WrongUsage


def check(file: Path, *, replace: bool) -> None:
    """Raises typer.BadParameter if no file can be written there, and :class:`WrongUsage` if there is one already."""
    if not file.name or file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"{file}: no file can be written there. Name another file")
    if not replace and os.path.lexists(file):
        raise WrongUsage(f"{file} exists: name another file, or replace it with --force")


def write(file: Path, text: str, *, replace: bool) -> None:
    """Write ``text`` as UTF-8. The file gets its name only when all of it is written."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        # Never through a link, and never with the rights of a file that was there before.
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        check(file, replace=replace)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
