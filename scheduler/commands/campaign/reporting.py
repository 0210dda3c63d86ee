"""`outbox campaign report`: the results of a campaign, as a table and a plot."""

from io import StringIO
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.gateway.campaigning import Report, Step
from jobs.gateway.operating import Operating
from jobs.runtime.masking import scrub
from scheduler.commands.campaign import costs
from scheduler.commands.operator import Failed, console, operate, progress, say_json

_BAR: Final = 50
_SVG_WIDTH: Final = 110


def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The campaign.")],
    *,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Also write the report as an SVG image.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Show the results of a campaign.

    Counts messages sent, delivered, failed and skipped by reason, opt-outs, parts by country, and all of it over time.
    """

    async def work(operating: Operating) -> int:
        with progress("messages counted", None) as show:
            found = await operating.campaigns.report(name, progress=show)
        if svg is not None:
            _write(found, svg)
        if as_json:
            say_json(found)
        else:
            console().print(screen(found))
        return 0

    return operate(work)


def screen(found: Report) -> RenderableType:
    """The whole report."""
    waiting = sum(found.statuses.get(status, 0) for status in ("scheduled", "pending", "sending"))
    numbers = Table.grid(padding=(0, 2))
    numbers.add_column()
    numbers.add_column(justify="right")
    for what, count, style in (
        ("waiting", waiting, "cyan"),
        ("sent", found.sent, ""),
        ("delivered", found.statuses.get("delivered", 0), "green"),
        ("not delivered", sum(one.messages for one in found.undelivered), "red"),
        ("skipped", sum(one.messages for one in found.skipped), "yellow"),
        ("opted out after a message", found.opted_out, "yellow"),
        ("forgotten since the campaign was deleted", found.forgotten, "dim"),
    ):
        if count or what in ("sent", "delivered"):
            numbers.add_row(Text(what, style), f"{count:,}")
    return Group(
        Text(f"{found.campaign}, {found.status}", style="bold"),
        numbers,
        *([_reasons(found)] if found.undelivered or found.skipped else []),
        *([costs.table_of(found.countries)] if found.countries else []),
        *_plot(found.timeline, found.step_seconds),
    )


def _reasons(found: Report) -> RenderableType:
    table = Table(box=box.SIMPLE)
    table.add_column("ended as")
    table.add_column("why")
    table.add_column("messages", justify="right")
    for undelivered in found.undelivered:
        table.add_row(undelivered.status, scrub(undelivered.reason), f"{undelivered.messages:,}")
    for skipped in found.skipped:
        table.add_row("skipped", scrub(skipped.name or ""), f"{skipped.messages:,}")
    return table


def _plot(timeline: tuple[Step, ...], step_seconds: float | None) -> list[RenderableType]:
    """One bar a step: delivered, failed, and still on the way."""
    if not timeline:
        return []
    most = max(step.sent for step in timeline)
    daily = step_seconds is None or step_seconds >= 86400
    table = Table.grid(padding=(0, 1))
    for step in timeline:
        delivered, failed = (round(_BAR * count / most) for count in (step.delivered, step.failed))
        under_way = max(0, round(_BAR * step.sent / most) - delivered - failed)
        bar = Text.assemble(("█" * delivered, "green"), ("▓" * failed, "red"), ("░" * under_way, "cyan"))
        at = f"{step.at:%Y-%m-%d}" if daily else f"{step.at:%m-%d %H:%M}"
        table.add_row(Text(at, "dim"), bar, f"{step.sent:,}")
    legend = Text.assemble(
        ("sent over time (UTC): ", "bold"), ("█ delivered ", "green"), ("▓ not delivered ", "red"), ("░ on the way", "cyan")
    )
    return [legend, table]


def _write(found: Report, svg: Path) -> None:
    drawing = Console(record=True, width=_SVG_WIDTH, file=StringIO(), force_terminal=True)
    drawing.print(screen(found))
    try:
        svg.write_text(drawing.export_svg(title=f"outbox campaign {found.campaign}"), encoding="utf-8")
    except OSError as error:
        raise Failed(f"--svg {svg}: {error.strerror}") from None
