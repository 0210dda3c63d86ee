"""One message: where it is, how it got there, and what to do about it. Its text is shown on request, which is recorded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from dashboard.visit import Visit, not_found
from dashboard.words import advice, status
from jobs.gateway import waiting_words
from jobs.gateway.browsing.messages import ShownText
from jobs.gateway.history import Carrier, Event, Trace
from jobs.runtime.masking import scrub, scrub_value
from jobs.runtime.times import all_in_utc

_MOST_ID: Final = 2**63 - 1
_RETRIED: Final = frozenset(
    {"delivered", "failed", "rejected", "aborted", "expired", "deleted", "unknown", "cancelled", "suppressed"}
)
"""A forced retry takes those that were delivered or cancelled."""
_FACTS: Final = (
    ("channel", "Channel"), ("sender", "Sender"), ("template", "Template"), ("campaign", "Campaign"), ("route", "Route"),
    ("priority", "Priority"), ("parts", "Parts"), ("attempts", "Attempts"), ("batch_id", "Batch"),
    ("dispatch_id", "Dispatch"), ("idempotency_key", "Idempotency key"),
)  # fmt: skip
_TIMES: Final = (
    ("send_at", "To go out"), ("sent_at", "Accepted"), ("finalized_at", "Final"), ("tried_again_at", "Tried again"),
    ("cancel_requested_at", "Cancel requested"), ("expires_at", "Expires"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """An event of the timeline. ``took`` is the time since the one before, in seconds."""

    at: datetime
    took: float | None
    source: str
    name: str
    status: str | None
    code: int | None
    tone: str
    detail: str
    report: str | None


async def show(visit: Visit) -> Response:
    return _page(visit, await _trace(visit))


async def show_text(visit: Visit) -> Response:
    """The same page with the text. The database records who read it, and refuses a secret message."""
    trace = await _trace(visit)
    text = await visit.operating.browsing.show_text(trace.message["id"])
    if text is None:
        raise not_found("There is no message with this id.")
    return _page(visit, trace, text)


def steps_of(timeline: Sequence[Event]) -> list[Step]:
    """The events with the time between them, numbers masked."""
    found: list[Step] = []
    for event in timeline:
        before = found[-1].at if found else None
        found.append(_step(event, before))
    return found


def _step(event: Event, before: datetime | None) -> Step:
    details = [
        f"batch {event.batch_id}" if event.batch_id else "",
        f"dispatch {event.dispatch_id}" if event.dispatch_id else "",
        all_in_utc(event.detail or ""),
    ]
    return Step(
        at=event.at,
        took=None if before is None else (event.at - before).total_seconds(),
        source=event.source,
        name=event.event.replace("_", " "),
        status=None if event.status == event.event else event.status,
        code=event.status_code,
        tone="off" if event.status is None else status(event.status).tone,
        detail=scrub(", ".join(filter(None, details))),
        report=None if not event.report else json.dumps(scrub_value(event.report), ensure_ascii=False, indent=2),
    )


async def _trace(visit: Visit) -> Trace:
    given = visit.request.path_params["id"]
    # Digits of other scripts are digits to Python, and no id.
    number = int(given) if given.isascii() and given.isdecimal() and len(given) <= len(str(_MOST_ID)) else 0
    trace = await visit.operating.trace(number, show_body=False) if 0 < number <= _MOST_ID else None
    if trace is None:
        raise not_found("There is no message with this id. Retention removes messages after a while.")
    return trace


def _page(visit: Visit, trace: Trace, text: ShownText | None = None) -> Response:
    message = trace.message
    provider = next((one["provider"] for one in reversed(trace.dispatches) if one.get("provider")), None)
    return visit.render(
        "message.html",
        title=f"Message {message['id']}",
        live=text is None,
        message=message,
        words=status(message["status"]),
        error=visit.words(scrub(message.get("error") or "")),
        advice=advice(provider, message.get("status_code"), message["status"]),
        facts=[(name, _fact(visit, message, key)) for key, name in _FACTS if message.get(key) not in (None, "")],
        times=[(name, message[key]) for key, name in _TIMES if message.get(key) is not None],
        steps=[replace(one, detail=visit.words(one.detail)) for one in steps_of(trace.timeline)],
        attempts=[_attempt(one) for one in trace.dispatches],
        waits="" if trace.waiting is None else waiting_words.waits(trace.waiting, message.get("route")),
        carriers=() if trace.waiting is None else [_carrier(one) for one in trace.waiting.plans],
        suppressed=None if trace.suppressed is None else scrub(trace.suppressed),
        duplicates=len(trace.duplicate_sends),
        text=text,
        actions=actions_of(message) if visit.is_operator else [],
    )


def actions_of(message: Mapping[str, Any]) -> list[str]:
    """The actions that the state of a message allows. The database has the last word."""
    state, is_asked = message["status"], message.get("cancel_requested_at") is not None
    can = {
        "retry": state in _RETRIED and not message.get("secret"),
        "cancel": state in {"scheduled", "pending"} or (state == "sending" and not is_asked),
        "reschedule": state in {"scheduled", "pending"} and not message.get("campaign"),
    }
    return [action for action, is_possible in can.items() if is_possible]


def _fact(visit: Visit, message: Mapping[str, Any], key: str) -> str:
    """A column of the row. An app may have written a number into its keys, which only operators read."""
    return visit.words(str(message[key]))


def _carrier(one: Carrier) -> tuple[str, str, str]:
    """A plan that may take the message: its name, its tone, and whether it can send."""
    return f"{one.provider} {one.plan}", "good" if one.cannot_send is None else "bad", all_in_utc(waiting_words.state(one))


def _attempt(dispatch: Mapping[str, Any]) -> dict[str, Any]:
    return {**dispatch, "error": scrub(dispatch.get("error") or "")}
