"""`outbox install`: puts the released schema files into a Supabase project."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from jobs.runtime.counts import counted
from jobs.schema import releases as released
from jobs.schema.releases import BrokenPackage
from scheduler.commands import install_hook as hook
from scheduler.commands import install_view as view
from scheduler.commands.terminal import Failed, WrongUsage, agreed, json_line
from scheduler.installing import project as projects
from scheduler.installing.files import write_all
from scheduler.installing.plan import Plan, TooEarly, make_plan
from scheduler.installing.project import NoProject, Project
from scheduler.installing.survey import TakenUp


def install(
    *,
    supabase: Annotated[
        Path | None,
        typer.Option("--supabase", metavar="DIR", help="The folder that holds config.toml, or its parent."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if files are missing. For CI.")] = False,
    post: Annotated[
        bool,
        typer.Option(
            "--post",
            help="Add post files, which remove objects that only older releases need. Refused while others are missing.",
        ),
    ] = False,
    holds: Annotated[
        int,
        typer.Option("--from", metavar="VERSION", min=0, help="The version that a squashed migration contains."),
    ] = 0,
    auth_hook: Annotated[
        bool,
        typer.Option("--auth-hook", help="Also have Supabase Auth send its one-time codes through the outbox."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Write the missing schema files into supabase/migrations of your project.

    Finds the project in this folder or above it, asks once, never overwrites a migration, and writes all files or none. Run it
    again after each update of the outbox. `supabase db push --linked` then applies the files. The last lines say what
    comes next.
    """
    plan = _plan(supabase, holds=holds, post=post)
    view.warn(plan)
    if not as_json:
        view.say_plan(plan)

    written: Sequence[Path] = ()
    if not check and not dry_run:
        agreed_to = _write(plan, yes=yes)
        if agreed_to is None:
            typer.echo("Nothing was written.", err=as_json)
            return 1
        written = agreed_to
    config = hook.read(plan.project) if auth_hook else None
    configured = config is not None and not check and not dry_run and hook.write(config, yes=yes)
    if as_json:
        hook_said = None if config is None else hook.plain(config, written=configured)
        typer.echo(json_line(view.plain(plan, written) | {"auth_hook": hook_said}))
    else:
        view.say_end(plan, written, checked=check, tried=dry_run)
        if config is not None:
            hook.say(config, written=configured)
        elif plan.new and not check:
            typer.echo(hook.OFFER)
    is_complete = plan.is_complete and (config is None or config.is_complete)
    return 1 if check and not is_complete else 0


def _plan(given: Path | None, *, holds: int, post: bool) -> Plan:
    try:
        project = _project(given)
        releases = released.packaged()
        if not releases.versions:
            raise Failed("this build of supabase-outbox carries no released schema version: install a release")
        if holds > releases.newest:
            raise WrongUsage(f"--from {holds}: the newest schema version of this release is {releases.newest}")
        return make_plan(project, releases, now=datetime.now(UTC), holds=holds, post=post)
    except (TakenUp, TooEarly, BrokenPackage) as error:
        raise Failed(str(error)) from None
    except OSError as error:
        raise Failed(_words(error)) from None


def _project(given: Path | None) -> Project:
    try:
        project = projects.find(Path.cwd(), given)
    except NoProject as error:
        raise WrongUsage(str(error)) from None
    if project.folder.resolve() == released.folder().resolve():
        raise WrongUsage("this is the repository of the outbox: go to your own project, or name its folder with --supabase")
    return project


def _write(plan: Plan, *, yes: bool) -> list[Path] | None:
    """The files that were written, or None if the user refused."""
    if plan.new and not agreed(f"Write {counted(len(plan.new), 'file')} into {view.shown(plan.project.migrations)}?", yes=yes):
        return None
    replaced = {}
    declared = plan.declared
    # If there is nothing else to write, this question must not fail without a terminal.
    if declared and declared.is_wanted and (plan.new or yes or sys.stdin.isatty()) and agreed(view.offer(declared), yes=yes):
        replaced[declared.path] = declared.text
    try:
        write_all({path: file.text for path, file in plan.new.items()}, replaced=replaced)
    except OSError as error:
        raise Failed(f"nothing was written: {_words(error)}") from None
    return [*plan.new, *replaced]


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
