"""Every call that the processes make. The rules are in `supabase/schemas`."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jobs.gateway import values
from jobs.gateway.rpc import Rpc
from jobs.gateway.values import Alarm, Claim, Dispatch, Expansion, Lookup, MissingReports, Plan, Window
from jobs.providers.base import Inbound, Refusal, Refused, Report, Summary, Unusable
from jobs.runtime.settings import SupabaseSettings


class Gateway:
    """The outbox's database functions. A method has the name of its function, without ``outbox_``.

    Every method is one call and may be repeated with the same arguments without a second effect. It raises
    :class:`jobs.gateway.errors.GatewayUnavailable` or :class:`jobs.gateway.errors.GatewayRefused`. Durations are in seconds.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    @classmethod
    async def connect(cls, settings: SupabaseSettings) -> "Gateway":
        """Make the client. This makes no request yet, so it succeeds while Supabase is away."""
        return cls(await Rpc.connect(settings))

    async def aclose(self) -> None:
        await self._rpc.aclose()

    async def ping(self) -> None:
        """Return if the database answers and its functions are there."""
        await self._rpc.call("outbox_ping", {})

    # Sending

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
        allowed_countries: Sequence[str] | None,
        share_texts: bool,
        urgent_only: bool = False,
    ) -> Claim:
        """Take due rows as dispatches. A second call with the same ``claim_id`` returns the same dispatches.

        ``share_texts``: rows whose texts differ may share a dispatch. ``urgent_only``: the call and its answer concern rows
        with a priority < 100. ``deadline`` is the longest that a request may take. ``allowed_countries`` None is all.
        """
        answer = await self._rpc.call(
            "outbox_claim",
            {
                "p_claim_id": claim_id,
                "p_worker": worker,
                "p_provider": plan.provider,
                "p_plan": plan.plan,
                "p_host": plan.host,
                "p_credential": plan.credential,
                "p_lease_seconds": lease,
                "p_deadline_seconds": deadline,
                "p_max_dispatches": max_dispatches,
                "p_max_recipients": max_recipients,
                "p_max_rows": max_rows,
                "p_messages_per_second": plan.messages_per_second,
                "p_requests_per_minute": plan.requests_per_minute,
                "p_allowed_countries": None if allowed_countries is None else list(allowed_countries),
                "p_share_texts": share_texts,
                "p_urgent_only": urgent_only,
            },
        )
        return Claim.parse(answer)

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

    async def renew(self, dispatches: Sequence[Dispatch], *, lease: float) -> frozenset[str]:
        """Keep dispatches for another lease. Returns the ids that are still the caller's."""
        answer = await self._rpc.call("outbox_renew", {**_held(dispatches), "p_lease_seconds": lease})
        return frozenset(answer)

    # Looking up ambiguous requests

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

    async def postpone_lookup(self, lookup: Lookup, *, seconds: float) -> bool:
        """Keep the lookup for ``seconds``; it is due again after that. False if another process has taken it over."""
        held: bool = await self._rpc.call(
            "outbox_postpone_lookup",
            {"p_dispatch_id": lookup.dispatch_id, "p_lease_token": lookup.lease_token, "p_seconds": seconds},
        )
        return held

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

    # Recording what the provider says

    async def record_reports(self, reports: Sequence[Report], *, source: str) -> None:
        """Record reports on recipients. ``source`` is ``webhook`` or ``reconcile``."""
        await self._rpc.call(
            "outbox_record_reports",
            {
                "p_source": source,
                "p_batch_ids": [report.batch_id for report in reports],
                "p_recipients": [report.recipient for report in reports],
                "p_statuses": [report.status for report in reports],
                "p_codes": ["" if report.code is None else str(report.code) for report in reports],
                "p_ats": [_text(report.at) for report in reports],
                "p_references": [report.reference or "" for report in reports],
                "p_raws": [report.raw for report in reports],
            },
        )

    async def record_inbounds(self, inbounds: Sequence[Inbound], *, source: str) -> None:
        """Record messages from phones. ``source`` is ``webhook`` or ``reconcile``."""
        await self._rpc.call(
            "outbox_record_inbounds",
            {
                "p_source": source,
                "p_providers": [inbound.provider for inbound in inbounds],
                "p_ids": [inbound.inbound_id for inbound in inbounds],
                "p_kinds": [inbound.kind for inbound in inbounds],
                "p_senders": [inbound.sender for inbound in inbounds],
                "p_recipients": [inbound.recipient for inbound in inbounds],
                "p_bodies": [inbound.body or "" for inbound in inbounds],
                "p_received_ats": [_text(inbound.received_at) for inbound in inbounds],
                "p_references": [inbound.reference or "" for inbound in inbounds],
                "p_raws": [inbound.raw for inbound in inbounds],
            },
        )

    async def keep_callbacks(self, items: Sequence[Unusable]) -> None:
        """Keep items that could not be read or stored, byte for byte, and raise an alarm."""
        await self._rpc.call(
            "outbox_keep_callbacks",
            {
                "p_whys": [item.why for item in items],
                "p_raws": [base64.b64encode(item.raw).decode() for item in items],
            },
        )

    async def reconcile_soon(self, summaries: Sequence[Summary]) -> None:
        """Have the reconcile job ask for the full reports of these batches soon."""
        await self._rpc.call("outbox_reconcile_soon", {"p_batch_ids": [summary.batch_id for summary in summaries]})

    async def record_rejected_callbacks(self, count: int) -> None:
        """Record that ``count`` signed callbacks were rejected, and have the reconcile job run now."""
        await self._rpc.call("outbox_record_rejected_callbacks", {"p_count": count})

    # Reconciling

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

    # Campaigns

    async def expand_campaigns(self, *, most: int) -> Expansion:
        """Insert outbox rows for at most ``most`` members that are due."""
        answer = await self._rpc.call("outbox_expand_campaigns", {"p_most": most})
        return Expansion(campaign=answer["campaign"], members=answer["members"], more=answer["more"])

    # Upkeep

    async def upkeep(self, *, retention_days: float, body_retention_days: float | None, most: int) -> bool:
        """Make one small step of expiry and retention, of at most ``most`` rows. Returns whether more is due now."""
        answer = await self._rpc.call(
            "outbox_upkeep",
            {"p_retention_days": retention_days, "p_body_retention_days": body_retention_days, "p_most": most},
        )
        more: bool = answer["more"]
        return more

    async def find_overlooked(self) -> None:
        """Find due rows that claims pass over. From now on claims take them, and an alarm names them."""
        await self._rpc.call("outbox_find_overlooked", {})

    async def take_alarms(self, *, limit: int) -> tuple[Alarm, ...]:
        """Take alarms that no process has logged yet. For a minute they are the caller's, to log and acknowledge."""
        answer = await self._rpc.call("outbox_take_alarms", {"p_limit": limit})
        return tuple(
            Alarm(id=row["id"], at=values.instant(row["at"]), kind=row["kind"], detail=row["detail"]) for row in answer
        )

    async def acknowledge_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Record that these alarms were logged."""
        await self._rpc.call("outbox_acknowledge_alarms", {"p_ids": [str(alarm.id) for alarm in alarms]})


def _held(dispatches: Sequence[Dispatch]) -> dict[str, Any]:
    return {
        "p_dispatch_ids": [dispatch.dispatch_id for dispatch in dispatches],
        "p_lease_tokens": [dispatch.lease_token for dispatch in dispatches],
    }


def _text(at: datetime | None) -> str:
    return "" if at is None else at.isoformat()
