"""`outbox senders`: what a sender is called at each plan."""

from collections.abc import Sequence
from typing import Annotated

import typer

from jobs.gateway.operating import Operating
from jobs.gateway.routing import SenderAlias
from scheduler.commands import routes_view
from scheduler.commands.operator import agreed, console, operate, say_json
from scheduler.commands.routed_plans import advised, read_single_plan

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    help="What a sender is called at each plan. Without a subcommand: list the aliases.",
)

Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="The sender that messages name, such as Acme.")]
PlanOption = Annotated[str, typer.Option("--plan", metavar="PROVIDER:PLAN", help="The plan.")]
Countries = Annotated[
    list[str] | None,
    typer.Option("--country", metavar="CODE", help="For numbers of this country. May be repeated. Default: all others."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


@app.callback()
def list_senders(context: typer.Context, *, as_json: AsJson = False) -> int:
    """List the aliases."""
    if context.invoked_subcommand is not None:
        return 0

    async def work(operating: Operating) -> int:
        _say(await operating.routing.list_senders(), as_json=as_json)
        return 0

    return operate(work)


@app.command("set")
def set_sender(
    alias: Alias,
    *,
    plan: PlanOption,
    sender: Annotated[str, typer.Option("--sender", help="What the plan sends in its place.")],
    countries: Countries = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            help="What the provider asks for beside it: entity_id and content_id for Vonage in India. May be repeated.",
        ),
    ] = None,
    allow_absent: Annotated[
        bool, typer.Option("--allow-absent", help="Allow a plan that no process has sent for and no route has.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Give a sender another name at a plan.

    It counts from the next request on, also for messages that wait.
    """
    whose = read_single_plan(plan)
    given = dict(_option(option) for option in options or ()) or None

    async def work(operating: Operating) -> int:
        written = [
            await advised(
                operating.routing.set_sender(
                    SenderAlias(alias, whose.provider, whose.plan, country, sender, given), allow_absent=allow_absent
                )
            )
            for country in countries or [""]
        ]
        _say(written, as_json=as_json)
        return 0

    return operate(work)


@app.command("remove")
def remove_sender(
    alias: Alias,
    *,
    plan: PlanOption,
    countries: Countries = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: AsJson = False,
) -> int:
    """Remove the name that a sender has at a plan."""
    whose = read_single_plan(plan)

    async def work(operating: Operating) -> int:
        if not agreed(f"Remove the name of {alias} at plan {whose.provider} {whose.plan}?", yes=yes):
            console().print("nothing was changed")
            return 1
        removed = [
            await advised(
                operating.routing.remove_sender(alias=alias, provider=whose.provider, plan=whose.plan, country=country)
            )
            for country in countries or [""]
        ]
        if as_json:
            _say(removed, as_json=True)
        else:
            console().print(f"removed the name of {alias} at plan {whose.provider} {whose.plan}")
        return 0

    return operate(work)


def _option(written: str) -> tuple[str, str]:
    name, is_pair, value = written.partition("=")
    if not (is_pair and name and value):
        raise typer.BadParameter(f"{written!r} is no option: write entity_id=1101…")
    return name, value


def _say(senders: Sequence[SenderAlias], *, as_json: bool) -> None:
    """Senders are the business's own numbers and names, which are not masked."""
    if as_json:
        say_json({"senders": senders}, texts={"senders": [{"alias": one.alias, "sender": one.sender} for one in senders]})
    else:
        console().print(routes_view.aliases(senders))
