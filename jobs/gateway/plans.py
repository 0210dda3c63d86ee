"""Plans as operators see them: whether they can send, what they carry, and what health took from their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant


@dataclass(frozen=True, slots=True)
class Membership:
    """A plan's place in a route.

    ``weight`` is what is configured, 0 where the plan stands by; ``effective`` is what health leaves. ``took`` counts messages
    of the last ten minutes. The engine's own detours leave out the plans ``without`` or are for one ``country`` only. A retired
    route serves the messages that it has.
    """

    route: str
    weight: int
    effective: int
    took: int
    without: tuple[str, ...] = ()
    country: str | None = None
    is_retired: bool = False

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Membership":
        without, country = tuple(row["without"] or ()), row["country"]
        return cls(row["route"], row["weight"], row["effective"], row["took"], without, country, row["is_retired"])


@dataclass(frozen=True, slots=True)
class Health:
    """The points of its weight that a plan lost, in one country or (None) in all, since when and why.

    ``pinned``: by an operator.
    """

    country: str | None
    lost: int
    pinned: bool
    reason: str
    since: datetime

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Health":
        return cls(**{**row, "since": instant(row["since"])})


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan that a process has claimed for. ``cannot_send`` says why others carry what it would, None where it can send."""

    provider: str
    plan: str
    cannot_send: str | None
    routes: tuple[Membership, ...]
    health: tuple[Health, ...]

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "PlanView":
        return cls(
            provider=row["provider"],
            plan=row["plan"],
            cannot_send=row["cannot_send"],
            routes=tuple(Membership.parse(one) for one in row["routes"]),
            health=tuple(Health.parse(one) for one in row["health"]),
        )


class Plans(Calls):
    """The calls about plans and their weights."""

    async def list_plans(self) -> Sequence[PlanView]:
        """All plans, those of a process in its order."""
        return [PlanView.parse(row) for row in await self._rpc.call("outbox_list_plans", {})]

    async def pin(
        self, provider: str, plan: str, *, country: str | None, lost: int | None, is_pinned: bool, reason: str | None = None
    ) -> int:
        """Pin what a plan loses of its weight (None: as it is), or let health decide again. Returns what it loses now.

        Raises GatewayRefused for a plan or country that is not known, and for a loss that is not from 0 to 100.
        """
        answer = await self._rpc.call(
            "outbox_pin_plan",
            {
                "p_provider": provider,
                "p_plan": plan,
                "p_country": country,
                "p_lost": lost,
                "p_is_pinned": is_pinned,
                "p_reason": reason,
            },
        )
        return int(answer["lost"])

    async def forget(self, provider: str, plan: str) -> int:
        """Remove what the engine keeps of a plan, but for its requests. Returns how many pauses went with it.

        Raises GatewayRefused for a plan that is not known, and for one that is in use.
        """
        answer = await self._rpc.call("outbox_forget_plan", {"p_provider": provider, "p_plan": plan})
        return int(answer["pauses"])
