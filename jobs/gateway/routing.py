"""The calls that an operator makes about routes and sender aliases. The rules are in `supabase/schemas`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from jobs.gateway.rpc import Calls
from jobs.gateway.values import moment


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """A plan of a route. A ``weight`` of None leaves it to the database; 0 stands by."""

    provider: str
    plan: str
    weight: int | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a route matches. None matches all."""

    channel: str | None = None
    countries: tuple[str, ...] | None = None
    priority_from: int | None = None
    priority_below: int | None = None
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class ListedPlan(RoutePlan):
    """A plan of a stored route. ``is_live``: a process sends for it."""

    is_live: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A stored route. The default route has no conditions and no position, and without ``plans`` all plans.

    ``serves`` is False where no process sends for any of its plans. ``waiting`` counts messages up to 10,000. After
    ``retired_at`` it takes no new ones.
    """

    name: str
    position: int | None
    conditions: Conditions
    after_network_failure: bool
    retired_at: datetime | None
    plans: tuple[ListedPlan, ...]
    serves: bool
    waiting: int

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Route":
        countries = row["countries"]
        return cls(
            name=row["name"],
            position=row["position"],
            conditions=Conditions(
                row["channel"],
                None if countries is None else tuple(countries),
                row["priority_from"],
                row["priority_below"],
                row["campaign"],
            ),
            after_network_failure=row["after_network_failure"],
            retired_at=moment(row["retired_at"]),
            plans=tuple(ListedPlan(**plan) for plan in row["plans"]),
            serves=row["serves"],
            waiting=row["waiting"],
        )


@dataclass(frozen=True, slots=True)
class Matched:
    """One stretch of the table, matched again. ``after`` is where the next one begins, None at the end.

    ``looked_at`` counts messages, ``changed`` those that got another route, ``skipped`` those that another transaction holds.
    ``last`` is the id of the newest message, None without messages.
    """

    after: int | None
    last: int | None
    looked_at: int
    changed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class SenderAlias:
    """What ``alias`` is called at a plan, for numbers of a country; '' is all that have no alias of their own."""

    alias: str
    provider: str
    plan: str
    country: str
    sender: str
    options: Mapping[str, str] | None


class Routing(Calls):
    """Each method is one call and safe to repeat. It raises as :class:`jobs.gateway.operating.Operating` does."""

    async def list_routes(self) -> tuple[Route, ...]:
        """All routes in the order in which messages are compared with them, the default one and retired ones last."""
        return tuple(Route.parse(row) for row in await self._rpc.call("outbox_list_routes", {}))

    async def set_route(
        self,
        name: str,
        plans: Sequence[RoutePlan],
        conditions: Conditions,
        *,
        after_network_failure: bool,
        position: int | None,
        allow_absent: bool,
    ) -> Route:
        """Write a route as a whole. Waiting messages keep theirs until :meth:`match_again`."""
        answer = await self._rpc.call(
            "outbox_set_route",
            {
                "p_name": name,
                "p_plans": json.dumps([asdict(plan) for plan in plans]),
                "p_channel": conditions.channel,
                "p_countries": None if conditions.countries is None else list(conditions.countries),
                "p_priority_from": conditions.priority_from,
                "p_priority_below": conditions.priority_below,
                "p_campaign": conditions.campaign,
                "p_after_network_failure": after_network_failure,
                "p_position": position,
                "p_allow_absent": allow_absent,
            },
        )
        return Route.parse(answer)

    async def remove_route(self, name: str) -> Route:
        """Retire a route. ``default`` has all configured plans again."""
        return Route.parse(await self._rpc.call("outbox_remove_route", {"p_name": name}))

    async def match_again(self, *, after: int, most: int) -> Matched:
        """Give those of the next ``most`` messages after the id ``after`` that wait the routes that they match now."""
        answer = await self._rpc.call("outbox_match_again", {"p_after": after, "p_most": most})
        return Matched(answer["next"], answer["last"], answer["looked_at"], answer["changed"], answer["skipped"])

    async def list_senders(self) -> tuple[SenderAlias, ...]:
        return tuple(SenderAlias(**row) for row in await self._rpc.call("outbox_list_senders", {}))

    async def set_sender(self, alias: SenderAlias, *, allow_absent: bool = False) -> SenderAlias:
        """Write an alias, in place of the one for this plan and country.

        Refused if no process has claimed for the plan and no route has it, unless ``allow_absent``.
        """
        answer = await self._rpc.call(
            "outbox_set_sender",
            {
                "p_alias": alias.alias,
                "p_provider": alias.provider,
                "p_plan": alias.plan,
                "p_sender": alias.sender,
                "p_country": alias.country,
                "p_options": None if alias.options is None else json.dumps(dict(alias.options)),
                "p_allow_absent": allow_absent,
            },
        )
        return SenderAlias(**answer)

    async def remove_sender(self, *, alias: str, provider: str, plan: str, country: str) -> SenderAlias:
        """Remove an alias for this plan and country, and return it."""
        answer = await self._rpc.call(
            "outbox_remove_sender", {"p_alias": alias, "p_provider": provider, "p_plan": plan, "p_country": country}
        )
        return SenderAlias(**answer)
