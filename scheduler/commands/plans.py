"""`outbox plans`: which plans can send, what they carry, and what health took from their weights."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from jobs.gateway.operating import Operating
from jobs.gateway.plans import Health, Membership, PlanView
from jobs.runtime.counts import counted
from jobs.runtime.masking import scrub
from scheduler.commands.operator import Failed, console, operate, say_json
from scheduler.commands.routed_plans import advised, read_single_plan
from scheduler.commands.times import utc

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    help="The plans that processes send through: whether they can send, and how much each carries of a route.",
)

PlanName = Annotated[
    str, typer.Argument(metavar="PLAN", help="The plan, as `outbox plans` lists it. PROVIDER:PLAN is clearer.")
]
Country = Annotated[str | None, typer.Option("--country", help="In this country only, by its code of two letters.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


@app.callback()
def list_plans(context: typer.Context, *, as_json: AsJson = False) -> int:
    """List the plans, what they carry, and why a weight is lower than configured."""
    if context.invoked_subcommand is not None:
        return 0

    async def work(operating: Operating) -> int:
        plans = await operating.plans.list_plans()
        if as_json:
            say_json({"plans": list(plans)})
        elif not plans:
            console().print("no process has claimed for a plan yet: start `outbox run`")
        for plan in () if as_json else plans:
            _print(plan)
        return 0

    return operate(work)


@app.command()
def pin(
    plan: PlanName,
    *,
    lost: Annotated[
        int | None,
        typer.Option(
            "--lost", min=0, max=100, help="How many points of its weight the plan loses. Default: what it has lost by now."
        ),
    ] = None,
    country: Country = None,
    reason: Annotated[str | None, typer.Option("--reason", help="The reason that `outbox plans` shows.")] = None,
    as_json: AsJson = False,
) -> int:
    """Keep the weight of a plan as it is: health changes nothing until `outbox plans release`.

    What a plan loses are points of its weight: of 70, --lost 40 leaves 30. --lost 0 leaves all of it. --lost 100 leaves none,
    so the plan sends only where no other plan of a route can.
    """
    return _set(plan, country, lost=lost, is_pinned=True, reason=reason, as_json=as_json)


@app.command()
def release(plan: PlanName, *, country: Country = None, as_json: AsJson = False) -> int:
    """Let health decide about the weight of a plan again. It comes back by 10 in every quiet quarter of an hour."""
    return _set(plan, country, lost=None, is_pinned=False, reason=None, as_json=as_json)


@app.command()
def forget(
    plan: Annotated[
        str, typer.Argument(metavar="PROVIDER:PLAN", help="The plan, as `outbox plans` lists it, with its provider.")
    ],
    *,
    as_json: AsJson = False,
) -> int:
    """Remove a plan that nobody uses, such as one with a typing error: its limits, pauses, heartbeats and health.

    Refused while a process sends for it, while its requests are unfinished, and while a route or a sender names it. The history
    of its messages stays. If a process uses the plan again, the plan is back.
    """
    wanted = read_single_plan(plan)
    provider, name = wanted.provider.strip().lower(), wanted.plan.strip()

    async def work(operating: Operating) -> int:
        pauses = await advised(operating.plans.forget(provider, name))
        if as_json:
            say_json({"provider": provider, "plan": name, "forgotten": True, "pauses": pauses})
        else:
            ended = f", with {counted(pauses, 'pause')}" if pauses else ""
            console().print(f"{provider} {name} is forgotten{ended}; the history of its messages stays")
        return 0

    return operate(work)


def _set(plan: str, country: str | None, *, lost: int | None, is_pinned: bool, reason: str | None, as_json: bool) -> int:
    async def work(operating: Operating) -> int:
        chosen = _named(plan, await operating.plans.list_plans())
        now = await operating.plans.pin(
            chosen.provider, chosen.plan, country=country, lost=lost, is_pinned=is_pinned, reason=reason
        )
        if as_json:
            say_json({"provider": chosen.provider, "plan": chosen.plan, "country": country, "lost": now, "pinned": is_pinned})
        else:
            where = "" if country is None else f" in {country.upper()}"
            console().print(
                f"{chosen.provider} {chosen.plan} {'is pinned' if is_pinned else 'is released'}{where}: it has lost"
                f" {_points(now)}{'' if is_pinned or now == 0 else ', and gets it back by 10 in 15 quiet minutes'}"
            )
        return 0

    return operate(work)


def _named(name: str, plans: Sequence[PlanView]) -> PlanView:
    found = [one for one in plans if name in (one.plan, f"{one.provider}:{one.plan}", f"{one.provider} {one.plan}")]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{one.provider}:{one.plan}" for one in found or plans) or "none yet"
    raise Failed(f"{'several plans are' if found else 'no plan is'} called {name}: {known}")


def _print(plan: PlanView) -> None:
    state = ("can send", "green") if plan.cannot_send is None else (scrub(plan.cannot_send), "red")
    out = console()
    out.print(Text.assemble((f"{plan.provider} {plan.plan}", "bold"), ": ", state))
    for one in plan.routes:
        out.print(f"  {_place(one)}")
    for health in plan.health:
        out.print(f"  {_words(health)}")


def _place(one: Membership) -> str:
    name = f"route {one.route}"
    if one.without:
        name += f" without {', '.join(one.without)}"
    if one.country:
        name += f" in {one.country}"
    if one.is_retired:
        name += " (retired)"
    weight = "stands by" if one.weight == 0 else f"weight {one.weight}"
    if one.effective != one.weight:
        weight += f", now {one.effective}"
    return f"{name}: {weight}; {one.took:,} in 10 minutes"


def _words(health: Health) -> str:
    where = "" if health.country is None else f" in {health.country}"
    kept = ", pinned" if health.pinned else ""
    return f"lost {_points(health.lost)}{where}{kept}: {scrub(health.reason)} ({utc(health.since)})"


def _points(lost: int) -> str:
    return f"{counted(lost, 'point')} of its weight"
