"""The rules for SQL sources, for `make check`: short functions, short lines, references in one direction."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from sandbox.schema import release, source

MAX_LINES: Final = 80
MAX_COLUMNS: Final = 110

LONG_FUNCTIONS: Final = frozenset[str]()
"""Functions that are longer than allowed. This list may only shrink."""

WIDE_FILES: Final = frozenset[str]()
"""Files with lines that are wider than allowed. This list may only shrink."""


def complaints(folder: Path = release.SCHEMAS) -> Iterator[str]:
    """One line for each broken rule, and for each exception that is no longer needed."""
    schema = source.read(folder)
    yield from (f"a call upwards: {line}" for line in schema.upward())
    yield from (f"a cycle: {line}" for line in schema.cycles())
    yield from _long(schema)
    yield from _wide(folder, schema.files)


def _long(schema: source.Schema) -> Iterator[str]:
    long = {function.name: function for function in schema.functions if function.lines > MAX_LINES}
    for name in sorted(long.keys() - LONG_FUNCTIONS):
        yield f"{long[name].file}: {name} has {long[name].lines} lines, more than {MAX_LINES}"
    for name in sorted(LONG_FUNCTIONS - long.keys()):
        yield f"{name} is short enough now: take it off LONG_FUNCTIONS"


def _wide(folder: Path, files: tuple[str, ...]) -> Iterator[str]:
    for file in files:
        wide = _wide_lines(folder / file)
        if wide and file not in WIDE_FILES:
            yield from (f"{file}:{number}: wider than {MAX_COLUMNS} columns" for number in wide)
        elif not wide and file in WIDE_FILES:
            yield f"{file} is narrow enough now: take it off WIDE_FILES"


def scripts() -> Sequence[Path]:
    """The SQL that users run and no release contains."""
    return [release.SUPABASE / "uninstall.sql", *sorted((release.SUPABASE / "examples").glob("*.sql"))]


def wide_scripts(paths: Sequence[Path] | None = None) -> Iterator[str]:
    """One line for each line of these scripts that is wider than allowed; by default of :func:`scripts`."""
    for path in scripts() if paths is None else paths:
        yield from (f"{path}:{number}: wider than {MAX_COLUMNS} columns" for number in _wide_lines(path))


def _wide_lines(path: Path) -> list[int]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if len(line) > MAX_COLUMNS]


def summary(folder: Path = release.SCHEMAS) -> str:
    """The checked sources in figures, in one line."""
    schema = source.read(folder)
    lines = [function.lines for function in schema.functions]
    return (
        f"SQL: {len(lines)} functions in {len(schema.files)} files, median {median(lines):.0f} lines, longest {max(lines)};"
        f" {len(list(schema.upward()))} references upwards"
    )
