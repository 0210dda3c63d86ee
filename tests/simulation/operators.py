"""What happens to whole accounts where a history has two: operators pause and weigh them, and providers are away."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Final

import psycopg

from tests.simulation.actors import Stage
from tests.simulation.books import Books
from tests.simulation.provider import Line

_WEIGHTS: Final = (0, 0, 10, 50, 90, 100)
_ROUTES: Final[Mapping[str, tuple[list[str] | None, int | None]]] = {
    "default": (None, None), "codes": (None, 100), "north": (["US", "CA"], None), "north-codes": (["US"], 100),
}  # fmt: skip
"""The countries that each route matches, and the priority below which it does."""


def _pause(stage: Stage) -> float:
    """So that about half a dozen of these happen to one history."""
    return stage.chaos.between(0, 0.3 * stage.chaos.profile.trouble)


async def lose_provider(stage: Stage, books: Books) -> None:
    """The provider is away for a while: it refuses connections or answers nothing, and calls nobody back."""
    while books.chaos.happens("provider.away"):
        await asyncio.sleep(_pause(stage))
        if stage.chaos.ended:
            return
        books.present.clear()
        stage.witness.say(books.provider, "is away")
        await asyncio.sleep(stage.chaos.between(5, 90))
        books.present.set()
        stage.witness.say(books.provider, "is back")


async def pause_accounts(stage: Stage, accounts: Sequence[Books]) -> None:
    """An operator pauses one account, for a time or until they resume it."""
    while stage.chaos.happens("operator.pauses"):
        await asyncio.sleep(_pause(stage))
        if stage.chaos.ended:
            return
        books = stage.chaos.pick(accounts)
        seconds = stage.chaos.pick((None, stage.chaos.between(5, 120)))
        stage.act(
            "select public.outbox_pause(%s, %s, null, %s::double precision, 'maintenance')", books.provider, Line.plan, seconds
        )
        stage.witness.say("operator", f"pauses {books.provider} for {seconds or 'ever'}")
        if seconds is None:
            await asyncio.sleep(stage.chaos.between(5, 90))
            resume(stage, [books])


def resume(stage: Stage, accounts: Sequence[Books]) -> None:
    """An operator ends their pauses of these accounts."""
    for books in accounts:
        stage.act("select public.outbox_resume(%s, %s, false)", books.provider, Line.plan)
        stage.witness.say("operator", f"resumes {books.provider}")


async def set_routes(stage: Stage, accounts: Sequence[Books]) -> None:
    """An operator writes routes and weights, or removes a route. Each route keeps one plan at least."""
    while stage.database.has("outbox_set_route") and stage.chaos.happens("operator.routes"):
        await asyncio.sleep(_pause(stage))
        if stage.chaos.ended:
            return
        name = stage.chaos.pick(tuple(_ROUTES))
        if stage.chaos.pick((True, False, False, False)):
            _change(stage, f"removes route {name}", "select public.outbox_remove_route(%s)", name)
        else:
            _set_route(stage, name, stage.chaos.pick((accounts, accounts, accounts[:1], accounts[1:])))
        if stage.chaos.pick((True, False)):
            _change(stage, "matches again", "select public.outbox_match_again(0, 1000)")


def _set_route(stage: Stage, name: str, accounts: Sequence[Books]) -> None:
    plans = [{"provider": one.provider, "plan": Line.plan, "weight": stage.chaos.pick(_WEIGHTS)} for one in accounts]
    _change(
        stage,
        f"sets route {name} to {plans}",
        "select public.outbox_set_route(p_name => %s, p_plans => %s::jsonb, p_countries => %s::text[],"
        " p_priority_below => %s::smallint, p_allow_absent => %s, p_after_network_failure => %s)",
        name, json.dumps(plans), *_ROUTES[name], stage.chaos.pick((True, False)), stage.chaos.happens("operator.trusts"),
    )  # fmt: skip


async def pin_weights(stage: Stage, accounts: Sequence[Books]) -> None:
    """An operator sets what an account has lost of its weight, and keeps the engine from changing that for a while."""
    while stage.database.has("outbox_pin_plan") and stage.chaos.happens("operator.pins"):
        await asyncio.sleep(_pause(stage))
        if stage.chaos.ended:
            return
        provider, lost = stage.chaos.pick(accounts).provider, stage.chaos.pick((None, 0, 50, 100))
        pin = "select public.outbox_pin_plan(%s, %s, null, %s::smallint, %s)"
        _change(stage, f"pins {provider}, which has lost {lost}", pin, provider, Line.plan, lost, True)
        await asyncio.sleep(stage.chaos.between(5, 60))
        _change(stage, f"releases {provider}", pin, provider, Line.plan, stage.chaos.pick((None, 0)), False)


def _change(stage: Stage, what: str, statement: str, *arguments: object) -> None:
    """What the database refuses changes nothing, such as a route that names an account without a process."""
    try:
        stage.act(statement, *arguments)
    except psycopg.errors.InvalidParameterValue as error:
        stage.witness.say("operator", f"{what}: {error.diag.message_primary}")
    else:
        stage.witness.say("operator", what)
