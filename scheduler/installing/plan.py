"""The changes that `outbox install` is about to make."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jobs.schema.releases import ReleaseFile, Releases
from scheduler.installing.declared import Declared, Standing, declared
from scheduler.installing.project import Project
from scheduler.installing.stamps import new_stamps, sorted_before_by_name
from scheduler.installing.steps import Step, next_steps
from scheduler.installing.survey import Survey, survey


class TooEarly(Exception):
    """Post files were asked for before the files that come first are in the project. The text is one line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``new`` holds the path of each file to write, in the order in which they run.

    ``out_of_order`` are versions in use that a CLI before version 3 sorts after the new files.
    """

    project: Project
    survey: Survey
    new: dict[Path, ReleaseFile]
    post_remains: tuple[ReleaseFile, ...]
    declared: Declared | None
    out_of_order: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def is_complete(self) -> bool:
        """The condition of `--check`. A declared schema must be up to date if it exists; to have one is the user's choice."""
        outdated = self.declared is not None and self.declared.standing is Standing.OUTDATED
        return not (self.new or self.survey.repeated or outdated)


def make_plan(project: Project, releases: Releases, *, now: datetime, holds: int = 0, post: bool = False) -> Plan:
    """Compare the project with the releases. ``now`` is in UTC.

    Post files are planned alone: they run after the old processes have ended, and these end after the other files were pushed.
    A project without the outbox has no old processes, so it gets all files at once.
    Raises :class:`TooEarly`, :class:`scheduler.installing.survey.TakenUp`, or OSError where the project cannot be read.
    """
    found = survey(project, releases, holds=holds)
    if post and found.missing:
        names = ", ".join(file.name for file in found.missing)
        raise TooEarly(
            f"--post: {names} {'is' if len(found.missing) == 1 else 'are'} not in the project yet: run outbox install and "
            "supabase db push, restart the processes, then run this again"
        )
    first = not (found.copies or found.unknown or holds)
    wanted: Sequence[ReleaseFile] = found.pending_post if post else found.missing
    if first:
        wanted = _in_order(releases, [*found.missing, *found.pending_post])
    versions = project.versions()
    stamps = new_stamps(versions, now, len(wanted))
    post_remains = () if post or first else found.pending_post

    # Files that exist under another name count too.
    squashed = (file for file in releases.files if file.number <= holds)
    complete = _in_order(releases, {*(copy.file for copy in found.copies), *found.passed_over, *squashed, *wanted})
    return Plan(
        project=project,
        survey=found,
        new={project.migrations / f"{stamp}_{file.name}": file for stamp, file in zip(stamps, wanted, strict=True)},
        post_remains=post_remains,
        declared=declared(project, complete),
        out_of_order=tuple(sorted_before_by_name(versions, stamps[0])) if stamps else (),
        steps=tuple(next_steps(wanted, releases, first=first, post_remains=bool(post_remains))),
    )


def _in_order(releases: Releases, files: Iterable[ReleaseFile]) -> list[ReleaseFile]:
    return sorted(files, key=releases.files.index)
