"""What a campaign will cost: every member's messages, by country."""

from collections import Counter
from dataclasses import dataclass

from rich import box
from rich.console import RenderableType
from rich.table import Table

from jobs.gateway.campaigning import Campaigning, Counted
from scheduler.commands.operator import progress


@dataclass(frozen=True, slots=True)
class Total:
    """The whole campaign, before caps and budgets. Of a cron campaign, one time of each member."""

    members: int
    countries: tuple[Counted, ...]
    problems: tuple[Counted, ...]

    @property
    def messages(self) -> int:
        return sum(country.messages for country in self.countries)

    @property
    def parts(self) -> int:
        return sum(country.parts for country in self.countries)


async def count(campaigns: Campaigning, name: str) -> Total:
    """Go through all members."""
    members = 0
    messages: Counter[str | None] = Counter()
    parts: Counter[str | None] = Counter()
    problems: Counter[str | None] = Counter()
    with progress("members counted", None) as show:
        async for costs in campaigns.costs(name):
            members += costs.members
            messages.update({country.name: country.messages for country in costs.countries})
            parts.update({country.name: country.parts for country in costs.countries})
            problems.update({problem.name: problem.messages for problem in costs.problems})
            show(members)
    return Total(
        members=members,
        countries=tuple(Counted(country, messages[country], amount) for country, amount in parts.most_common()),
        problems=tuple(Counted(problem, amount) for problem, amount in problems.most_common()),
    )


def table_of(countries: tuple[Counted, ...]) -> RenderableType:
    """Messages and parts by country, with their sum."""
    table = Table(box=box.SIMPLE, show_footer=len(countries) > 1)
    table.add_column("country", footer="all")
    table.add_column("messages", f"{sum(one.messages for one in countries):,}", justify="right")
    table.add_column("parts", f"{sum(one.parts for one in countries):,}", justify="right")
    for one in countries:
        table.add_row(one.name or "unknown", f"{one.messages:,}", f"{one.parts:,}")
    return table
