"""Reads an action on messages, and its options, from a form."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final, cast

from starlette.exceptions import HTTPException

from dashboard.filters import read_time
from jobs.gateway.browsing.bulk import BulkOptions, Kind

ACTIONS: Final = ("retry", "cancel", "reschedule")
_MOST_HOURS: Final = 24 * 365.0


def read_action(name: str | None) -> Kind:
    """The action of a form. Raises HTTPException for others."""
    if name not in ACTIONS:
        raise HTTPException(400, "The address names no action. Use the buttons of the page.")
    return cast("Kind", name)


def read_options(fields: Mapping[str, str]) -> BulkOptions:
    """The options of the action that the form names. Those of other actions do not count. Raises HTTPException."""
    action = fields.get("action")
    if action == "retry":
        return BulkOptions(force=fields.get("force") == "yes", expires_in=_expiry(fields.get("hours", "")))
    if action == "reschedule":
        return BulkOptions(send_at=_send_at(fields.get("send_at", ""), fields.get("zone")))
    return BulkOptions()


def is_complete(action: Kind, options: BulkOptions) -> bool:
    """Whether the action has what it needs: a reschedule needs a time."""
    return action != "reschedule" or options.send_at is not None


def _expiry(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours <= _MOST_HOURS:
        raise HTTPException(400, f"The new expiry is a number of hours, more than 0 and at most {_MOST_HOURS:.0f}.")
    return hours * 3600


def _send_at(text: str, zone: str | None) -> datetime | None:
    try:
        return read_time(text, zone) if text.strip() else None
    except ValueError:
        raise HTTPException(400, "The new time cannot be read. Write it as 2026-12-01T09:00.") from None
