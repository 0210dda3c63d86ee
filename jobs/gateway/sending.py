"""The calls of the dispatch job."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.gateway import values
from jobs.gateway.rpc import Calls
from jobs.gateway.values import Claim, Dispatch, Plan
from jobs.providers.base import Refused


class Sending(Calls):
    """Claims dispatches and records their outcomes."""

    async def claim(
        self,
        plan: Plan,
        *,
        claim_id: str,
        worker: str,
        lease: float,
        deadline: float,
        max_dispatches: int,
        max_recipients: int,
        max_rows: int,
        allowed_destinations: Sequence[str] | None,
        share_texts: bool,
        urgent_only: bool = False,
        schema_version: int | None = None,
        project: str | None = None,
        highest_lease_token: str | None = None,
        known_dispatch: str | None = None,
        heartbeat_at: str | None = None,
        timeline: str | None = None,
        sleep_seconds: float | None = None,
        tick_seconds: float | None = None,
    ) -> Claim:
        """Take due rows as dispatches. A second call with the same ``claim_id`` returns the same dispatches.

        ``share_texts``: rows whose texts differ may share a dispatch. ``urgent_only``: the call is about rows with a priority
        < 100. ``deadline`` is the longest that a request may take. ``allowed_destinations``: countries and beginnings of
        numbers, None is all. ``schema_version`` is the newest that the process knows, None is any. A database that sends from
        other projects than ``project`` claims nothing. One that lacks the lease token, the dispatch or the heartbeat, seen in
        ``timeline`` and not adopted since, pauses: it was restored. None is not checked. A caller that gets nothing waits
        ``sleep_seconds``, or for a notice. It claims again every ``tick_seconds``, None in a single run.
        """
        request = {
            **_claiming(plan),
            "p_claim_id": claim_id,
            "p_worker": worker,
            "p_lease_seconds": lease,
            "p_deadline_seconds": deadline,
            "p_max_dispatches": max_dispatches,
            "p_max_recipients": max_recipients,
            "p_max_rows": max_rows,
            "p_allowed_countries": None if allowed_destinations is None else list(allowed_destinations),
            "p_share_texts": share_texts,
            "p_urgent_only": urgent_only,
            "p_schema_version": schema_version,
            "p_project": project,
            "p_highest_lease_token": highest_lease_token,
            "p_known_dispatch": known_dispatch,
            "p_heartbeat_at": heartbeat_at,
            "p_timeline": timeline,
            "p_sleep_seconds": sleep_seconds,
            "p_tick_seconds": tick_seconds,
        }
        return Claim.parse(await self._rpc.call("outbox_claim_due", request))

    async def has_ready(self, *, urgent_only: bool = False) -> bool:
        """Whether rows are ready to be claimed, whichever plan may take them."""
        return bool(await self._rpc.call("outbox_has_ready", {"p_urgent_only": urgent_only}))

    async def accept(
        self, accepted: Sequence[tuple[str, str]], *, worker: str, lease: float, reconcile_after: float
    ) -> tuple[Dispatch, ...]:
        """Record accepted dispatches, as pairs of dispatch id and batch id. Returns dispatches that are now the caller's."""
        answer = await self._rpc.call(
            "outbox_accept",
            {
                "p_dispatch_ids": [dispatch_id for dispatch_id, _ in accepted],
                "p_batch_ids": [batch_id for _, batch_id in accepted],
                "p_worker": worker,
                "p_lease_seconds": lease,
                "p_reconcile_after_seconds": reconcile_after,
            },
        )
        return values.dispatches(answer)

    async def refuse(self, dispatch: Dispatch, refused: Refused, *, worker: str, lease: float) -> tuple[Dispatch, ...]:
        """Close a dispatch that the provider certainly did not take. Returns the dispatches that replace it."""
        answer = await self._rpc.call(
            "outbox_refuse",
            {
                "p_dispatch_id": dispatch.dispatch_id,
                "p_lease_token": dispatch.lease_token,
                "p_why": refused.why.value,
                "p_error": refused.error,
                "p_http_status": refused.http_status,
                "p_retry_after_seconds": refused.retry_after,
                "p_worker": worker,
                "p_lease_seconds": lease,
            },
        )
        return values.dispatches(answer)

    async def mark_ambiguous(self, dispatch: Dispatch, error: str, *, lookup_after: float) -> None:
        """Have a dispatch looked up whose outcome is unknown, ``lookup_after`` seconds from now."""
        await self._rpc.call(
            "outbox_mark_ambiguous",
            {**_held([dispatch]), "p_errors": [error], "p_lookup_after_seconds": lookup_after},
        )

    async def release(self, dispatches: Sequence[Dispatch]) -> None:
        """Give back dispatches whose request was not started."""
        await self._rpc.call("outbox_release", _held(dispatches))

    async def record_clocks(self, clocks: Mapping[tuple[str, str], float | None]) -> None:
        """Record how many seconds a clock is ahead of the others, None where it is right.

        A clock is ``database``, ``provider`` or ``worker``, with a name among those of its kind.
        """
        await self._rpc.call(
            "outbox_record_clocks",
            {
                "p_clocks": [clock for clock, _ in clocks],
                "p_names": [name for _, name in clocks],
                "p_seconds": list(clocks.values()),
            },
        )

    async def note_waiting(self, plan: Plan) -> None:
        """Record that the plan's dispatch job runs, although it may not claim yet. The database keeps one in ten seconds."""
        await self._rpc.call("outbox_note_waiting", {"p_provider": plan.provider, "p_plan": plan.plan})

    async def end_process(self, worker: str) -> None:
        """Record that this process claims nothing any more, so that `outbox status` does not call it silent."""
        await self._rpc.call("outbox_end_process", {"p_worker": worker})

    async def renew(self, dispatches: Sequence[Dispatch], *, lease: float) -> frozenset[str]:
        """Keep dispatches for another lease. Returns the ids that are still the caller's."""
        answer = await self._rpc.call("outbox_renew", {**_held(dispatches), "p_lease_seconds": lease})
        return frozenset(answer)


def _claiming(plan: Plan) -> dict[str, Any]:
    return {
        "p_provider": plan.provider,
        "p_plan": plan.plan,
        "p_host": plan.host,
        "p_credential": plan.credential,
        "p_messages_per_second": plan.messages_per_second,
        "p_requests_per_minute": plan.requests_per_minute,
        "p_messages_per_day": plan.messages_per_day,
        "p_position": plan.position,
    }


def _held(dispatches: Sequence[Dispatch]) -> dict[str, Any]:
    return {
        "p_dispatch_ids": [dispatch.dispatch_id for dispatch in dispatches],
        "p_lease_tokens": [dispatch.lease_token for dispatch in dispatches],
    }
