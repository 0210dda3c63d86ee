"""Helpers for tests of several plans: what one claim of each takes, how routes are weighed, and time that passes."""

from typing import Any

from tests import calls
from tests.engine import later, stand_still
from tests.stack import Connection

FIRST, SECOND = ("sinch", "p"), ("vonage", "app")
Named = tuple[str, str]


def took(db: Connection, named: Named, *, position: int | None = None, rows: int = 100, **settings: Any) -> int:
    """How many messages one claim of this plan takes."""
    provider, plan = named
    answer = calls.claim_answer(db, provider=provider, plan=plan, position=position, rows=rows, **settings)
    return sum(len(dispatch["recipients"]) for dispatch in answer["dispatches"])


def both_alive(db: Connection, **settings: Any) -> None:
    """A claim of each, with nothing to send. ``settings`` are the first one's."""
    stand_still(db)
    assert took(db, FIRST, position=0, **settings) == 0
    assert took(db, SECOND, position=1) == 0


def weigh(db: Connection, weights: dict[Named, int], *, route: int = 0) -> None:
    """Configure a route's plans as `outbox_set_route` does."""
    db.execute("select nextval('outbox_engine.route_ids')")
    if route != 0:
        db.execute("insert into public.outbox_routes (id, name, position, priority_below) values (%s, 'codes', 0, 50)", [route])
    for place, ((provider, plan), weight) in enumerate(weights.items()):
        db.execute("insert into public.outbox_route_plans values (%s, %s, %s, %s, %s)", [route, provider, plan, weight, place])


def tick(db: Connection, *alive: Named, seconds: float = 1) -> None:
    """Time passes in which these plans go on claiming."""
    later(db, f"{seconds} seconds")
    for provider, plan in alive:
        db.execute(
            "update outbox_engine.plans set asked_at = outbox_engine.now() where provider = %s and plan = %s", [provider, plan]
        )


def tick_of(db: Connection, named: Named) -> int:
    """What a plan that stands by takes a second later."""
    later(db, "1 second")
    return took(db, named, position=1)


def pause(db: Connection, named: Named, kind: str, seconds: float = 60) -> None:
    db.execute("select outbox_engine.pause_plan(%s, %s, %s, 'c', 'HTTP 503 away', %s)", [*named, kind, seconds])
