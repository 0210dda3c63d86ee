"""`outbox suppressions`: imports and exports the suppressed recipients as CSV files."""

import csv
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Final

import typer

from jobs.gateway.operating import Operating, Suppression
from jobs.lists import opt_outs
from jobs.lists.csv_rows import NotATable
from jobs.lists.opt_outs import Reading
from jobs.runtime.counts import counted
from jobs.runtime.masking import scrub
from scheduler.commands.operator import Failed, operate, progress, said_when_stopped, say_json, were_refused

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="The suppressed numbers, which get no messages. To lift a suppression, delete its row of outbox_suppressions.",
)

_AT_ONCE: Final = 5000
_PAGE: Final = 1000


@app.command("import")
def import_list(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", exists=True, dir_okay=False, help="Columns recipient, reason, source.")
    ],
    partial: Annotated[bool, typer.Option("--partial", help="Import the valid lines even if others are refused.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="The reason for lines that have none.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Suppress the numbers of a CSV file.

    Waiting messages to them end at once. Every refused line is printed with its number and the reason; then nothing is
    imported, unless --partial. Suppressed numbers stay as they are, so a file may be imported again. But a line with source
    operator turns a recipient's opt-out into an operator's decision, also within the file.
    """
    reading = _read(file, reason)
    for refused in reading.refused:
        typer.echo(f"line {refused.line}: {scrub(refused.why)}", err=True)
    if reading.refused and not partial:
        raise Failed(f"nothing was imported: {were_refused(len(reading.refused))} (--partial imports the others)")

    import_ = _Import(reading.suppressions)

    async def work(operating: Operating) -> int:
        await import_.run(operating)
        counts = {
            "added": import_.added,
            "on the list before": import_.taken - import_.added,
            "repeated in the file": reading.repeated,
            "refused": len(reading.refused),
        }
        if as_json:
            say_json({name.replace(" ", "_"): count for name, count in counts.items()})
        else:
            typer.echo(", ".join(f"{count} {name}" for name, count in counts.items()))
        return 0

    with said_when_stopped(import_.progress):
        return operate(work)


@app.command("export")
def export_list(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The file to write. Default: standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With FILE: print the count as a JSON object.")] = False,
) -> int:
    """Write all suppressions as CSV, which import can read.

    Import ignores created_at.
    """
    if as_json and file is None:
        raise typer.BadParameter("--json says how many numbers went into a file: name one")

    if file is not None:
        _check_writable(file)

    async def work(operating: Operating) -> int:
        if file is None:
            await _export(operating, sys.stdout)
            return 0
        with _written_whole(file) as out:
            count = await _export(operating, out)
        if as_json:
            say_json({"exported": count})
        else:
            typer.echo(f"{counted(count, 'number')} in {file}", err=True)
        return 0

    return operate(work)


class _Import:
    """Imports 5000 numbers in each call, far below the time that the database allows a call."""

    def __init__(self, suppressions: tuple[Suppression, ...]) -> None:
        self._suppressions = suppressions
        self._asked = 0
        self.taken = 0
        self.added = 0

    async def run(self, operating: Operating) -> None:
        with progress("importing", len(self._suppressions)) as show:
            for first in range(0, len(self._suppressions), _AT_ONCE):
                some = self._suppressions[first : first + _AT_ONCE]
                self._asked += len(some)
                self.added += await operating.import_suppressions(some)
                self.taken += len(some)
                show(self.taken)

    def progress(self) -> str:
        """How far the import came. A call that was cut off may have had its effect."""
        perhaps = f" and perhaps the next {self._asked - self.taken}" if self._asked > self.taken else ""
        first = f"the first {self.taken}{perhaps}" if self.taken else f"perhaps the first {self._asked}" if perhaps else "none"
        of = f"{counted(len(self._suppressions), 'number')} {'was' if len(self._suppressions) == 1 else 'were'}"
        return f"{first} of {of} imported; the same file may be imported again"


@contextmanager
def _written_whole(file: Path) -> Iterator[IO[str]]:
    """A new file, which gets its name only when all of it is written."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as out:
            yield out
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _check_writable(file: Path) -> None:
    if not file.name or file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"{file}: no file can be written there. Name another file")


def _read(file: Path, reason: str) -> Reading:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return opt_outs.read(lines, reason=reason)
    except UnicodeDecodeError as error:
        raise Failed(f"{file} is not UTF-8 text (byte {error.start})") from None
    except NotATable as error:
        raise Failed(f"{file}: {error}") from None


async def _export(operating: Operating, out: IO[str]) -> int:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(opt_outs.COLUMNS)
    after, count = "", 0
    while page := await operating.export_suppressions(after=after, most=_PAGE):
        writer.writerows(opt_outs.line_of(one) for one in page)
        after, count = page[-1].recipient, count + len(page)
    return count
