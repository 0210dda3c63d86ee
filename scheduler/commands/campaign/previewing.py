"""`outbox campaign preview`: the messages to come, their recipients, local times and parts."""

from collections.abc import Sequence
from datetime import UTC
from typing import Annotated, Final

import typer
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from jobs.gateway.campaigning import PreviewRow
from jobs.gateway.operating import Operating
from jobs.runtime.counts import counted
from jobs.runtime.masking import mask, scrub
from scheduler.commands.campaign import costs, countries
from scheduler.commands.operator import console, operate, say_json
from scheduler.commands.times import all_in_utc

_STATUS: Final = {
    "draft": "a draft: this is what would go out if it were started now",
    "paused": "paused: this is what would go out if it went on now",
    "ended": "ended: nothing will go out",
}


def preview(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The campaign.")],
    *,
    max_rows: Annotated[int, typer.Option("--max-rows", help="How many messages to show.", min=0, max=10_000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Show the next messages and the costs by country.

    The preview shows what a start now would send, and writes nothing. An ended campaign has no next messages. The rows take
    caps and budgets into account, the costs do not. The costs of a cron campaign are those of one occurrence for each member.
    A warning names each character that more than doubles the parts of a text.
    """

    async def work(operating: Operating) -> int:
        rows = await operating.campaigns.preview(name, most=max_rows)
        total = await costs.count(operating.campaigns, name)
        countries.say_differences(total.process_countries)
        if as_json:
            counts = {"messages": total.messages, "parts": total.parts}
            say_json(
                {"campaign": name, "status": total.status, "rows": rows, "costs": total, **counts},
                texts={"rows": [{"body": row.body} for row in rows]},
            )
            return 0
        out = console()
        out.print(f"{name} is {_STATUS.get(total.status, total.status)}")
        if rows:
            out.print(_rows(rows))
        out.print(
            f"{counted(total.members, 'member')}, {counted(total.messages, 'message')} to come, {counted(total.parts, 'part')}"
        )
        if total.countries:
            out.print(costs.table_of(total.countries))
        for problem in total.problems:
            out.print(Text(f"{problem.messages:,} will not go: {scrub(all_in_utc(problem.name or ''))}", "yellow"))
        for warning in total.warnings:
            out.print(Text(scrub(warning), "yellow"))
        return 0

    return operate(work)


def _rows(rows: Sequence[PreviewRow]) -> RenderableType:
    table = Table(box=box.SIMPLE)
    for heading in ("member", "recipient", "local time", "country"):
        table.add_column(heading, no_wrap=True)
    table.add_column("parts", justify="right")
    table.add_column("text, or why not")
    for row in rows:
        text = Text(row.body or "") if row.problem is None else Text(scrub(all_in_utc(row.problem)), "yellow")
        table.add_row(row.external_id, mask(row.recipient), _when(row), row.country or "", str(row.parts or ""), text)
    return table


def _when(row: PreviewRow) -> str:
    """The recipient's local time, or UTC if the zone is unknown."""
    if row.local_time is not None:
        return f"{row.local_time:%a %Y-%m-%d %H:%M}"
    return "" if row.send_at is None else f"{row.send_at.astimezone(UTC):%a %Y-%m-%d %H:%M} UTC"
