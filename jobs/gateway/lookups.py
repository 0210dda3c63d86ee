"""The calls of the recover job."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from jobs.gateway.rpc import Calls
from jobs.gateway.values import Lookup, Plan


class Lookups(Calls):
    """Takes dispatches whose outcome is unknown, and records what the provider's list shows."""

    async def claim_lookups(self, plan: Plan, *, lease: float, limit: int) -> tuple[Lookup, ...]:
        """Take dispatches whose outcome is unknown. The call draws one request for each from the plan's limits."""
        answer = await self._rpc.call(
            "outbox_claim_lookups",
            {
                "p_provider": plan.provider,
                "p_plan": plan.plan,
                "p_host": plan.host,
                "p_lease_seconds": lease,
                "p_limit": limit,
            },
        )
        return tuple(Lookup.parse(row) for row in answer)

    async def record_lookup(
        self, lookup: Lookup, found: Mapping[str, Sequence[str]], *, settle: float, reconcile_after: float
    ) -> str:
        """Record what one complete lookup found: batch ids, each with its recipients. Returns what the database decided.

        ``settle`` is the time between two lookups that together prove that a dispatch never arrived.
        """
        answer: str = await self._rpc.call(
            "outbox_record_lookup",
            {
                "p_dispatch_id": lookup.dispatch_id,
                "p_lease_token": lookup.lease_token,
                "p_batch_ids": list(found),
                "p_recipients": [" ".join(recipients) for recipients in found.values()],
                "p_settle_seconds": settle,
                "p_reconcile_after_seconds": reconcile_after,
            },
        )
        return answer

    async def record_failed_lookup(self, lookup: Lookup, *, why: str, seconds: float) -> None:
        """Record that a lookup proved nothing, and ``why``. It is due again after ``seconds``, later if that goes on.

        The database raises an alarm about a dispatch whose lookups prove nothing for an hour.
        """
        await self._rpc.call(
            "outbox_record_failed_lookup",
            {
                "p_dispatch_id": lookup.dispatch_id,
                "p_lease_token": lookup.lease_token,
                "p_why": why,
                "p_seconds": seconds,
            },
        )

    async def record_missed_lookup(
        self,
        lookup: Lookup,
        *,
        settle: float,
        provider_now: datetime | None,
        watched: float | None,
        others: Sequence[str],
    ) -> str:
        """Record that one complete lookup found nothing. Returns what the database decided.

        ``provider_now`` is the provider's clock, and ``watched`` the seconds in which this process has seen the database's
        clock run true. One of them has to agree that the settling time has passed; None is unknown. ``others`` are reported
        batches that proved to be other requests.
        """
        answer: str = await self._rpc.call(
            "outbox_record_missed_lookup",
            {
                "p_dispatch_id": lookup.dispatch_id,
                "p_lease_token": lookup.lease_token,
                "p_settle_seconds": settle,
                "p_provider_at": None if provider_now is None else provider_now.isoformat(),
                "p_watched_seconds": watched,
                "p_others": list(others),
            },
        )
        return answer

    async def postpone_lookup(self, lookup: Lookup, *, seconds: float) -> bool:
        """Keep the lookup for ``seconds``; it is due again after that. False if another process has taken it over."""
        held: bool = await self._rpc.call(
            "outbox_postpone_lookup",
            {"p_dispatch_id": lookup.dispatch_id, "p_lease_token": lookup.lease_token, "p_seconds": seconds},
        )
        return held
