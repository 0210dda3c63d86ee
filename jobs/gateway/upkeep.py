"""The calls of the campaigns, upkeep and figures jobs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.gateway import values
from jobs.gateway.rpc import Calls
from jobs.gateway.values import Alarm, Expansion


@dataclass(frozen=True, slots=True)
class Left:
    """What is left to do for the dashboard: whether a bulk action goes on, and whether changed messages wait to be counted."""

    bulk: bool
    figures: bool


class Upkeep(Calls):
    """Inserts the messages of campaigns, expires and prunes rows, and hands out alarms."""

    async def expand_campaigns(self, *, most: int) -> Expansion:
        """Insert outbox rows for at most ``most`` members that are due."""
        answer = await self._rpc.call("outbox_expand_campaigns", {"p_most": most})
        return Expansion(campaign=answer["campaign"], members=answer["members"], more=answer["more"])

    async def run_upkeep(self, kept_days: Mapping[str, float | None], *, most: int) -> bool:
        """Make one small step of expiry and retention, of at most ``most`` rows. Returns whether more is due now.

        ``kept_days`` says for how many days each kind is kept (:attr:`jobs.runtime.settings.EngineSettings.kept_days`).
        """
        answer = await self._rpc.call("outbox_run_upkeep", {"p_days": json.dumps(dict(kept_days)), "p_most": most})
        more: bool = answer["more"]
        return more

    async def tend_dashboard(self, kept_days: Mapping[str, float | None], *, most: int) -> Left:
        """Go on with bulk actions that no dashboard drives, and count messages for charts, for about a second."""
        return Left(**await self._rpc.call("outbox_tend_dashboard", {"p_days": json.dumps(dict(kept_days)), "p_most": most}))

    async def find_overlooked(self) -> None:
        """Find due rows that claims pass over. From now on claims take them, and an alarm names them."""
        await self._rpc.call("outbox_find_overlooked", {})

    async def take_alarms(self, *, limit: int) -> tuple[Alarm, ...]:
        """Take alarms that no process has logged yet. For a minute they are the caller's, to log and acknowledge."""
        answer = await self._rpc.call("outbox_take_alarms", {"p_limit": limit})
        return tuple(
            Alarm(id=row["id"], at=values.instant(row["at"]), kind=row["kind"], detail=values.alarm_detail(row["detail"]))
            for row in answer
        )

    async def acknowledge_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Record that these alarms were logged."""
        await self._rpc.call("outbox_acknowledge_alarms", {"p_ids": [str(alarm.id) for alarm in alarms]})
