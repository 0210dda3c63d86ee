"""The cost of a campaign, counted with a line of progress, and as a table."""

from rich import box
from rich.console import RenderableType
from rich.table import Table

from jobs.gateway import campaign_costs
from jobs.gateway.campaign_costs import Total
from jobs.gateway.campaigning import Campaigning, Counted
from scheduler.commands.operator import progress


async def count(campaigns: Campaigning, name: str) -> Total:
    """Add up the messages of all members."""
    with progress("members counted", None) as show:
        return await campaign_costs.count(campaigns, name, progress=show)


def table_of(countries: tuple[Counted, ...]) -> RenderableType:
    """Messages and parts by country, with their sum."""
    table = Table(box=box.SIMPLE, show_footer=len(countries) > 1)
    table.add_column("country", footer="all")
    table.add_column("messages", f"{sum(one.messages for one in countries):,}", justify="right")
    table.add_column("parts", f"{sum(one.parts for one in countries):,}", justify="right")
    for one in countries:
        table.add_row(one.name or "unknown", f"{one.messages:,}", f"{one.parts:,}")
    return table
