"""Events on their way to endpoints, and sending those again that failed."""

from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from dashboard.visit import Visit

_PAGE: Final = 50
_LONGEST: Final = 200
_MOST_ID: Final = 2**63 - 1
_KEPT: Final = timedelta(days=30)
"""The longest that a failed event is kept (docs/privacy.md)."""
STATUSES: Final = {"pending": "wait", "delivered": "good", "failed": "bad", "gone": "off"}


async def show(visit: Visit) -> Response:
    endpoint = visit.query.get("endpoint", "").replace("\0", "")[:_LONGEST]
    status = visit.query.get("status", "")
    status = status if status in STATUSES else ""
    before = visit.query.get("before", "")
    is_id = before.isascii() and before.isdecimal() and len(before) <= len(str(_MOST_ID)) and int(before) <= _MOST_ID
    found = await visit.operating.events.deliveries(
        endpoint=endpoint or None, status=status or None, before=int(before) if is_id else None, most=_PAGE + 1
    )
    return visit.render(
        "events.html",
        title="Events",
        endpoint=endpoint,
        chosen=status,
        statuses=STATUSES,
        deliveries=found[:_PAGE],
        older=visit.url("/health/events", endpoint=endpoint, status=status, before=found[_PAGE - 1].id)
        if len(found) > _PAGE else None,
    )  # fmt: skip


async def replay(visit: Visit) -> Response:
    """Say how many failed events would go again; with ``sure`` send them."""
    form = await visit.form()
    endpoint = form.get("endpoint", "")
    if not endpoint or len(endpoint) > _LONGEST or "\0" in endpoint:
        raise HTTPException(400, "The form names no endpoint.")
    is_sure = form.get("sure") == "yes"
    found = await visit.operating.events.replay(
        endpoint, event_ids=None, since=datetime.now(UTC) - _KEPT, until=None, failed_only=True, dry_run=not is_sure
    )
    return visit.render("replay.html", title="Send failed events again", endpoint=endpoint, found=found, is_sure=is_sure)
