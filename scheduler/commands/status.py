"""`outbox status`: whether messages go out, the backlog, pauses, jobs, alarms and figures."""

import asyncio
import time
from typing import Annotated, Final

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from jobs.gateway.errors import FunctionMissing, GatewayError, KeyNotAccepted
from jobs.gateway.operating import Operating
from jobs.gateway.status import Figures, Status
from jobs.gateway.verdict import Verdict
from jobs.runtime import settings
from jobs.runtime.project import project_host
from jobs.runtime.settings import SupabaseSettings
from scheduler.commands import status_view
from scheduler.commands.operator import WrongUsage, console, failure, operate, say_json
from scheduler.commands.times import seconds

_FIGURES_SECONDS: Final = 30.0
"""While watching: how long figures are shown before they are counted again."""


def status(
    check: Annotated[
        bool, typer.Option("--check", help="Print the first line only, and exit with 1 unless all that is due goes out.")
    ] = False,
    every: Annotated[
        str | None,
        typer.Option("--every", metavar="DURATION", help="How often cron starts `outbox run --once`, such as 5m."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object (with --watch, one per line).")] = False,
    watch: Annotated[
        float | None, typer.Option("--watch", min=0.5, help="Repeat at this interval in seconds, until Ctrl-C.")
    ] = None,
    days: Annotated[
        int, typer.Option("--days", min=0, max=90, help="Show delivery figures of this many days; 0 for none.")
    ] = 1,
) -> int:
    """Show whether messages go out, the backlog, open requests, pauses, jobs, alarms and delivery figures."""
    if check and watch is not None:
        raise WrongUsage("--check and --watch exclude each other")
    screens = _Screens(days=days, every=None if every is None else seconds(every), as_json=as_json)
    if check:
        return operate(screens.check)
    return operate(screens.once if watch is None else lambda operating: screens.watch(operating, watch))


class _Screens:
    """What one command shows. ``every`` and ``days`` are its options."""

    def __init__(self, *, days: int, every: float | None, as_json: bool) -> None:
        self._days = days
        self._every = every
        self._as_json = as_json
        self._project = project_host(settings.load(SupabaseSettings).supabase_url)

    async def check(self, operating: Operating) -> int:
        """Print the verdict. Supabase away is a verdict too, because the caller reads one line of stdout."""
        verdict = await self._verdict(operating)
        if self._as_json:
            say_json(verdict.fields())
        else:
            typer.echo(verdict.line)
        return 0 if verdict.works else 1

    async def once(self, operating: Operating) -> int:
        self._show(await operating.status(), await self._verdict(operating), await self._figures(operating))
        return 0

    async def watch(self, operating: Operating, every: float) -> int:
        counted_at, figures = -_FIGURES_SECONDS, None
        out = console()
        with Live(console=out, screen=False, auto_refresh=False) if out.is_terminal else _Piped(out) as live:
            while True:
                try:
                    found, verdict = await operating.status(), await self._verdict(operating)
                except GatewayError as error:
                    live.update(Text(f"Supabase {failure(error)}", style="red"), refresh=True)
                    await asyncio.sleep(every)
                    continue
                if time.monotonic() - counted_at >= _FIGURES_SECONDS:
                    counted_at, figures = time.monotonic(), await self._figures(operating)
                self._show(found, verdict, figures, live=live)
                await asyncio.sleep(every)

    def _show(self, found: Status, verdict: Verdict, figures: Figures | None, live: "Live | _Piped | None" = None) -> None:
        if self._as_json:
            say_json({"verdict": verdict.fields(), "status": found, "figures": figures})
            return
        screen = status_view.screen(found, figures, asked=self._days, project=self._project, verdict=verdict)
        if live is None:
            console().print(screen)
        else:
            live.update(screen, refresh=True)

    async def _figures(self, operating: Operating) -> Figures | None:
        """None for no days, or if a busy database did not count them in time: the rest of the status is shown all the same."""
        if self._days == 0:
            return None
        try:
            return await operating.daily_figures(days=self._days)
        except GatewayError:
            return None

    async def _verdict(self, operating: Operating) -> Verdict:
        try:
            return await operating.verdicts.ask(project=self._project, every=self._every)
        except KeyNotAccepted:
            raise
        except FunctionMissing as error:
            return Verdict.unknown("schema", str(error))
        except GatewayError as error:
            return Verdict.unknown("supabase", f"Supabase {failure(error)}")


class _Piped:
    """Shows screens one after the other, where there is no terminal to draw them at one place."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def __enter__(self) -> "_Piped":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, screen: RenderableType, *, refresh: bool) -> None:  # noqa: ARG002  # as Live has it
        self._out.print(screen)
