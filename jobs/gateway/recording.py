"""The calls that record delivery reports and inbound messages."""

import base64
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from jobs.gateway.rpc import Calls
from jobs.providers.base import Inbound, Report, Summary, Unusable
from jobs.runtime import tracing
from jobs.runtime.metrics import MESSAGE_DELIVERY, MESSAGES_FINISHED

_NOT_FINAL: Final = frozenset({"sent", "dispatched"})


class Recording(Calls):
    """Records reports and inbound messages, whether a callback or a poll brought them."""

    async def record_reports(self, reports: Sequence[Report], *, source: str) -> frozenset[int]:
        """Record reports on recipients. ``source`` is ``webhook`` or ``reconcile``.

        Returns the places of those that were recorded before.
        """
        if (spans := tracing.active()) is None:
            answer = await self._take_reports(reports, source)
        else:
            dispatches = [report.reference for report in reports if report.reference]
            with spans.processing(len(reports), source=source, dispatches=dispatches) as processing:
                answer = await self._take_reports(reports, source)
                processing.created_by(answer.get("traces") or ())
        repeated = frozenset(place - 1 for place in answer.get("repeated") or ())
        _count_finished(reports, repeated)
        for seconds in answer["delivered_seconds"] or ():
            MESSAGE_DELIVERY.observe(seconds)
        return repeated

    async def _take_reports(self, reports: Sequence[Report], source: str) -> Any:
        return await self._rpc.call(
            "outbox_take_reports",
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


def _count_finished(reports: Sequence[Report], repeated: Collection[int]) -> None:
    for place, report in enumerate(reports):
        if report.status not in _NOT_FINAL and place not in repeated:
            _finished(report.status, report.code).inc()


@cache
def _finished(status: str, code: int | None) -> Any:
    """The counter of one status and code. The library looks it up anew each time."""
    return MESSAGES_FINISHED.labels(status, "" if code is None else str(code))


def _text(at: datetime | None) -> str:
    return "" if at is None else at.isoformat()
