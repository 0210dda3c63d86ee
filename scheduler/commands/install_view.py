"""The output of `outbox install`: the plan, warnings, and the next steps. Lines hold 80 characters where paths allow it."""

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from scheduler.installing.declared import Declared, Standing, is_listed
from scheduler.installing.plan import Plan

_WIDTH: Final = 80


def shown(path: Path) -> str:
    """A path relative to the working directory, and absolute if it would consist of dots only."""
    try:
        relative = Path(os.path.relpath(path))
    except ValueError:
        # Windows: another drive.
        return str(path)
    return str(relative if set(relative.parts) - {os.pardir} else path.resolve())


def say_plan(plan: Plan) -> None:
    """The files that exist and the files to come."""
    _say(f"Project: {shown(plan.project.folder)}")
    for copy in plan.survey.copies:
        _say(f"  there    {copy.path.name}{' (edited)' if copy.edited else ''}")
    for path in plan.new:
        _say(f"  missing  {path.name}")
    for file in plan.post_remains:
        _say(f"  later    {file.name}")


def warn(plan: Plan) -> None:
    """Warnings for the user, on stderr."""
    for warning in warnings(plan):
        typer.echo(_folded(f"warning: {warning}"), err=True)


def warnings(plan: Plan) -> Iterator[str]:
    """One or two sentences each."""
    survey = plan.survey
    for copy in survey.copies:
        if copy.edited:
            yield f"{copy.path.name} differs from the released file. It is left alone."
    for path in survey.repeated:
        yield f"{path.name} is a second copy of a released file, which a push refuses. Delete the copy that was not pushed yet."
    for path in survey.unknown:
        yield f"{path.name} comes from a newer release than this one. Update supabase-outbox before you install."
    for file in survey.passed_over:
        yield f"{file.name} is not there, but a newer version is. It is taken for squashed and not written."
    if survey.unseeded is not None:
        yield (
            f"{survey.unseeded.name} creates the outbox without the rows that it needs: supabase migration squash drops rows. "
            "Add this line at its end: select outbox_engine.seed();"
        )
    if plan.out_of_order:
        yield (
            "the Supabase CLI before version 3 sorts migrations by file name and puts "
            f"{', '.join(plan.out_of_order)} after the new files. If a push then misses remote versions, update the CLI."
        )
    if not plan.project.pushes_migrations:
        yield "config.toml has enabled = false in [db.migrations], so supabase db push skips migrations."
    if plan.declared is not None and plan.declared.standing is Standing.EDITED:
        yield f"{shown(plan.declared.path)} was edited, so it is left alone. Delete it to have it written anew."


def offer(declared: Declared) -> str:
    """The question about the declared schema."""
    verb = "Replace" if declared.standing is Standing.OUTDATED else "Write"
    return f"{verb} {shown(declared.path)}, so that supabase db diff does not drop the outbox?"


def say_end(plan: Plan, written: Sequence[Path], *, checked: bool, tried: bool) -> None:
    """The files that were written, and the next steps."""
    for path in written:
        _say(f"Wrote {shown(path)}")
    twice = ", ".join(path.name for path in plan.survey.repeated)
    if checked:
        fault = f"delete {twice}" if twice and not plan.new else "run outbox install"
        _say("Complete." if plan.is_complete else f"Not complete: {fault}.")
    elif tried:
        _say("Nothing was written (--dry-run).")
    elif not plan.new:
        _say(f"No migration is missing, but one is there twice: delete {twice}." if twice else "No migration is missing.")
    if plan.new and not checked:
        _say_steps(plan)
    elif plan.post_remains:
        _say("Once no process of an older release runs (outbox schema status), run outbox install --post.")
    _say_declared(plan, written)


def _say_steps(plan: Plan) -> None:
    typer.echo()
    _say("Next steps:")
    for number, step in enumerate(plan.steps, 1):
        typer.echo(textwrap.fill(step.what, _WIDTH, initial_indent=f"  {number}. ", subsequent_indent="     "))
        for command in step.commands:
            _say(f"       {command}")


def _say_declared(plan: Plan, written: Sequence[Path]) -> None:
    declared = plan.declared
    if declared is None:
        return
    if declared.path in written:
        if not is_listed(plan.project, declared.path):
            path = declared.path.relative_to(plan.project.folder).as_posix()
            _say(f'Add "./{path}" to schema_paths in config.toml, before files that use the outbox.')
    elif declared.is_wanted:
        state = "is of an older version" if declared.standing is Standing.OUTDATED else "does not exist"
        _say(
            f"This project declares its schema, and {shown(declared.path)} {state}: supabase db diff would propose to drop the "
            "outbox. outbox install --yes writes the file."
        )


def plain(plan: Plan, written: Sequence[Path]) -> dict[str, Any]:
    """The same as JSON."""
    survey = plan.survey
    return {
        "supabase": str(plan.project.folder),
        "there": [copy.path.name for copy in survey.copies],
        "edited": [copy.path.name for copy in survey.copies if copy.edited],
        "missing": [file.name for file in plan.new.values()],
        "pending_post": [file.name for file in plan.post_remains],
        "written": [str(path) for path in written],
        "declared_schema": None
        if plan.declared is None
        else {"path": str(plan.declared.path), "standing": plan.declared.standing.value},
        "warnings": list(warnings(plan)),
        "next_steps": [{"what": step.what, "commands": list(step.commands)} for step in plan.steps if plan.new],
    }


def _say(text: str) -> None:
    typer.echo(_folded(text))


def _folded(text: str) -> str:
    """A path is never wrapped: the user copies it."""
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False) if len(text) > _WIDTH else text
