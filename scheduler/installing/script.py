"""The released files as one script, for psql and other tools that are not the Supabase CLI."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from jobs.schema.releases import Kind, ReleaseFile, Releases

_OUTSIDE_TRANSACTIONS: Final = re.compile(
    r"^\s*(?:create\s+(?:unique\s+)?index|drop\s+index|reindex\b.*)\s+concurrently\b", re.IGNORECASE | re.MULTILINE
)


def files_between(releases: Releases, start: int, end: int, *, post: bool) -> list[ReleaseFile]:
    """The files that lead from version ``start`` to version ``end``; version 0 is an empty database.

    ``post`` adds post files for an empty database. For another one it gives them alone: they run after the old processes have
    ended, and these end after the other files ran.
    """
    files = [file for file in releases.files if start < file.number <= end]
    if start == 0:
        return [file for file in files if post or file.kind is not Kind.POST]
    return [file for file in files if (file.kind is Kind.POST) == post]


def script(files: Sequence[ReleaseFile]) -> str:
    """Each file in a transaction of its own, as the Supabase CLI applies it."""
    return "\n".join(_statements(files))


def _statements(files: Sequence[ReleaseFile]) -> Iterator[str]:
    for file in files:
        # PostgreSQL refuses these statements inside a transaction.
        alone = _OUTSIDE_TRANSACTIONS.search(file.text) is not None
        begin, commit = ("", "") if alone else ("begin;\n\n", "\ncommit;\n")
        yield f"-- {file.name}\n\n{begin}{file.text.rstrip()}\n{commit}"
