"""Messages that wait for accounts: which may send them, and that none waits for nobody."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from tests.simulation.database import Database

_MOST_WAIT: Final = timedelta(minutes=2)
"""Upkeep ends messages that no account may send, many at once."""

_OF_ROUTE: Final = """
    with way as (
      select coalesce(d.route, x.id) as route, coalesce(d.without, '{}') as without
      from (values (%s::smallint)) x (id)
      left join outbox_engine.detours d on d.id = x.id
    )
    select m.provider
    from way
    join (
      select p.route, p.provider, p.plan from public.outbox_route_plans p
      union all
      select 0, p.provider, p.plan from outbox_engine.plans p
      where not exists (select from public.outbox_route_plans x where x.route = 0)
    ) m on m.route = way.route
    where m.provider || ' ' || m.plan <> all (way.without)
"""
_DUE: Final = """
    select o.route, min(o.id) as id, outbox_engine.now() as now
    from public.outbox o
    where o.queue is not null and o.due_at <= outbox_engine.now()
      and not exists (select from outbox_engine.plan_pauses where kind = 'restored')
    group by o.route
"""


def providers_of(database: Database, route: int) -> list[str]:
    """Whose accounts may send what waits on this route or detour, as it is configured."""
    return [row["provider"] for row in database.query(_OF_ROUTE, [route])]


class Waiting:
    """Told again and again once nothing changes any more: complains of a message that waits on a route without accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since: dict[int, datetime] = {}

    def wrong(self) -> Iterator[str]:
        waiting = {row["route"]: row for row in self._database.query(_DUE) if not providers_of(self._database, row["route"])}
        self._since = {route: self._since.get(route, row["now"]) for route, row in waiting.items()}
        for route, row in waiting.items():
            if row["now"] - self._since[route] > _MOST_WAIT:
                yield f"message {row['id']} waits on route {route}, which has no account, since {self._since[route]}"
