"""Pauses of plans in words: why, since when and until when, and what became of one that is over."""

from typing import Final

from jobs.gateway.seen import RESTORED
from jobs.gateway.status import Pause
from jobs.providers import registry
from jobs.runtime.masking import scrub
from jobs.runtime.times import ago, utc

_SILENT_SECONDS: Final = 30.0
"""A process of the plan shows a sign at least every ten seconds, or once an interval of its dispatch job."""


def cause(pause: Pause) -> str:
    """The reason of a pause, and the setting to check."""
    setting = registry.setting_to_check(pause.provider, pause.reason) if pause.kind == "account" else None
    return scrub(pause.reason) + check(setting)


def check(setting: str | None) -> str:
    """The end of a reason that names the setting to check."""
    return "" if setting is None else f", check {setting}"


def until(pause: Pause) -> str:
    """Since when the plan is paused and until when. For a pause that is over: what became of it."""
    return end(pause) if pause.probing else f"since {utc(pause.since)}, {end(pause)}"


def end(pause: Pause) -> str:
    """What ends the pause."""
    if pause.probing:
        return "the pause is over: messages go to it one at a time until it accepts one"
    if pause.kind == RESTORED and not registry.has_list(pause.provider):
        return f"until `{resume_restored(pause.provider, pause.plan)}`: {pause.provider} has no list to adopt"
    if pause.kind == RESTORED:
        return "until `outbox adopt --since TIME` has adopted what was sent since the backup"
    if pause.until is None:
        return "until resumed"
    return f"until {utc(pause.until)}"


def over(sign_seconds: float | None) -> str:
    """The state of a plan whose pause is over, while it has accepted no message since.

    ``sign_seconds`` is the time since the last sign of a process of the plan, None if there was none within a day.
    """
    if sign_seconds is None:
        return "the pause is over, and no scheduler runs"
    if is_silent(sign_seconds):
        return f"the pause is over, and the last sign of a scheduler was {ago(sign_seconds)} ago"
    return "the pause is over, and the next message tries it"


def is_silent(sign_seconds: float | None) -> bool:
    """Whether no process may be left that tries a plan whose pause is over."""
    return sign_seconds is None or sign_seconds > _SILENT_SECONDS


def resume_restored(provider: str, plan: str) -> str:
    """The command that ends the pause of a restored database without an adoption."""
    return f"outbox resume --restored --provider {provider} --plan {plan}"
