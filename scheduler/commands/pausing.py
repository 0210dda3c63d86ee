"""`outbox pause` and `outbox resume`: whether processes send for a plan."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from jobs.gateway.operating import Operating
from jobs.gateway.pause_words import until as words_until
from jobs.gateway.seen import RESTORED
from jobs.gateway.status import Pause
from jobs.providers import registry
from jobs.runtime.masking import scrub
from jobs.runtime.settings import SettingsError
from scheduler.commands import times
from scheduler.commands.operator import Failed, agreed, console, operate, say_json

Plan = Annotated[
    str | None, typer.Option("--plan", help="A plan, or PROVIDER:PLAN. Default: all known plans and the configured ones.")
]
ProviderName = Annotated[
    str | None, typer.Option("--provider", help="The plan's provider, for a plan that no process has used yet.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


def pause(
    *,
    plan: Plan = None,
    provider: ProviderName = None,
    until: Annotated[str | None, typer.Option("--until", help="Resume at a time, such as 2027-01-31T09:00Z.")] = None,
    duration: Annotated[str | None, typer.Option("--for", help="Resume after a duration, such as 30m.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="The reason that `outbox status` shows.")] = None,
    as_json: AsJson = False,
) -> int:
    """Stop sending in all processes, until a time or until `outbox resume`. Requests in flight are not cancelled.

    Meanwhile reports are recorded, lost requests are looked up, and campaigns make messages.
    """
    provider, plan = _split(provider, plan)
    if until and duration:
        raise typer.BadParameter("give --until or --for")
    at = None if until is None else times.moment(until)
    seconds = None if duration is None else times.seconds(duration)

    async def work(operating: Operating) -> int:
        paused: list[Pause] = []
        for whose, which in _targets(provider, plan):
            if (whose, which) not in [(one.provider, one.plan) for one in paused]:
                paused += await operating.pause(provider=whose, plan=which, until=at, seconds=seconds, reason=reason)
        if not paused:
            raise Failed(_unknown_plan(plan))
        if as_json:
            say_json({"paused": paused})
        else:
            _say("paused", paused, "yellow")
        return 0

    return operate(work)


def resume(
    *,
    plan: Plan = None,
    provider: ProviderName = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Try plans that are paused automatically: the next claim sends one message. Its acceptance ends the pause.",
        ),
    ] = False,
    restored: Annotated[
        bool,
        typer.Option(
            "--restored",
            help="End the pause of a restored database without `outbox adopt`: messages sent since the backup go out again.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to end the pause of a restored database.")] = False,
    as_json: AsJson = False,
) -> int:
    """End an operator's pause, and print the pauses that remain."""
    provider, plan = _split(provider, plan)

    async def work(operating: Operating) -> int:
        lifts = restored and await _is_restored(operating, provider, plan)
        if lifts and not agreed("Send again what was sent since the backup?", yes=yes):
            return 1
        if restored and not lifts and not as_json:
            console().print(f"{'no plan is' if plan is None else f'plan {plan} is not'} paused because of a restore")
        ended: list[Pause] = []
        remaining: tuple[Pause, ...] = ()
        for whose, which in _targets(provider, plan):
            if lifts:
                ended += await operating.resume_restored(provider=whose, plan=which)
            resumed = await operating.resume(provider=whose, plan=which, force=force)
            ended += resumed.ended
            remaining = tuple(one for one in resumed.remaining if plan in (None, one.plan) and provider in (None, one.provider))
        if as_json:
            say_json({"resumed": ended, "remaining": remaining})
        else:
            _say("resumed", ended, "green")
            _say("still paused", [one for one in remaining if not one.probing], "red")
            _say("no longer paused", [one for one in remaining if one.probing], "yellow")
            _say_next_step(ended, remaining, force=force)
        return 0

    return operate(work)


async def _is_restored(operating: Operating, provider: str | None, plan: str | None) -> bool:
    pauses = (await operating.status()).pauses
    return any(one.kind == RESTORED and plan in (None, one.plan) and provider in (None, one.provider) for one in pauses)


def _split(provider: str | None, plan: str | None) -> tuple[str | None, str | None]:
    """Provider and plan, where the plan may be written PROVIDER:PLAN as the commands of routes take it."""
    named, colon, rest = (plan or "").partition(":")
    if colon and named in registry.names():
        if provider not in (None, named):
            raise typer.BadParameter(f"--plan {plan} is not of --provider {provider}")
        provider, plan = named, rest
    if provider is not None and provider not in registry.names():
        raise typer.BadParameter(f"--provider {provider!r} is no provider: {', '.join(registry.names())}")
    return provider, plan


def _targets(provider: str | None, plan: str | None) -> list[tuple[str | None, str | None]]:
    """The plans to pause or resume: the named one, or else all known plans and the configured ones."""
    configured = _configured()
    if plan is not None:
        return [(provider or next((whose for whose, which in configured if which == plan), None), plan)]
    return [(provider, None), *((whose, which) for whose, which in configured if provider in (None, whose))]


def _configured() -> list[tuple[str, str]]:
    """The configured providers and plans, none where none is configured: an operator's machine may have none."""
    try:
        accounts = [registry.account(chosen) for chosen in registry.configured()]
    except SettingsError:
        return []
    return [(account.provider, account.plan) for account in accounts]


def _unknown_plan(plan: str | None) -> str:
    if plan is None:
        return "no process ever worked for a plan, and none is configured: name one with --plan and --provider"
    return f"no process ever worked for plan {plan}: --provider NAME pauses it all the same"


def _say(what: str, pauses: Sequence[Pause], style: str) -> None:
    for one in pauses:
        line = Text.assemble((what, style), f": {one.provider} {one.plan}, {one.kind}: {scrub(one.reason)}, {words_until(one)}")
        console().print(line)


def _say_next_step(ended: Sequence[Pause], remaining: Sequence[Pause], *, force: bool) -> None:
    if any(one.kind == RESTORED and registry.has_list(one.provider) for one in remaining):
        console().print("the database was restored: `outbox adopt --since TIME`, the time of the backup, ends the pause")
    elif any(one.kind not in ("operator", RESTORED) for one in remaining) and not force:
        console().print(
            "automatic pauses end by themselves; with --force, the next claim sends one message to find out at once"
        )
    elif force and any(one.kind not in ("operator", RESTORED) for one in remaining):
        console().print("the next claim sends one message, and others follow once it is accepted")
    elif not ended and not remaining:
        console().print("nothing was paused" + ("; refused texts are tried at the next claim" if force else ""))
