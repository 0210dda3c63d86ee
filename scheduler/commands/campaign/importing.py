"""`outbox campaign import`: the lines of a CSV file become members, once all of them are checked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Final
from uuid import uuid4

import typer

from jobs.gateway.campaigning import Campaigning, Form, Imported, Line, RefusedLine
from jobs.gateway.errors import GatewayError, GatewayUnavailable
from jobs.gateway.operating import Operating
from jobs.lists.csv_rows import NotATable
from jobs.runtime.counts import counted
from jobs.runtime.masking import scrub
from scheduler.commands import members
from scheduler.commands.members import NotMembers
from scheduler.commands.operator import Failed, operate, progress, said_when_stopped, say_json, were_refused
from scheduler.commands.refusals import Refusals
from scheduler.commands.repeated import RepeatedNumbers

_AT_ONCE: Final = 2000
"""Lines in each call: a fraction of the time that the database allows a call."""
_WRITTEN_AT_ONCE: Final = 10_000
_TRIES: Final = 4


def import_members(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The campaign.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            exists=True,
            dir_okay=False,
            help="Columns external_id, recipient, timezone, event_at; all others are placeholders of the template.",
        ),
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every line, and import nothing.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Import the valid lines even if others are refused.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Import members from a CSV file.

    By external_id, new members are added, known ones changed, and others stay. A header that does not fit the template ends the
    import at once. Every refused line is printed with its number and the reason (on a terminal, only the first lines of each
    reason); then nothing is imported, unless --partial. Once all lines are checked, they become members, 10,000 in each
    transaction. If this is interrupted, import the file again. An event_at without an offset is the member's wall-clock time.
    """
    size = file.stat().st_size
    stage = _Stage()

    async def work(operating: Operating) -> int:
        with _opened(file) as lines:
            refused, imported = await _import(operating.campaigns, name, lines, size, stage, dry_run=dry_run, partial=partial)
        if imported is None:
            raise Failed(f"nothing was imported: {were_refused(refused)} (--partial imports the others)")
        if as_json:
            say_json({"imported": imported, "refused": refused, "dry_run": dry_run})
        else:
            typer.echo(_words(imported, refused, dry_run=dry_run))
        return 1 if refused and dry_run else 0

    with said_when_stopped(stage.progress):
        return operate(work)


@dataclass(slots=True)
class _Stage:
    """How far an import came."""

    staged: int = 0
    written: int = 0
    writes: bool = False

    def progress(self) -> str:
        if self.writes:
            of = f"{counted(self.staged, 'line')} {'was' if self.staged == 1 else 'were'}"
            return f"{self.written:,} of {of} imported, and perhaps more; the same file may be imported again"
        return "nothing was imported"


async def _import(
    campaigns: Campaigning, name: str, lines: IO[str], size: int, stage: _Stage, *, dry_run: bool, partial: bool
) -> tuple[int, Imported | None]:
    """How many lines were refused, and the result of the others, None if nothing was imported."""
    import_id, refusals, repeated = str(uuid4()), Refusals(), RepeatedNumbers()
    finished = False
    # A campaign that takes no members, or a header that does not fit, ends the import before the file is read.
    form = await campaigns.member_form(name)
    try:
        with progress("bytes checked", size) as show:
            for chunk in _chunks(lines, form, show):
                wrong = [line for line in chunk if isinstance(line, RefusedLine)]
                right = [line for line in chunk if isinstance(line, Line)]
                repeated.warn(right)
                refused = await campaigns.stage_members(import_id, name, right)
                stage.staged += len(right) - len(refused)
                wrong += refused
                for line in sorted(wrong, key=lambda one: one.number):
                    refusals.say(line.number, scrub(line.problem))
        refusals.say_rest()
        repeated.say_rest()
        if refusals.count and not partial and not dry_run:
            return refusals.count, None
        if dry_run:
            return refusals.count, await campaigns.count_import(import_id)
        imported = await _write(campaigns, import_id, stage)
        finished = True
        return refusals.count, imported
    except GatewayError:
        if stage.writes:
            typer.echo(f"outbox: {stage.progress()}", err=True)
        raise
    finally:
        if not finished:
            await campaigns.discard_import(import_id)


async def _write(campaigns: Campaigning, import_id: str, stage: _Stage) -> Imported:
    stage.writes = True
    with progress("lines imported", stage.staged) as show:
        while True:
            imported, left = await _write_some(campaigns, import_id)
            stage.written = imported.added + imported.changed + imported.unchanged
            show(stage.written)
            if not left:
                return imported


async def _write_some(campaigns: Campaigning, import_id: str) -> tuple[Imported, bool]:
    """A repetition waits for the first call, if that goes on, and then writes the lines after those."""
    for _ in range(_TRIES - 1):
        with suppress(GatewayUnavailable):
            return await campaigns.write_members(import_id, most=_WRITTEN_AT_ONCE)
    return await campaigns.write_members(import_id, most=_WRITTEN_AT_ONCE)


def _chunks(lines: IO[str], form: Form, show: Callable[[int], None]) -> Iterator[list[Line | RefusedLine]]:
    """Chunks of lines. A file without lines gives one empty chunk, so that the import runs and adds nothing."""
    reading = members.read(_counted(lines, show), form).lines
    chunk = list(islice(reading, _AT_ONCE))
    yield chunk
    while chunk := list(islice(reading, _AT_ONCE)):
        yield chunk


def _counted(lines: IO[str], show: Callable[[int], None]) -> Iterator[str]:
    done = 0
    for line in lines:
        done += len(line.encode())
        show(done)
        yield line


@contextmanager
def _opened(file: Path) -> Iterator[IO[str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield lines
    except UnicodeDecodeError as error:
        raise Failed(f"{file} is not UTF-8 text ({error.reason})") from None
    except NotMembers as error:
        for problem in error.problems:
            typer.echo(f"{file}: {problem}", err=True)
        raise Failed(f"nothing was imported: the first line of {file} does not fit the campaign") from None
    except NotATable as error:
        raise Failed(f"{file}: {error}") from None


def _words(imported: Imported, refused: int, *, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    counts = f"{imported.added} {would}added, {imported.changed} {would}changed, {imported.unchanged} unchanged"
    return f"{counts}, {refused} refused{'; nothing was imported' if dry_run else ''}"
