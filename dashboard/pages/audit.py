"""Audit: who did what, from here, from the command line and from apps with the secret key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response

from dashboard.visit import Visit
from jobs.gateway.browsing.audit import AuditEntry
from jobs.runtime.masking import scrub, scrub_value
from jobs.runtime.times import all_in_utc

_PAGE: Final = 50
_LONGEST: Final = 200
_MOST_ID: Final = 2**63 - 1
WINDOWS: Final = {
    "": "any time",
    "1": "the last hour",
    "24": "the last day",
    "168": "the last 7 days",
    "720": "the last 30 days",
}
ACTIONS: Final = {
    "pause": "paused", "resume": "resumed", "resume_restored": "resumed after a restore", "retry": "retried",
    "cancel": "cancelled", "reschedule_messages": "moved to another time", "send_held": "released held messages",
    "send_test_message": "sent a test", "start_bulk": "started a bulk action", "stop_bulk": "stopped a bulk action",
    "show_text": "read a text", "show_replies": "read replies", "conversation": "read a conversation",
    "decide_replies": "decided replies", "import_suppressions": "added opt-outs", "lift_suppression": "removed an opt-out",
    "pin_plan": "changed a weight", "forget_plan": "removed a plan", "set_route": "wrote a route",
    "remove_route": "removed a route", "set_sender": "wrote a sender", "remove_sender": "removed a sender",
    "replay_events": "replayed events", "test_event": "sent a test event", "add_event_endpoint": "added an event endpoint",
    "set_event_endpoint": "changed an event endpoint", "remove_event_endpoint": "removed an event endpoint",
    "rotate_event_secret": "renewed an event secret", "switch_campaign": "switched a campaign",
    "import_members": "imported members", "show_preview": "read texts of a campaign", "bind": "bound the project",
    "adopt_batches": "adopted batches after a restore", "begin_adoption": "began an adoption",
    "finish_adoption": "finished an adoption", "forget_adopted": "left numbers of a batch out of an adoption",
    "prepare_erasure": "began to erase a person", "erase_members": "erased a person's memberships",
    "erase_messages": "erased a person's messages", "erase_records": "erased a person's records",
    "erase_bulk_filters": "erased a person from a bulk action",
}  # fmt: skip
_OF_PLANS: Final = frozenset({"pause", "resume", "resume_restored", "pin_plan", "forget_plan"})


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as the list shows it. ``path`` and ``query`` lead to its object, if there is a page for it."""

    entry: AuditEntry
    words: str
    target: str
    detail: str
    path: str
    query: Mapping[str, str]


async def show(visit: Visit) -> Response:
    given = {name: visit.query.get(name, "").replace("\0", "").strip()[:_LONGEST] for name in ("actor", "action", "target")}
    hours = visit.query.get("within", "")
    hours = hours if hours in WINDOWS else ""
    page = await visit.operating.browsing.list_audit(
        actor=given["actor"] or None,
        action=given["action"] or None,
        target=given["target"] or None,
        since=datetime.now(UTC) - timedelta(hours=int(hours)) if hours else None,
        before=_id(visit.query.get("before", "")),
        most=_PAGE,
    )
    query = {**given, "within": hours}
    return visit.render(
        "audit.html",
        title="Audit",
        rows=[_row(one) for one in page.entries],
        given=query,
        is_filtered=any(query.values()),
        actions=ACTIONS,
        windows=WINDOWS,
        is_later="before" in visit.query,
        read_to=page.read_to,
        older=None if page.before is None else visit.url("/audit", **query, before=page.before),
    )


def _row(entry: AuditEntry) -> Row:
    path, query = _object(entry.action, entry.target or "")
    detail = scrub_value(dict(entry.detail))
    words = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in detail.items() if value not in (None, ""))
    return Row(
        entry,
        ACTIONS.get(entry.action, entry.action.replace("_", " ")),
        scrub(entry.target or ""),
        all_in_utc(words),
        path,
        query,
    )


def _object(action: str, target: str) -> tuple[str, dict[str, str]]:
    """The page of what was acted on: its path as the registry of routes has it or below it."""
    is_id = target.isascii() and target.isdecimal()
    if action in {"show_text", "retry", "cancel", "reschedule_messages", "send_test_message", "send_held"} and is_id:
        return f"/messages/{target}", {}
    if action in {"start_bulk", "stop_bulk"} and is_id:
        return f"/bulk/{target}", {}
    if action in _OF_PLANS:
        return "/health", {}
    if action in {"replay_events", "test_event", "set_event_endpoint", "add_event_endpoint", "rotate_event_secret"}:
        return "/health/events", {"endpoint": target}
    if action in {"switch_campaign", "import_members", "show_preview"}:
        return f"/campaigns/{quote(target)}", {}
    if action in {"decide_replies", "show_replies"}:
        return "/replies", {}
    if action in {"import_suppressions", "lift_suppression"}:
        return "/opt-outs", {}
    return "", {}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _id(text: str) -> int | None:
    is_one = text.isascii() and text.isdecimal() and len(text) <= len(str(_MOST_ID))
    return int(text) if is_one and 0 < int(text) <= _MOST_ID else None
