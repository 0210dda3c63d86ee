"""`outbox campaign list`."""

from typing import Annotated

import typer
from rich import box
from rich.table import Table

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
        table = Table(box=box.SIMPLE)
        for heading in ("campaign", "status", "schedule", "template", "next"):
            table.add_column(heading)
        for heading in ("members", "waiting", "parts"):
            table.add_column(heading, justify="right")
        for one in campaigns:
            soon = "" if one.next_at is None else utc(one.next_at)
            counts = (f"{one.members:,}", f"{one.waiting:,}", f"{one.spent_parts:,}")
            table.add_row(one.name, one.status, one.schedule, one.template, soon, *counts)
        console().print(table if campaigns else "there are no campaigns")
        return 0

    return operate(work)
