"""Whether this package may work with the schema that a database has."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from jobs.schema.installed import AppliedVersion, InstalledSchema
from jobs.schema.releases import Kind, Releases

INSTALL: Final = "run outbox install and supabase db push"
SEED: Final = "run `select outbox_engine.seed();` in the SQL editor"


class Fit(Enum):
    """How the two relate."""

    SAME = "same"
    NEWER = "newer"
    TOO_OLD = "too_old"
    UNSEEDED = "unseeded"
    TOO_NEW = "too_new"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``message`` is one line that says what is wrong and what to do; empty where both have the same versions."""

    fit: Fit
    message: str = ""

    @property
    def allows_work(self) -> bool:
        """Whether a process may read and write rows."""
        return self.fit in (Fit.SAME, Fit.NEWER)


def judge(releases: Releases, installed: InstalledSchema | None) -> Verdict:
    """Compare what the package knows with what the database has. ``installed`` is None where nothing is installed.

    Versions are applied in order, so the newest number of each side says everything.
    """
    if not releases.versions and (installed is None or not installed.versions):
        return Verdict(Fit.SAME)
    if installed is None:
        return Verdict(Fit.TOO_OLD, f"the outbox schema is not in the database: {_missing(releases, newest=0)}; {INSTALL}")

    unknown = [version for version in installed.versions if version.number > releases.newest]
    breaking = next((version for version in reversed(unknown) if version.breaking), None)
    if breaking is not None:
        return too_new(breaking)

    # The versions are such rows too, so nothing can be said of them before they are back.
    if not (installed.seeded and installed.versions):
        return Verdict(
            Fit.UNSEEDED,
            f"the outbox schema is in the database without the rows that it needs, as after supabase migration squash: {SEED}",
        )

    missing = _missing(releases, newest=installed.newest)
    if missing:
        return Verdict(
            Fit.TOO_OLD,
            f"the database has schema version {installed.newest}, this version of supabase-outbox needs {releases.newest}: "
            f"{missing}; {INSTALL}",
        )
    if unknown:
        newest = unknown[-1]
        return Verdict(
            Fit.NEWER,
            f"the database has schema version {newest.number} (release {newest.release}), this version of supabase-outbox "
            f"knows {releases.newest}: it works, update it when convenient",
        )
    return Verdict(Fit.SAME)


def _missing(releases: Releases, *, newest: int) -> str:
    """In words, the files that a database with version ``newest`` lacks. Processes work without post files, so none counts."""
    names = [file.name for file in releases.files if file.number > newest and file.kind is not Kind.POST]
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} missing" if names else ""


def too_new(breaking: AppliedVersion) -> Verdict:
    """The verdict on a breaking version that this package does not know."""
    return Verdict(
        Fit.TOO_NEW,
        f"the database has schema version {breaking.number} (release {breaking.release}), which this version of "
        f"supabase-outbox cannot work with: update it to {breaking.release} or newer",
    )
