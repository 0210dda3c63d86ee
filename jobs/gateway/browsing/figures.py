"""Delivery by hour or day, from the roll-up that the upkeep job keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant

Unit = Literal["hour", "day", "all"]
By = Literal["country", "plan", "code", "status"]


@dataclass(frozen=True, slots=True)
class Figure:
    """The messages that were to go out in one hour, one day, or all of the time asked for, from ``at`` on.

    ``by`` is the country, plan, code or status, None where it is not known or not asked for. ``statuses`` counts messages by
    status; ``waiting`` are those not sent yet. ``delivery_rate`` is the share of delivered messages among those with an
    outcome, from 0 to 1. ``p50`` and ``p95`` are seconds from acceptance to delivery, estimated within their bucket.
    """

    at: datetime
    by: str | None
    messages: int
    parts: int
    statuses: Mapping[str, int]
    delivery_rate: float | None
    p50: float | None
    p95: float | None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{**row, "at": instant(row["at"])})


class FigureCalls(Calls):
    """Asks for figures."""

    async def delivery_figures(
        self, since: datetime, until: datetime, unit: Unit, by: By | None = None, zone: str = "UTC"
    ) -> tuple[Figure, ...]:
        """Figures of ``[since, until)`` in order of time. Days are those of the time zone ``zone``."""
        answer = await self._rpc.call(
            "outbox_delivery_figures",
            {"p_since": since.isoformat(), "p_until": until.isoformat(), "p_unit": unit, "p_by": by, "p_zone": zone},
        )
        return tuple(Figure.parse(row) for row in answer)
