"""`outbox suppressions`: the list of numbers that get no messages, from and to CSV files."""

import csv
import sys
from pathlib import Path
from typing import IO, Annotated, Final

import typer

from jobs import opt_outs
from jobs.gateway.operating import Operating
from jobs.opt_outs import NotAList, Reading
from scheduler.commands.operator import Failed, operate, progress

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="The list of numbers that get no messages. Deleting a row of the table suppressions lifts it.",
)

_AT_ONCE: Final = 5000
_PAGE: Final = 1000


@app.command("import")
def import_list(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", exists=True, dir_okay=False, help="Columns recipient, reason, source.")
    ],
    partial: Annotated[bool, typer.Option("--partial", help="Import the good lines although others are refused.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="The reason for lines that give none.")] = "",
) -> int:
    """Put the numbers of a file on the list. Messages that wait for them end at once.

    Every refused line is said with its number and why; then nothing is imported, unless --partial. Numbers on the list already
    stay as they are, so a file may be imported again.
    """
    reading = _read(file, reason)
    for refused in reading.refused:
        typer.echo(f"line {refused.line}: {refused.why}", err=True)
    if reading.refused and not partial:
        raise Failed(f"nothing was imported: {len(reading.refused)} lines were refused (--partial imports the others)")

    async def work(operating: Operating) -> int:
        added = await _import(operating, reading)
        typer.echo(
            f"{added} added, {len(reading.suppressions) - added} on the list before, {reading.repeated} repeated in the file, "
            f"{len(reading.refused)} refused"
        )
        return 0

    return operate(work)


@app.command("export")
def export_list(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; standard output without it.")] = None,
) -> int:
    """Write the whole list as CSV, in a form that import takes."""

    async def work(operating: Operating) -> int:
        if file is None:
            await _export(operating, sys.stdout)
            return 0
        unfinished = file.with_name(f"{file.name}.unfinished")
        with unfinished.open("w", encoding="utf-8", newline="") as out:
            count = await _export(operating, out)
        unfinished.replace(file)
        typer.echo(f"{count} numbers in {file}", err=True)
        return 0

    return operate(work)


def _read(file: Path, reason: str) -> Reading:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return opt_outs.read(lines, reason=reason)
    except UnicodeDecodeError as error:
        raise Failed(f"{file} is not UTF-8 text (byte {error.start})") from None
    except (NotAList, csv.Error) as error:
        raise Failed(f"{file}: {error}") from None


async def _import(operating: Operating, reading: Reading) -> int:
    """Some thousand a call, so that no call comes near the time the database allows it."""
    added = 0
    with progress("importing", len(reading.suppressions)) as show:
        for first in range(0, len(reading.suppressions), _AT_ONCE):
            added += await operating.import_suppressions(reading.suppressions[first : first + _AT_ONCE])
            show(first + _AT_ONCE)
    return added


async def _export(operating: Operating, out: IO[str]) -> int:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(opt_outs.COLUMNS)
    after, count = "", 0
    while page := await operating.export_suppressions(after=after, most=_PAGE):
        writer.writerows(opt_outs.line_of(one) for one in page)
        after, count = page[-1].recipient, count + len(page)
    return count
