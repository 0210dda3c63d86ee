"""The steps after `outbox install` has written files, in order."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.schema.releases import Kind, ReleaseFile, Releases


@dataclass(frozen=True, slots=True)
class Step:
    """``what`` is one line. ``commands`` are to be typed as they are."""

    what: str
    commands: tuple[str, ...] = ()


def next_steps(written: Sequence[ReleaseFile], releases: Releases, *, first: bool, post_remains: bool) -> list[Step]:
    """The steps after ``written`` files, which are post files or contain none.

    ``first`` is True if the project had no released file before. Then they are all files.
    """
    # Without a flag, version 2 of the CLI pushes to the linked project, and version 3 to the local one.
    push = Step("Apply the migrations to the linked project. Locally: supabase migration up", ("supabase db push --linked",))
    begin = Step(
        "Apply the migrations: to a local project with the first command (supabase migration up if it runs already), to the "
        "linked one with the second.",
        ("supabase start", "supabase db push --linked"),
    )
    settings = Step(
        "Write the settings into .env: SUPABASE_URL, SUPABASE_SECRET_KEY and those of your provider, see docs/settings.md."
    )
    if not first and any(file.kind is Kind.POST for file in written):
        return [
            Step("Make sure that no process of an older release runs.", ("outbox schema status",)),
            push,
            Step("Running processes need no restart."),
        ]
    if first:
        steps = [
            begin,
            settings,
            Step("Start the processes, each in a terminal of its own.", ("outbox run", "outbox webhook")),
            Step("See whether all of it works.", ("outbox doctor",)),
        ]
    elif any(releases.version(file.number).breaking for file in written):
        steps = [
            Step("Stop outbox run and outbox webhook everywhere: older releases cannot work with this version."),
            push,
            Step("Start the new release of both.", ("outbox run", "outbox webhook")),
        ]
    else:
        steps = [
            Step(f"{push.what}. Old processes may go on.", push.commands),
            Step("Then restart the processes with the new release.", ("outbox run", "outbox webhook")),
        ]
    if post_remains:
        steps.append(
            Step(
                "When no process of an older release runs, remove what only those need.",
                ("outbox install --post", *push.commands),
            )
        )
    return steps
