"""The calls of the jobs that ask the provider for reports and replies."""

from collections.abc import Sequence

from jobs.gateway.rpc import Calls
from jobs.gateway.values import MissingReports, Plan, Window
from jobs.providers.base import Refusal


class Polling(Calls):
    """Takes due batches and windows, and draws requests from the limits of the plan."""

    async def claim_reconciliation(self, plan: Plan, *, limit: int) -> MissingReports:
        """Take batches whose missing reports are due to be asked for. Another call does not return them for two minutes."""
        answer = await self._rpc.call(
            "outbox_claim_reconciliation", {"p_provider": plan.provider, "p_plan": plan.plan, "p_limit": limit}
        )
        feed = answer["feed"]
        return MissingReports(
            batches=tuple(answer["batches"]),
            feed=None if feed is None else Window.parse(feed),
            by_feed=() if feed is None else tuple(feed["batches"]),
            more=answer["more"],
        )

    async def finish_reconciliation(self, plan: Plan, batches: Sequence[str], *, answered: bool = True) -> None:
        """Record that the provider was asked about these batches; they are due again later.

        ``answered`` is False for batches that the provider gives no answer about while it answers others. After a time the
        database gives those up.
        """
        await self._rpc.call(
            "outbox_finish_reconciliation",
            {"p_provider": plan.provider, "p_plan": plan.plan, "p_batch_ids": list(batches), "p_answered": answered},
        )

    async def claim_inbound_window(self, plan: Plan, *, interval: float) -> Window | None:
        """Take the next window of inbound messages. The call draws the request for its first page from the plan's limits.

        None if another process read it less than ``interval`` ago, or if the plan allows no request.
        """
        answer = await self._rpc.call(
            "outbox_claim_inbound_window",
            {"p_provider": plan.provider, "p_plan": plan.plan, "p_interval_seconds": interval},
        )
        return None if answer is None else Window.parse(answer)

    async def finish_inbound_window(self, plan: Plan, window: Window) -> None:
        """Record that every page of the window was recorded."""
        await self._rpc.call(
            "outbox_finish_inbound_window",
            {"p_provider": plan.provider, "p_plan": plan.plan, "p_until": window.end.isoformat()},
        )

    async def draw_requests(self, plan: Plan, kind: str, wanted: int = 1) -> int:
        """Draw requests of a kind (``lookup`` or ``poll``). Returns how many the plan allows now, at most ``wanted``."""
        answer: int = await self._rpc.call(
            "outbox_draw_requests",
            {"p_provider": plan.provider, "p_plan": plan.plan, "p_kind": kind, "p_wanted": wanted},
        )
        return answer

    async def pause_plan(self, plan: Plan, why: Refusal, *, reason: str, seconds: float | None) -> None:
        """Pause the plan for every process, because the provider answered a question with ``why`` (throttled or account)."""
        await self._rpc.call(
            "outbox_pause_plan",
            {
                "p_provider": plan.provider,
                "p_plan": plan.plan,
                "p_kind": why.value,
                "p_credential": plan.credential,
                "p_reason": reason,
                "p_seconds": seconds,
            },
        )
