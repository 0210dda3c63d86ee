"""The subcommands of `outbox campaign` together."""

import typer

from scheduler.commands.campaign.importing import import_members
from scheduler.commands.campaign.listing import list_campaigns
from scheduler.commands.campaign.previewing import preview
from scheduler.commands.campaign.reporting import report
from scheduler.commands.campaign.switching import pause, start, stop

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Import members, preview, start, pause, stop, report on and list campaigns.",
)
app.command("import")(import_members)
app.command("preview")(preview)
app.command("start")(start)
app.command("pause")(pause)
app.command("stop")(stop)
app.command("report")(report)
app.command("list")(list_campaigns)
