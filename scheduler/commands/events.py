"""`outbox events`: the servers that are told what happened."""

from typing import Annotated, Final

import typer

from jobs.eventing.urls import endpoint_url
from jobs.gateway.operating import Operating
from jobs.runtime import settings
from jobs.runtime.settings import EventsSettings
from scheduler.commands import event_deliveries, events_view, times
from scheduler.commands.operator import agreed, console, operate, say_json
from scheduler.commands.routed_plans import advised

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Tell your own servers what happened, by signed requests (docs/events.md). Without a subcommand: list the endpoints.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
Name = Annotated[str, typer.Argument(help="The endpoint's name.", show_default=False)]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="Only events of this type, such as message.delivered. May be repeated. Default: all but message.sent.",
    ),
]
_DAY: Final = "1d"


@app.callback()
def events(context: typer.Context, *, as_json: AsJson = False) -> int:
    """List the endpoints."""
    return 0 if context.invoked_subcommand is not None else _list(as_json=as_json)


@app.command("list")
def list_endpoints(*, as_json: AsJson = False) -> int:
    """List the endpoints, with what waits and what failed."""
    return _list(as_json=as_json)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A name for it, such as orders.", show_default=False)],
    url: Annotated[str, typer.Argument(help="Where events are sent, an https URL.", show_default=False)],
    *,
    types: Types = None,
    include_recipient: Annotated[
        bool, typer.Option("--include-recipient", help="Send phone numbers in full. They are masked otherwise.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Add an endpoint. Prints the secret that signs its events, this once.

    It gets what happens from now on. Next: outbox events test NAME
    """
    _check_url(url)

    async def work(operating: Operating) -> int:
        added = await advised(operating.events.add(name, url, types=types or None, include_recipient=include_recipient))
        if as_json:
            say_json({"endpoint": {"name": added.name, "url": added.url}}, texts={"endpoint": [{"secret": added.secret}]})
        else:
            console().print(events_view.added(added))
        return 0

    return operate(work)


@app.command("set")
def set_endpoint(
    name: Name,
    *,
    url: Annotated[str | None, typer.Option("--url", help="Another URL. The secret stays.")] = None,
    types: Types = None,
    all_types: Annotated[bool, typer.Option("--all-types", help="All types but message.sent.")] = False,
    include_recipient: Annotated[
        bool | None,
        typer.Option("--include-recipient/--mask-recipient", help="Send phone numbers in full, or masked.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Change an endpoint. What is not given stays.

    Events that wait already keep their types and their masked numbers.
    """
    if types and all_types:
        raise typer.BadParameter("give --type or --all-types")
    if url is None and not types and not all_types and include_recipient is None:
        raise typer.BadParameter("give what to change: --url, --type, --all-types, --include-recipient or --mask-recipient")
    if url is not None:
        _check_url(url)
    wanted = [] if all_types else types or None
    return _change(name, "changed", url=url, types=wanted, include_recipient=include_recipient, as_json=as_json)


@app.command()
def disable(name: Name, *, as_json: AsJson = False) -> int:
    """Send no more events to an endpoint.

    What waits for it already is sent once it is enabled. What happens meanwhile is left out: outbox events replay sends it.
    """
    return _change(name, "disabled", enabled=False, as_json=as_json)


@app.command()
def enable(name: Name, *, as_json: AsJson = False) -> int:
    """Send events to an endpoint again, from now on."""
    return _change(name, "enabled", enabled=True, as_json=as_json)


@app.command()
def remove(
    name: Name, *, yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False, as_json: AsJson = False
) -> int:
    """Remove an endpoint, its secret and its deliveries."""

    async def work(operating: Operating) -> int:
        if not agreed(f"Remove the endpoint {name} and its deliveries?", yes=yes):
            console().print("nothing was changed")
            return 1
        await advised(operating.events.remove(name))
        if as_json:
            say_json({"removed": name})
        else:
            console().print(f"endpoint {name} is removed")
        return 0

    return operate(work)


@app.command()
def rotate(
    name: Name,
    *,
    keep: Annotated[str, typer.Option("--keep", help="How long the old secret signs as well, such as 12h.")] = _DAY,
    as_json: AsJson = False,
) -> int:
    """Make a new secret for an endpoint, and print it, this once.

    Until the old secret ends, both sign each request: your server may take either, and you can change it without a gap.
    """
    seconds = times.seconds(keep)

    async def work(operating: Operating) -> int:
        secret = await advised(operating.events.rotate_secret(name, keep=seconds))
        if as_json:
            say_json({"endpoint": {"name": name}}, texts={"endpoint": [{"secret": secret}]})
        else:
            console().print(events_view.rotated(name, secret, keep=seconds))
        return 0

    return operate(work)


app.command("test")(event_deliveries.send_test)
app.command("deliveries")(event_deliveries.deliveries)
app.command("replay")(event_deliveries.replay)


def _list(*, as_json: bool) -> int:
    async def work(operating: Operating) -> int:
        endpoints = await operating.events.endpoints()
        if as_json:
            say_json({"endpoints": endpoints})
        else:
            console().print(events_view.endpoints(endpoints))
        return 0

    return operate(work)


def _change(
    name: str,
    what: str,
    *,
    url: str | None = None,
    types: list[str] | None = None,
    include_recipient: bool | None = None,
    enabled: bool | None = None,
    as_json: bool,
) -> int:
    async def work(operating: Operating) -> int:
        endpoint = await advised(
            operating.events.set(name, url=url, types=types, include_recipient=include_recipient, enabled=enabled)
        )
        if as_json:
            say_json({"endpoint": endpoint})
        else:
            console().print(f"endpoint {name} is {what}")
        return 0

    return operate(work)


def _check_url(url: str) -> None:
    try:
        endpoint_url(url, allows_private=settings.load(EventsSettings).events_allow_private_networks)
    except ValueError as error:
        raise typer.BadParameter(f"the URL {error}") from None
