"""What happens to whole accounts where a history has two: operators pause and weigh them, and providers are away."""

import asyncio
import json
from collections.abc import Sequence
from typing import Final

import psycopg

from tests.simulation.actors import Stage
from tests.simulation.books import Books
from tests.simulation.provider import Line

_WEIGHTS: Final = (0, 0, 10, 50, 90, 100)
_ROUTES: Final = ("default", "default", "codes", "abroad")
_MATCHES: Final = {"default": "{}", "codes": '{"priority_below": 100}', "abroad": '{"countries": ["US"]}'}


async def lose_provider(stage: Stage, books: Books) -> None:
    """The provider is away for a while: it refuses connections or answers nothing, and calls nobody back."""
    while books.chaos.happens("provider.away"):
        await asyncio.sleep(stage.rest())
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
        await asyncio.sleep(stage.rest())
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
    """An operator writes routes and weights. Each route keeps one plan at least."""
    while stage.database.has("outbox_set_route") and stage.chaos.happens("operator.routes"):
        await asyncio.sleep(stage.rest())
        if stage.chaos.ended:
            return
        name = stage.chaos.pick(_ROUTES)
        chosen = stage.chaos.pick((accounts, accounts, accounts[:1], accounts[1:]))
        plans = [{"provider": books.provider, "plan": Line.plan, "weight": stage.chaos.pick(_WEIGHTS)} for books in chosen]
        _set_route(stage, name, json.dumps(plans))


def _set_route(stage: Stage, name: str, plans: str) -> None:
    try:
        # ROUTES: what the route matches (`_MATCHES`), by the parameters of the function.
        stage.act("select public.outbox_set_route(p_name => %s, p_plans => %s::jsonb)", name, plans)
    except psycopg.Error as error:
        # It names an account that no living process is configured for.
        stage.witness.say("operator", f"cannot set route {name}: {error}")
    else:
        stage.witness.say("operator", f"sets route {name} to {plans}")


async def pin_weights(stage: Stage, accounts: Sequence[Books]) -> None:
    """An operator keeps the engine from lowering the weight of an account, and lets it again."""
    # ROUTES: the function that pins a weight.
    while stage.database.has("outbox_pin_weight") and stage.chaos.happens("operator.pins"):
        await asyncio.sleep(stage.rest())
        if stage.chaos.ended:
            return
        books = stage.chaos.pick(accounts)
        stage.witness.say("operator", f"pins {books.provider}")
