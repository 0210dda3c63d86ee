"""The screens of `outbox routes` and `outbox senders`."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.gateway.routing import Conditions, ListedPlan, Route, SenderAlias
from jobs.runtime.counts import counted

_MOST_COUNTED: Final = 10_000
_STAND_BY: Final = "stand-by"


def screen(routes: Sequence[Route]) -> RenderableType:
    """The table of all routes, and a line for each plan and each route without a process."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("route", overflow="fold")
    # Only the first column wraps: a plan that is cut in two lines cannot be copied.
    table.add_column("plan", overflow="fold", no_wrap=True)
    table.add_column("weight", justify="right", no_wrap=True)
    for route in routes:
        for words, plan in zip_longest(_lines(route), route.plans):
            table.add_row(words, *(("", "") if plan is None else (f"{plan.provider} {plan.plan}", _weight(plan))))
    return Group(table, *_absent(routes), *_unserved(routes))


def done(route: Route, what: str, *, changed: int, skipped: int, only_new: bool) -> RenderableType:
    """What became of one route and of the messages that wait."""
    lines = [Text(_became(route, what))]
    if only_new and route.retired_at is not None:
        lines.append(Text(f"it serves the messages that it has ({_waiting(route)}) until they are gone"))
    if not only_new:
        lines.append(Text(f"{counted(changed, 'waiting message')} got another route"))
    if skipped:
        lines.append(Text(f"{counted(skipped, 'message')} in use just now: matched when they return to the queue"))
    return Group(*lines, *([] if route.retired_at is not None else _unserved([route])))


def aliases(senders: Sequence[SenderAlias]) -> RenderableType:
    """The table of sender aliases."""
    if not senders:
        return Text("no aliases: each plan sends the sender of a message as it is")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("alias", overflow="fold")
    # What an operator copies is never cut in two lines.
    table.add_column("plan and options", overflow="fold", no_wrap=True)
    table.add_column("sender", overflow="fold", no_wrap=True)
    for one in senders:
        numbers = f"  numbers of {one.country}" if one.country else "  all others"
        options = [f"  {key}={value}" for key, value in (one.options or {}).items()]
        left, middle = [one.alias, numbers], [f"{one.provider} {one.plan}", *options]
        for alias, plan, sender in zip_longest(left, middle, [one.sender]):
            table.add_row(alias, plan, sender)
    return table


def _became(route: Route, what: str) -> str:
    if route.name == "default" and what == "removed":
        return "the default route has all configured plans again"
    return f"route {route.name} is {what}"


def _lines(route: Route) -> list[Text]:
    """The name, and what else there is to say about the route, a line for each. They stand beside the plans."""
    lines = [Text(f"  {words}") for words in _conditions(route.conditions)] or [Text("  all other messages")]
    if not route.plans:
        lines.append(Text("  all plans, first to last"))
    if route.after_network_failure:
        lines.append(Text("  after network failure"))
    if route.retired_at is not None:
        lines.append(Text("  retired", "yellow"))
    if route.waiting:
        lines.append(Text(f"  {_waiting(route)} waiting"))
    return [Text(route.name, "bold"), *lines]


def _weight(plan: ListedPlan) -> str:
    return str(plan.weight) if plan.weight else _STAND_BY


def _conditions(conditions: Conditions) -> Iterator[str]:
    if conditions.campaign is not None:
        yield f"campaign {conditions.campaign}"
    if conditions.countries is not None:
        yield ", ".join(conditions.countries)
    if conditions.priority_from is not None and conditions.priority_below is not None:
        yield f"priority {conditions.priority_from} to {conditions.priority_below - 1}"
    elif conditions.priority_from is not None:
        yield f"priority from {conditions.priority_from}"
    elif conditions.priority_below is not None:
        yield f"priority below {conditions.priority_below}"
    if conditions.channel is not None:
        yield conditions.channel


def _waiting(route: Route) -> str:
    return f"{route.waiting:,}{'+' if route.waiting >= _MOST_COUNTED else ''}"


def _absent(routes: Sequence[Route]) -> list[Text]:
    plans = {(plan.provider, plan.plan) for route in routes for plan in route.plans if not plan.is_live}
    return [Text(f"no running process sends for plan {provider} {plan}", "yellow") for provider, plan in sorted(plans)]


def _unserved(routes: Sequence[Route]) -> list[Text]:
    return [
        Text(f"no running process serves route {route.name}: {_waiting(route)} waiting", "red" if route.waiting else "yellow")
        for route in routes
        if not route.serves and (route.waiting or route.retired_at is None)
    ]
