"""The calls that record delivery reports and inbound messages."""

import base64
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from jobs.gateway.rpc import Calls
from jobs.providers.base import Inbound, Report, Summary, Unusable
from jobs.runtime.metrics import MESSAGES_FINISHED

_NOT_FINAL: Final = frozenset({"sent", "dispatched"})


class Recording(Calls):
    """Records reports and inbound messages, whether a callback or a poll brought them."""

    async def record_reports(self, reports: Sequence[Report], *, source: str) -> None:
        """Record reports on recipients. ``source`` is ``webhook`` or ``reconcile``."""
        new = await self._rpc.call(
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
        _count_finished(reports, new)

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


def _count_finished(reports: Sequence[Report], new: int) -> None:
    """Count the final reports that were new. Of a call with repeats, the database does not tell which ones they are."""
    final = [(report.status, report.code) for report in reports if report.status not in _NOT_FINAL]
    for (status, code), number in Counter(final[: max(new, 0)]).items():
        MESSAGES_FINISHED.labels(status, "" if code is None else str(code)).inc(number)


def _text(at: datetime | None) -> str:
    return "" if at is None else at.isoformat()
