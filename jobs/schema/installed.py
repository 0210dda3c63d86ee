"""The schema versions that a database says it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class AppliedVersion:
    """One version that was applied to the database. ``release`` is the package version that brought it."""

    number: int
    breaking: bool
    release: str
    applied_at: datetime | None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "AppliedVersion":
        at = row.get("applied_at")
        return cls(
            number=row["version"],
            breaking=row["breaking"],
            release=row["release"],
            applied_at=None if at is None else datetime.fromisoformat(at),
        )


@dataclass(frozen=True, slots=True)
class InstalledSchema:
    """Every version of one database, oldest first.

    ``seeded``: the rows are there that the engine needs before the first message. ``old_processes`` ticked in the last minute
    and know fewer versions; None if unknown. ``old_process_seconds_ago`` is the time since the latest tick of such a process
    within a day; None if there was none.
    """

    versions: tuple[AppliedVersion, ...]
    seeded: bool = True
    old_processes: int | None = None
    old_process_seconds_ago: float | None = None

    @property
    def newest(self) -> int:
        """The number of the newest version, 0 where there is none."""
        return max((version.number for version in self.versions), default=0)

    @classmethod
    def parse(cls, answer: dict[str, Any]) -> "InstalledSchema":
        """Read the answer of ``outbox_schema_version()``. A later version of it may say more."""
        versions = [AppliedVersion.parse(row) for row in answer["versions"]]
        old, ago = answer.get("processes"), answer.get("old_process_seconds_ago")
        return cls(
            versions=tuple(sorted(versions, key=lambda version: version.number)),
            seeded=answer.get("seeded") is not False,
            old_processes=old if isinstance(old, int) else None,
            old_process_seconds_ago=ago if isinstance(ago, int | float) else None,
        )
