"""Helpers for tests of routes: make routes and detours as they are stored, and read which one messages take."""

from typing import Any

from psycopg.types.json import Jsonb

from tests.stack import Connection


def route(db: Connection, name: str, *, plan: str = "p", **columns: Any) -> int:
    """Store a route with one plan, whatever `outbox_set_route` says to it. Returns its id."""
    values = {"name": name, "position": 1, **columns}
    found = db.execute(
        f"insert into public.outbox_routes ({', '.join(values)}) values ({', '.join(['%s'] * len(values))}) returning id",
        list(values.values()),
    ).fetchone()
    assert found is not None
    db.execute("insert into public.outbox_route_plans values (%s, 'sinch', %s, 100, 1)", [found[0], plan])
    return int(str(found[0]))


def detour(db: Connection, of: int, *without: str, country: str | None = None) -> int:
    """Store a detour of the route with the id ``of``. Returns its id."""
    found = db.execute(
        "insert into outbox_engine.detours (route, without, country) values (%s, %s, %s) returning id",
        [of, list(without), country],
    ).fetchone()
    assert found is not None
    return int(str(found[0]))


def route_of(db: Connection, message: int) -> str:
    """The name of a message's route; ``default`` for the default one. Of a detour, its id: `detour 7`."""
    found = db.execute(
        "select coalesce((select name from public.outbox_routes where id = o.route),"
        " case when o.route = 0 then 'default' else 'detour ' || o.route end) from public.outbox o where o.id = %s",
        [message],
    ).fetchone()
    assert found is not None
    return str(found[0])


def routes_of(db: Connection, *messages: int) -> list[str]:
    return [route_of(db, message) for message in messages]


def live(db: Connection, provider: str, plan: str, *, worker: str = "w", version: int = 2) -> None:
    """A process that sends for this plan was heard of just now."""
    db.execute(
        "select outbox_engine.record_heartbeat('dispatch', %s, %s, %s, null, %s)",
        [provider, plan, worker, version],
    )


def set_route(
    db: Connection,
    name: str,
    plans: Any,
    *,
    channel: str | None = None,
    countries: list[str | None] | None = None,
    from_: int | None = None,
    below: int | None = None,
    campaign: str | None = None,
    after_network_failure: bool = False,
    position: int | None = None,
    allow_absent: bool = False,
) -> dict[str, Any]:
    """Call `outbox_set_route`. Returns the route."""
    row = db.execute(
        "select public.outbox_set_route(%s, %s, %s, %s::text[], %s::smallint, %s::smallint, %s, %s, %s::smallint, %s)",
        [name, Jsonb(plans), channel, countries, from_, below, campaign, after_network_failure, position, allow_absent],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return row[0]
