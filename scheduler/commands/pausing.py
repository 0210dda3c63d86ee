"""`outbox pause` and `outbox resume`: whether anybody sends for a plan."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from jobs.gateway.operating import Operating
from jobs.gateway.standing import Pause
from jobs.providers import registry
from jobs.runtime import settings
from jobs.runtime.settings import SettingsError, SinchSettings
from jobs.runtime.telemetry import scrub
from scheduler.commands import times
from scheduler.commands.operator import Failed, console, operate, say_json
from scheduler.commands.standing_view import until as words_until

Plan = Annotated[
    str | None, typer.Option("--plan", help="A service plan. Without it: every plan ever worked for, and the configured one.")
]
ProviderName = Annotated[str | None, typer.Option("--provider", help="The plan's provider, where nobody worked for it yet.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def pause(
    *,
    plan: Plan = None,
    provider: ProviderName = None,
    until: Annotated[str | None, typer.Option("--until", help="End by itself at a time, such as 2027-01-31T09:00Z.")] = None,
    duration: Annotated[str | None, typer.Option("--for", help="End by itself after so long, such as 30m.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for those who look at the status.")] = None,
    as_json: AsJson = False,
) -> int:
    """Stop sending, for all processes, until a time or until resumed. What is in a request already is not called back.

    Reports are taken, lost requests looked for and campaigns expanded all the same.
    """
    _check(provider)
    if until and duration:
        raise typer.BadParameter("give --until or --for")
    at = None if until is None else times.moment(until)
    seconds = None if duration is None else times.seconds(duration)

    async def work(operating: Operating) -> int:
        paused: list[Pause] = []
        for whose, which in _meant(provider, plan):
            if (whose, which) not in [(one.provider, one.plan) for one in paused]:
                paused += await operating.pause(provider=whose, plan=which, until=at, seconds=seconds, reason=reason)
        if not paused:
            raise Failed(_nobody_worked_for(plan))
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
        bool, typer.Option("--force", help="End the other pauses too: the next claim finds out whether they are over.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """End an operator's pause, and say what else still holds the plan back."""
    _check(provider)

    async def work(operating: Operating) -> int:
        ended: list[Pause] = []
        remaining: tuple[Pause, ...] = ()
        for whose, which in _meant(provider, plan):
            resumed = await operating.resume(provider=whose, plan=which, force=force)
            ended += resumed.ended
            remaining = tuple(one for one in resumed.remaining if plan in (None, one.plan) and provider in (None, one.provider))
        if as_json:
            say_json({"resumed": ended, "remaining": remaining})
        else:
            _say("resumed", ended, "green")
            _say("still paused", remaining, "red")
            _say_what_next(ended, remaining, force=force)
        return 0

    return operate(work)


def _check(provider: str | None) -> None:
    if provider is not None and provider not in registry.names():
        raise typer.BadParameter(f"--provider {provider!r} is no provider: {', '.join(registry.names())}")


def _meant(provider: str | None, plan: str | None) -> list[tuple[str | None, str | None]]:
    """What is asked of the database: a plan by its name; else all that are known, and the configured one, known or not."""
    configured = _configured()
    if plan is not None:
        return [(provider or (configured[0] if configured is not None and configured[1] == plan else None), plan)]
    everything: list[tuple[str | None, str | None]] = [(provider, None)]
    return everything if configured is None or provider not in (None, configured[0]) else [*everything, configured]


def _configured() -> tuple[str, str] | None:
    """Operators may work where no plan is configured."""
    try:
        return registry.identity(settings.load(SinchSettings))
    except SettingsError:
        return None


def _nobody_worked_for(plan: str | None) -> str:
    if plan is None:
        return "no process ever worked for a plan, and none is configured: name one with --plan and --provider"
    return f"no process ever worked for plan {plan}: --provider NAME pauses it all the same"


def _say(what: str, pauses: Sequence[Pause], style: str) -> None:
    for one in pauses:
        line = Text.assemble((what, style), f": {one.provider} {one.plan}, {one.kind}: {scrub(one.reason)}, {words_until(one)}")
        console().print(line)


def _say_what_next(ended: Sequence[Pause], remaining: Sequence[Pause], *, force: bool) -> None:
    if any(one.kind != "operator" for one in remaining) and not force:
        console().print("what no operator said ends by itself; --force has the next claim find out now whether they are over")
    elif not ended and not remaining:
        console().print("nothing was paused")
