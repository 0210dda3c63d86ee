"""`outbox status`: the backlog, pauses, jobs, alarms and figures."""

import asyncio
import time
from typing import Annotated, Final

import typer
from rich.live import Live
from rich.text import Text

from jobs.gateway.errors import GatewayError
from jobs.gateway.operating import Operating
from jobs.gateway.status import Figures, Status
from jobs.runtime import settings
from jobs.runtime.project import project_host
from jobs.runtime.settings import SupabaseSettings
from scheduler.commands import status_view
from scheduler.commands.operator import console, failure, operate, say_json

_FIGURES_SECONDS: Final = 30.0
"""While watching: how long figures are shown before they are counted again."""


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object (with --watch, one per line).")] = False,
    watch: Annotated[
        float | None, typer.Option("--watch", min=0.5, help="Repeat at this interval in seconds, until Ctrl-C.")
    ] = None,
    days: Annotated[
        int, typer.Option("--days", min=0, max=90, help="Show delivery figures of this many days; 0 for none.")
    ] = 1,
) -> int:
    """Show the backlog, open requests, pauses, the last run of each job, alarms and delivery figures."""

    async def once(operating: Operating) -> int:
        found, figures = await operating.status(), await _figures(operating, days)
        if as_json:
            _say(found, figures)
        else:
            console().print(status_view.screen(found, figures, asked=days, project=_project()))
        return 0

    async def again(operating: Operating) -> int:
        await _watch(operating, every=watch or 2.0, days=days, as_json=as_json)
        return 0

    return operate(once if watch is None else again)


async def _figures(operating: Operating, days: int) -> Figures | None:
    """None for no days, or if a busy database did not count them in time: the rest of the status is shown all the same."""
    if days == 0:
        return None
    try:
        return await operating.daily_figures(days=days)
    except GatewayError:
        return None


async def _watch(operating: Operating, *, every: float, days: int, as_json: bool) -> None:
    counted_at, figures = -_FIGURES_SECONDS, None
    with Live(console=console(), screen=False, auto_refresh=False) as live:
        while True:
            try:
                found = await operating.status()
            except GatewayError as error:
                live.update(Text(f"Supabase {failure(error)}", style="red"), refresh=True)
                await asyncio.sleep(every)
                continue
            if time.monotonic() - counted_at >= _FIGURES_SECONDS:
                counted_at, figures = time.monotonic(), await _figures(operating, days)
            if as_json:
                _say(found, figures)
            else:
                live.update(status_view.screen(found, figures, asked=days, project=_project()), refresh=True)
            await asyncio.sleep(every)


def _project() -> str:
    return project_host(settings.load(SupabaseSettings).supabase_url)


def _say(found: Status, figures: Figures | None) -> None:
    say_json({"status": found, "figures": figures})
