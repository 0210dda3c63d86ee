"""`outbox campaign list`."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich import box
from rich.console import RenderableType
from rich.table import Table

from jobs.gateway.campaigning import Listed
from jobs.gateway.operating import Operating
from scheduler.commands.operator import console, operate, say_json
from scheduler.commands.times import utc


def list_campaigns(*, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False) -> int:
    """List all campaigns.

    "next" is the time of the next message; for a draft or a paused campaign, the time if it were started now. "waiting" counts
    messages in the outbox, which are made about a minute before they are due. "parts" counts the parts sent so far.
    """

    async def work(operating: Operating) -> int:
        campaigns = await operating.campaigns.list()
        if as_json:
            say_json({"campaigns": campaigns})
            return 0
        console().print(screen(campaigns) if campaigns else "there are no campaigns")
        return 0

    return operate(work)


def screen(campaigns: Sequence[Listed]) -> RenderableType:
    """A row for each campaign. Names take further lines where 80 columns do not hold them; nothing is cut off."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for heading in ("campaign", "status", "schedule", "template", "next"):
        takes_lines = heading in ("campaign", "template")
        table.add_column(heading, no_wrap=not takes_lines, overflow="fold")
    for heading in ("members", "waiting", "parts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in campaigns:
        soon = "" if one.next_at is None else utc(one.next_at)
        counts = (f"{one.members:,}", f"{one.waiting:,}", f"{one.spent_parts:,}")
        table.add_row(one.name, one.status, one.schedule, one.template, soon, *counts)
    return table
