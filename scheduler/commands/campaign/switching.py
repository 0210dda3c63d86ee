"""`outbox campaign start`, `pause` and `stop`."""

from typing import Annotated

import typer

from jobs.gateway.campaigning import Switched
from jobs.gateway.operating import Operating
from jobs.runtime.counts import are, counted
from jobs.runtime.masking import scrub
from scheduler.commands.campaign import costs, countries
from scheduler.commands.operator import Failed, agreed, console, operate, say_json

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The campaign.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


def start(
    name: Name,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Start a campaign or resume a paused one.

    Shows first how many messages and parts that sends. Fails, naming the member and the reason, if a member would get no text
    or lacks a required time zone.
    """

    async def work(operating: Operating) -> int:
        total = await costs.count(operating.campaigns, name)
        if total.status == "ended":
            raise Failed(f"campaign {name!r} was ended and cannot start again. Make a new campaign")
        countries.say_differences(total.process_countries)
        if not as_json:
            for problem in total.problems:
                console().print(f"{problem.messages:,} will not go: {scrub(problem.name or '')}")
            for warning in total.warnings:
                console().print(scrub(warning))
        if not total.members:
            late = ", and who comes later than late_limit after starts_at gets nothing" if total.schedule == "once" else ""
            typer.echo(f"warning: {name} has no members yet: nothing goes out until some come{late}", err=True)
        what = f"{counted(total.messages, 'message')} of {counted(total.parts, 'part')} to {counted(total.members, 'member')}"
        question = f"Start {name}: {what}?"
        if not agreed(question, yes=yes):
            console().print("nothing was changed")
            return 1
        switched = await operating.campaigns.switch(name, "active")
        _say(name, switched, as_json=as_json, messages=total.messages, parts=total.parts, warnings=total.warnings)
        return 0

    return operate(work)


def pause(name: Name, *, as_json: AsJson = False) -> int:
    """Pause a campaign.

    Waiting messages stay until it is started again, or expire.
    """

    async def work(operating: Operating) -> int:
        _say(name, await operating.campaigns.switch(name, "paused"), as_json=as_json)
        return 0

    return operate(work)


def stop(name: Name, *, yes: Yes = False, as_json: AsJson = False) -> int:
    """End a campaign for good.

    Its waiting messages are cancelled, requests in flight are not.

    `outbox campaign pause` stops it at once, without asking, until it is started again.
    """

    async def work(operating: Operating) -> int:
        if not agreed(f"End {name} for good, and cancel its waiting messages?", yes=yes):
            console().print("nothing was changed")
            return 1
        _say(name, await operating.campaigns.end(name), as_json=as_json)
        return 0

    return operate(work)


def _say(name: str, switched: Switched, *, as_json: bool, **more: object) -> None:
    if as_json:
        say_json({"campaign": name, "switched": switched, **more})
        return
    was = "it was already" if switched.was == switched.status else f"it was {switched.was}"
    parts = [f"{name} is {switched.status} ({was})"]
    if switched.status == "ended":
        parts.append(f"{counted(switched.cancelled, 'waiting message')} cancelled")
    elif switched.status == "paused":
        parts.append("nothing more goes out until it is started again")
        if switched.waiting:
            parts.append(f"{counted(switched.waiting, 'due message')} {are(switched.waiting)} held")
    if switched.sending:
        parts.append(f"{switched.sending:,} in a request already")
    typer.echo("; ".join(parts))
