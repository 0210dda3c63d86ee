"""Bulk actions: what one would do to all messages of a filter, how far it is, and which there were."""

import json
import time
from datetime import UTC, datetime
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from dashboard.actions import is_complete, read_action, read_options
from dashboard.filters import conditions, query_of, read_query
from dashboard.forms import read_json
from dashboard.outcomes import added, did, would
from dashboard.visit import Visit, not_found
from jobs.gateway.browsing.bulk import BulkAction, BulkCount, BulkOptions, Kind
from jobs.gateway.browsing.messages import MessageFilter

_STRETCH: Final = 1000
_PREVIEW_SECONDS: Final = 1.5
"""A preview ends then with what it has counted: a page waits 3 seconds."""
_TYPED_ABOVE: Final = 100
_HISTORY: Final = 20
_MOST_ID: Final = 2**63 - 2


async def show_all(visit: Visit) -> Response:
    before = visit.query.get("before", "")
    found = await visit.operating.browsing.list_bulk(before=_id(before) if before else None, most=_HISTORY + 1)
    return visit.render(
        "bulk.html",
        title="Bulk actions",
        actions=[_shown(visit, one) for one in found[:_HISTORY]],
        older=found[_HISTORY - 1].id if len(found) > _HISTORY else None,
    )


async def show(visit: Visit) -> Response:
    action = await _action(visit)
    if action.state == "running" and visit.is_operator:
        # The process that drove it may have ended.
        visit.services.driver.drive(action.id)
    return visit.render("bulk_action.html", title=f"Bulk {action.action} {action.id}", **_shown(visit, action))


async def ask(visit: Visit) -> Response:
    """What the action would do. Nothing changes."""
    items = visit.request.query_params.multi_items()
    action, options = read_action(visit.query.get("action")), read_options(dict(visit.query))
    asked = read_query(items, now=datetime.now(UTC), numbers=True)
    wanted, is_whole, share = asked.wanted, True, 1.0
    counts: tuple[BulkCount, ...] = ()
    if not asked.problems and is_complete(action, options):
        newest = await visit.operating.browsing.list_messages(MessageFilter(), None, 1)
        # What is inserted from now on was not in the preview, so the action leaves it out.
        wanted = _below(asked.wanted, max((one.id for one in newest.messages), default=0) + 1)
        counts, is_whole, share = await _preview(visit, action, wanted, options)
    would_act = sum(one.messages for one in counts if one.done)
    return visit.render(
        "new_bulk.html",
        title=f"{action.capitalize()} all that match",
        action=action,
        options=options,
        hours=None if options.expires_in is None else options.expires_in / 3600,
        query=asked.query | ({"within": [asked.within]} if asked.within else {}),
        conditions=conditions(asked.wanted, visit.number, masked=False),
        notes=asked.notes,
        problems=asked.problems,
        filter=json.dumps(wanted.as_json()),
        counts=[(one, would(one)) for one in counts],
        total=sum(one.messages for one in counts),
        would_act=would_act,
        is_whole=is_whole,
        share=share,
        is_typed=would_act > _TYPED_ABOVE or not is_whole,
        is_complete=is_complete(action, options),
        wrong="",
    )


async def start(visit: Visit) -> Response:
    form = await visit.form()
    action, options = read_action(form.get("action")), read_options(form)
    if not is_complete(action, options):
        raise HTTPException(400, "The form names no time.")
    counted = form.get("counted", "")
    typed = "".join(sign for sign in form.get("typed", "") if sign.isdecimal())
    if form.get("is_typed") == "yes" and typed != counted:
        raise HTTPException(400, "The number that you typed is not the number of messages. Go back, and type it again.")
    started = await visit.operating.browsing.start_bulk(action, _filter(form.get("filter", "")), options)
    visit.services.driver.drive(started.id)
    return visit.redirect(f"/bulk/{started.id}")


async def stop(visit: Visit) -> Response:
    """Without a question: what was done stays, and the rest can be started again."""
    action = await _action(visit)
    await visit.operating.browsing.stop_bulk(action.id)
    return visit.redirect(f"/bulk/{action.id}")


async def _preview(
    visit: Visit, action: Kind, wanted: MessageFilter, options: BulkOptions
) -> tuple[tuple[BulkCount, ...], bool, float]:
    """Counts by outcome, whether they are of all messages, and the share of the ids that was read."""
    until = time.monotonic() + _PREVIEW_SECONDS
    counts: tuple[BulkCount, ...] = ()
    before: int | None = None
    while True:
        found = await visit.operating.browsing.preview_bulk(action, wanted, options, before=before, most=_STRETCH)
        counts, before = added(counts, found.counts), found.before
        if before is None or time.monotonic() > until:
            return counts, before is None, found.share


def _shown(visit: Visit, one: BulkAction) -> dict[str, Any]:
    return {
        "bulk": one,
        "conditions": conditions(one.filter, visit.number, masked=not visit.is_operator),
        "query": query_of(one.filter) if visit.is_operator or not _names_people(one.filter) else None,
        "counts": [(count, did(count)) for count in one.counts],
        "done": sum(count.messages for count in one.counts if count.done),
        "refused": sum(count.messages for count in one.counts if not count.done),
        "tone": {"running": "go", "finished": "good"}.get(one.state, "off"),
    }


def _names_people(wanted: MessageFilter) -> bool:
    """Whether the address of a filter would show a number, or what an app may have written one into."""
    return bool(wanted.recipients or wanted.last_digits or wanted.metadata or wanted.idempotency_key)


async def _action(visit: Visit) -> BulkAction:
    number = _id(visit.request.path_params["id"])
    found = await visit.operating.browsing.list_bulk(before=number + 1, most=1)
    if not found or found[0].id != number:
        raise not_found("There is no bulk action with this number.")
    return found[0]


def _id(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(_MOST_ID)) or int(text) > _MOST_ID:
        raise not_found("There is no bulk action with this number.")
    return int(text)


def _filter(text: str) -> MessageFilter:
    """The filter that the preview was of. Raises HTTPException for what no preview wrote.

    A condition that is left out would widen the action.
    """
    try:
        given = read_json(text)
        wanted = MessageFilter.parse(given)
        is_whole = wanted.below_id is not None and wanted.as_json() == given
    except (ValueError, TypeError, AttributeError):
        wanted, is_whole = MessageFilter(), False
    if not is_whole:
        raise HTTPException(400, "The form has no filter that this version can read. Go back to the list of messages.")
    return wanted


def _below(wanted: MessageFilter, bound: int) -> MessageFilter:
    return MessageFilter.parse({**wanted.as_json(), "below_id": bound})
