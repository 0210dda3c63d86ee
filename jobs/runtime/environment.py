"""The source of settings: the environment, and a file of lines ``NAME=value``."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import structlog
from dotenv.parser import parse_stream

log = structlog.get_logger()

FILE: Final = "OUTBOX_ENV_FILE"
"""The setting that names a file other than ``.env`` in the working directory. If it is empty, no file is read."""
_ALIKE: Final = 0.9
"""The similarity from which a name counts as a misspelling: above that of ``SUPABASE_DB_URL`` and ``SUPABASE_URL``."""


def file() -> Path | None:
    """The file to read, None if there is none. Raises ValueError, without the line's text, if a line cannot be read."""
    named = os.environ.get(FILE)
    path = Path(".env" if named is None else named)
    if named == "" or (named is None and not path.is_file()):
        return None
    if path.is_fifo():
        raise ValueError(f"{_called(path, named)} is a pipe, but the file is read twice: use a regular file")
    try:
        with path.open(encoding="utf-8") as lines:
            for line in parse_stream(lines):
                if line.error:
                    raise ValueError(f"{path}, line {line.original.line}: is not of the form NAME=value")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueError(f"{_called(path, named)} cannot be read: {why}") from None
    return path


def _called(path: Path, named: str | None) -> str:
    return str(path) if named is None else f"{FILE}: {path}"


def misspelled(name: str, known: Collection[str]) -> str | None:
    """A name that is set, is not among the ``known``, and is similar to ``name``, which is not set."""
    return next(iter(get_close_matches(name, _unknown(known), 1, _ALIKE)), None)


def given(names: Collection[str]) -> bool:
    """Whether one of these settings has a value. Raises ValueError as :func:`file` does."""
    values = _values_in(file())
    return any(os.environ.get(name) or values.get(name) for name in names)


def warn_of_misspelled(known: Collection[str]) -> None:
    """Log names that are set, are not among the ``known``, and are similar to one of them."""
    for name, similar in misspellings(known):
        log.warning("settings.misspelled", name=name, similar_to=similar)


def misspellings(known: Collection[str]) -> list[tuple[str, str]]:
    """Names that are set and are not among the ``known``, each with the one that it is similar to."""
    return [(name, similar) for name in sorted(_unknown(known)) for similar in get_close_matches(name, known, 1, _ALIKE)]


@dataclass(frozen=True, slots=True)
class Origins:
    """Where the settings come from that have a value. ``overruled`` are those of the file that the environment contradicts."""

    file: tuple[str, ...]
    environment: tuple[str, ...]
    overruled: tuple[str, ...]


def origins(known: Collection[str]) -> Origins:
    """The origins of the ``known`` settings, without their values. Raises ValueError as :func:`file` does."""
    values = _values_in(file())
    here = {name for name in known if os.environ.get(name)}
    there = {name for name in known if values.get(name)}
    return Origins(
        file=tuple(sorted(there - here)),
        environment=tuple(sorted(here)),
        overruled=tuple(sorted(name for name in here & there if os.environ[name] != values[name])),
    )


def _unknown(known: Collection[str]) -> set[str]:
    return {*os.environ, *_values_in(file())} - {*known}


def _values_in(path: Path | None) -> dict[str, str | None]:
    if path is None:
        return {}
    with path.open(encoding="utf-8") as lines:
        return {line.key: line.value for line in parse_stream(lines) if line.key}
