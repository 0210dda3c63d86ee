"""What alarms are about."""

from collections.abc import Mapping
from typing import Any, Final

from jobs.providers.registry import setting_to_check

_DAILY_CAP: Final = ("daily_cap.near", "daily_cap.reached")


def setting_of(kind: str, detail: Mapping[str, Any]) -> str | None:
    """The setting that an alarm is about, None if it is about none. ``detail`` is as processes log it."""
    if kind in _DAILY_CAP:
        return "MAX_MESSAGES_PER_DAY"
    # Where one text is refused, the text may be at fault and not its sender.
    is_sender = kind == "content.held" and detail.get("sender") == "default" and detail.get("of") == "different texts"
    if kind != "plan.paused" and not is_sender:
        return None
    return setting_to_check(str(detail.get("provider", "")), str(detail.get("reason", "")), is_held=is_sender)
