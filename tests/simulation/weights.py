"""Which account may take which message: those of its route, and no more of them than its weight allows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tests.simulation.database import SLACK, Database
from tests.simulation.provider import Line

_WINDOW: Final = timedelta(minutes=10)

_PLANS: Final = """
    select p.provider, p.asked_at > %s::timestamptz - 2 * p.tick as is_alive, p.spent_since is not null as is_spent,
      coalesce(p.position, 0) as place,
      exists (
        select from outbox_engine.plan_pauses x where x.kind <> 'setting' and x.provider = p.provider and x.plan = p.plan
      ) as is_paused
    from outbox_engine.plans p
"""
_TAKEN: Final = """
    select o.route, coalesce(t.route, o.route) as base, coalesce(t.without, '{}') as without,
      coalesce(t.country, '') as country, count(*)::integer as messages, outbox_engine.has_routes() as is_counted
    from outbox_engine.dispatches d
    join outbox_engine.dispatch_members m on m.dispatch_id = d.id
    join public.outbox o on o.id = m.outbox_id
    left join outbox_engine.detours t on t.id = o.route
    where d.claim_id = %s and d.claimed_at = %s and d.parent_id is null
    group by 1, 2, 3, 4
"""
_WEIGHTS: Final = """
    select p.provider, p.weight, p.position as place,
      coalesce((
        select sum(h.lost) from outbox_engine.plan_health h
        where h.provider = p.provider and h.plan = p.plan and h.country in ('', %s)
      ), 0) as lost
    from public.outbox_route_plans p
    where p.route = %s
"""

_LOST: Final = "select provider, sum(lost) as lost from outbox_engine.plan_health where country in ('', %s) group by 1"


@dataclass(frozen=True, slots=True)
class _Member:
    """An account of a route: its weight as configured, and what health leaves of it."""

    configured: int
    weight: int


@dataclass(frozen=True, slots=True)
class _Sent:
    """What one claim took of a route. Before there are routes, the engine need not count it."""

    minute: datetime
    route: int
    provider: str
    messages: int
    is_counted: bool


class Weights:
    """Judges claims of a history with two accounts. Where it is unclear whether the other account can send, it says nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._before: Mapping[str, Mapping[str, Any]] = {}
        self._sent: list[_Sent] = []

    def wrong(self, arguments: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with the claim that was just carried out."""
        now, provider = self._database.now, arguments["p_provider"]
        assert now is not None
        plans = {row["provider"]: row for row in self._database.query(_PLANS, [now])}
        before, self._before = self._before, plans
        for taken in self._database.query(_TAKEN, [arguments["p_claim_id"], now]):
            minute = now.replace(second=0, microsecond=0)
            self._sent.append(_Sent(minute, taken["route"], provider, taken["messages"], taken["is_counted"]))
            members = self._members(taken, plans)
            name = f"{provider} took {taken['messages']} messages of route {taken['route']}"
            if provider not in members:
                yield f"{name}, which has only {sorted(members)}"
            elif not taken["is_counted"] and arguments["p_position"] is None:
                continue  # A process that knows of no other account takes everything while there are no routes.
            elif self._is_sure(provider, members, before) and self._is_sure(provider, members, plans):
                yield from (f"{name}, {why}" for why in self._too_many(taken["route"], provider, members, now))

    def _members(self, taken: Mapping[str, Any], plans: Mapping[str, Mapping[str, Any]]) -> dict[str, _Member]:
        """The default route without plans has all, of which the first carries everything."""
        bound: Sequence[Mapping[str, Any]] = self._database.query(_WEIGHTS, [taken["country"], taken["base"]])
        if not bound and taken["base"] == 0:
            first = min((plan["place"] for plan in plans.values()), default=0)
            lost = {row["provider"]: row["lost"] for row in self._database.query(_LOST, [taken["country"]])}
            bound = [
                {"provider": name, "weight": 100 if plan["place"] == first else 0, "lost": lost.get(name, 0)}
                for name, plan in plans.items()
            ]
        return {
            row["provider"]: _Member(row["weight"], max(0, row["weight"] - int(row["lost"])))
            for row in bound
            if f"{row['provider']} {Line.plan}" not in taken["without"]
        }

    def _is_sure(self, provider: str, members: Mapping[str, _Member], plans: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether both accounts of the route can send without any doubt."""
        return len(members) == 2 and all(
            name in plans
            and not plans[name]["is_paused"]
            and not plans[name]["is_spent"]
            and (name == provider or plans[name]["is_alive"])
            for name in members
        )

    def _too_many(self, route: int, provider: str, members: Mapping[str, _Member], now: datetime) -> Iterator[str]:
        own = members[provider]
        other = next(member for name, member in members.items() if name != provider)
        if own.weight and other.weight:
            share = own.weight / (own.weight + other.weight)
        elif own.weight:
            share = own.weight / own.configured
        elif other.weight:
            share = 1 - other.weight / other.configured
        else:
            return
        recent = [sent for sent in self._sent if now - _WINDOW < sent.minute <= now and sent.route == route]
        sent = sum(one.messages for one in recent if one.provider == provider and one.is_counted)
        total = sent + sum(one.messages for one in recent if one.provider != provider)
        if share == 0:
            yield "although it stands by"
        elif share < 1 and sent > share * total + SLACK + 0.001:
            yield f"{sent} of {total}, although its share is {share:.2f}"
