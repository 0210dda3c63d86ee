"""Delivery by hour or day, from the roll-up that the figures job keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant, moment

Unit = Literal["hour", "day", "all"]
By = Literal["country", "plan", "code"]


@dataclass(frozen=True, slots=True)
class Figure:
    """The messages that were to go out in one hour, one day, or all of the time asked for, from ``at`` on.

    ``by`` is the country, plan or code, None where it is not known or not asked for. ``statuses`` counts messages by
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


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """Figures of one time: of all of it, by hour or day, and of all of it by country, plan and code.

    ``counted_at``: they have all that happened until then. None if nothing was counted yet.
    """

    counted_at: datetime | None
    whole: Figure | None
    times: tuple[Figure, ...]
    splits: Mapping[By, tuple[Figure, ...]]


class FigureCalls(Calls):
    """Asks for figures."""

    async def delivery_report(self, since: datetime, until: datetime, unit: Unit, zone: str) -> DeliveryReport:
        """The figures of ``[since, until)``. Days are those of the time zone ``zone``."""
        answer = await self._rpc.call(
            "outbox_delivery_report",
            {"p_since": since.isoformat(), "p_until": until.isoformat(), "p_unit": unit, "p_zone": zone},
        )
        return DeliveryReport(
            counted_at=moment(answer["counted_at"]),
            whole=next(iter(_figures(answer["all"])), None),
            times=_figures(answer["time"]),
            splits={"country": _figures(answer["country"]), "plan": _figures(answer["plan"]), "code": _figures(answer["code"])},
        )

    async def delivery_figures(
        self, since: datetime, until: datetime, unit: Unit, by: By | None = None, zone: str = "UTC"
    ) -> tuple[Figure, ...]:
        """Figures of ``[since, until)`` in order of time. Days are those of the time zone ``zone``."""
        answer = await self._rpc.call(
            "outbox_delivery_figures",
            {"p_since": since.isoformat(), "p_until": until.isoformat(), "p_unit": unit, "p_by": by, "p_zone": zone},
        )
        return _figures(answer)


def _figures(rows: Sequence[Mapping[str, Any]]) -> tuple[Figure, ...]:
    return tuple(Figure.parse(row) for row in rows)
