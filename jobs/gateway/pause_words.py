"""Pauses of plans in words: why, since when and until when."""

from jobs.gateway.seen import RESTORED
from jobs.gateway.status import Pause
from jobs.providers import registry
from jobs.runtime.masking import scrub
from jobs.runtime.times import utc


def cause(pause: Pause) -> str:
    """The reason of a pause, and the setting to check."""
    setting = registry.setting_to_check(pause.provider, pause.reason) if pause.kind == "account" else None
    return scrub(pause.reason) + check(setting)


def check(setting: str | None) -> str:
    """The end of a reason that names the setting to check."""
    return "" if setting is None else f", check {setting}"


def until(pause: Pause) -> str:
    """Since when the plan is paused and until when."""
    return f"since {utc(pause.since)}, {end(pause)}"


def end(pause: Pause) -> str:
    """What ends the pause."""
    if pause.kind == RESTORED and not registry.has_list(pause.provider):
        return f"until `{resume_restored(pause.provider, pause.plan)}`: {pause.provider} has no list to adopt"
    if pause.kind == RESTORED:
        return "until `outbox adopt --since TIME` has adopted what was sent since the backup"
    if pause.probing:
        return "until it accepts a message: they go to it one at a time"
    if pause.until is None:
        return "until resumed"
    return f"until {utc(pause.until)}"


def resume_restored(provider: str, plan: str) -> str:
    """The command that ends the pause of a restored database without an adoption."""
    return f"outbox resume --restored --provider {provider} --plan {plan}"
