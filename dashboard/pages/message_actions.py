"""Retry, cancel or reschedule messages that an operator picked: what would happen first, and then the action."""

from collections.abc import Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from dashboard.actions import is_complete, read_action, read_options
from dashboard.forms import fields_of
from dashboard.outcomes import counted_outcomes, did, would
from dashboard.visit import Visit
from jobs.gateway.browsing.bulk import BulkOptions, Kind
from jobs.gateway.operating import Outcome

_MOST_IDS: Final = 1000
_MOST_ID: Final = 2**63 - 1


async def ask(visit: Visit) -> Response:
    """What the action would do. Nothing changes."""
    action, ids, options = _read(visit.request.query_params.multi_items())
    outcomes: Sequence[Outcome] = ()
    if ids and is_complete(action, options):
        outcomes = await _act(visit, action, ids, options, dry_run=True)
    counts = counted_outcomes(outcomes)
    return visit.render(
        "message_actions.html",
        title=_title(action, ids),
        action=action,
        ids=ids,
        options=options,
        hours=None if options.expires_in is None else options.expires_in / 3600,
        counts=[(one, would(one)) for one in counts],
        would_act=sum(one.messages for one in counts if one.done),
        is_done=False,
        is_complete=is_complete(action, options),
    )


async def act(visit: Visit) -> Response:
    action, ids, options = _read(await fields_of(visit.request))
    if not ids or not is_complete(action, options):
        raise HTTPException(400, "The form names no message, or no time.")
    outcomes = await _act(visit, action, ids, options, dry_run=False)
    if len(ids) == 1 and outcomes and outcomes[0].done:
        return visit.redirect(f"/messages/{ids[0]}")
    counts = counted_outcomes(outcomes)
    return visit.render(
        "message_actions.html",
        title=f"{action.capitalize()}: done",
        action=action,
        ids=ids,
        options=options,
        hours=None,
        counts=[(one, did(one)) for one in counts],
        would_act=0,
        is_done=True,
        is_complete=True,
    )


def _title(action: Kind, ids: Sequence[int]) -> str:
    if not ids:
        return "No message is selected"
    return f"{action.capitalize()} {f'message {ids[0]}' if len(ids) == 1 else f'{len(ids)} messages'}"


async def _act(visit: Visit, action: Kind, ids: Sequence[int], options: BulkOptions, *, dry_run: bool) -> tuple[Outcome, ...]:
    if action == "retry":
        return await visit.operating.retry(ids, force=options.force, expires_in=options.expires_in, dry_run=dry_run)
    if action == "cancel":
        return await visit.operating.cancel(ids, dry_run=dry_run)
    if options.send_at is None:
        raise HTTPException(400, "The form names no time.")
    return await visit.operating.reschedule(ids, options.send_at, dry_run=dry_run)


def _read(items: list[tuple[str, str]]) -> tuple[Kind, list[int], BulkOptions]:
    fields = dict(items)
    written = [value for name, value in items if name == "id"]
    if any(not one.isascii() or not one.isdecimal() or len(one) > len(str(_MOST_ID)) or int(one) > _MOST_ID for one in written):
        raise HTTPException(400, "The address names something that is no message.")
    if len(written) > _MOST_IDS:
        raise HTTPException(400, f"At most {_MOST_IDS} messages are picked at once. Use a filter, and act on all that match.")
    return read_action(fields.get("action")), list(dict.fromkeys(map(int, written))), read_options(fields)
