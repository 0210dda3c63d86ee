"""`outbox routes`: which plans carry which messages."""

from typing import Annotated, Final

import typer

from jobs.gateway.operating import Operating
from jobs.gateway.routing import Conditions, Route
from scheduler.commands import routes_view
from scheduler.commands.operator import agreed, console, operate, progress, say_json
from scheduler.commands.routed_plans import advised, read_plan

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Which plans carry which messages. Without a subcommand: list the routes.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
Plans = Annotated[
    list[str],
    typer.Option(
        "--plan",
        metavar="PROVIDER:PLAN[=WEIGHT]",
        help="A plan that carries them. May be repeated: weights share messages, 0 stands by in the order given. "
        "Without weights the first carries all.",
    ),
]
OnlyNew = Annotated[bool, typer.Option("--only-new", help="Leave messages that wait on their present routes.")]

_AT_ONCE: Final = 5000


@app.callback()
def list_routes(context: typer.Context, *, as_json: AsJson = False) -> int:
    """List the routes in the order in which a message is compared with them."""
    if context.invoked_subcommand is not None:
        return 0

    async def work(operating: Operating) -> int:
        routes = await operating.routing.list_routes()
        if as_json:
            say_json({"routes": routes})
        else:
            console().print(routes_view.screen(routes))
        return 0

    return operate(work)


@app.command("set")
def set_route(
    name: Annotated[str, typer.Argument(help="A name, or default for the messages that no other route matches.")],
    *,
    plans: Plans,
    countries: Annotated[
        list[str] | None,
        typer.Option("--country", metavar="CODE", help="Numbers of this country, such as DE. May be repeated."),
    ] = None,
    below: Annotated[
        int | None, typer.Option("--below", help="Priorities below this: 100 are one-time codes.", show_default=False)
    ] = None,
    from_: Annotated[int | None, typer.Option("--from", help="Priorities from this on.", show_default=False)] = None,
    campaign: Annotated[str | None, typer.Option("--campaign", help="Messages of this campaign.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", help="sms or mms.")] = None,
    after_network_failure: Annotated[
        bool,
        typer.Option(
            "--after-network-failure", help="Send a text of one part that failed in the network once more by another plan."
        ),
    ] = False,
    position: Annotated[
        int | None,
        typer.Option(
            "--position", help="The lower goes first between routes as specific. Default: the last.", show_default=False
        ),
    ] = None,
    allow_absent: Annotated[
        bool, typer.Option("--allow-absent", help="Allow plans that no running process sends for.")
    ] = False,
    only_new: OnlyNew = False,
    as_json: AsJson = False,
) -> int:
    """Write a route, in place of the one by this name.

    A message takes the most specific route that it matches: campaign before countries, countries before priorities, those
    before a channel. Messages that wait are matched again, some thousands at a time.
    """
    conditions = Conditions(channel, None if countries is None else tuple(countries), from_, below, campaign)
    _check_priorities(from_, below, position)
    named = [read_plan(plan) for plan in plans]

    async def work(operating: Operating) -> int:
        route = await advised(
            operating.routing.set_route(
                name,
                named,
                conditions,
                after_network_failure=after_network_failure,
                position=position,
                allow_absent=allow_absent,
            )
        )
        return await _matched(operating, route, "set", only_new=only_new, as_json=as_json)

    return operate(work)


@app.command("remove")
def remove_route(
    name: Annotated[str, typer.Argument(help="A route. default gets all configured plans again.")],
    *,
    only_new: OnlyNew = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: AsJson = False,
) -> int:
    """Remove a route. Messages that wait on it are matched again.

    With --only-new it serves those that it has until they are gone.
    """

    async def work(operating: Operating) -> int:
        if not agreed(f"Remove the route {name}?", yes=yes):
            console().print("nothing was changed")
            return 1
        route = await advised(operating.routing.remove_route(name))
        return await _matched(operating, route, "removed", only_new=only_new, as_json=as_json)

    return operate(work)


def _check_priorities(*numbers: int | None) -> None:
    for number in numbers:
        if number is not None and not -32768 <= number <= 32767:
            raise typer.BadParameter(f"{number} is not between -32768 and 32767")


async def _matched(operating: Operating, route: Route, done: str, *, only_new: bool, as_json: bool) -> int:
    changed, skipped = (0, 0) if only_new else await _match_again(operating)
    if as_json:
        say_json({"route": route, "changed": changed, "skipped": skipped})
    else:
        console().print(routes_view.done(route, done, changed=changed, skipped=skipped, only_new=only_new))
    return 0


async def _match_again(operating: Operating) -> tuple[int, int]:
    """Match all messages that wait. Returns how many got another route, and how many another transaction holds."""
    matched = await operating.routing.match_again(after=0, most=_AT_ONCE)
    changed, skipped = matched.changed, matched.skipped
    with progress("matching", matched.last) as show:
        while matched.after is not None:
            show(matched.after)
            matched = await operating.routing.match_again(after=matched.after, most=_AT_ONCE)
            changed, skipped = changed + matched.changed, skipped + matched.skipped
    return changed, skipped
