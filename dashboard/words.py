"""Words for statuses and codes, and what to do about them."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from dashboard.times import time
from jobs.gateway.status import PlanLimits
from jobs.runtime.counts import counted

ANY_FAILURE: Final = "failed,rejected,aborted,expired,deleted"


@dataclass(frozen=True, slots=True)
class StatusWords:
    """A status in words. ``tone`` colours it: ``wait``, ``go``, ``good``, ``bad`` or ``off``."""

    tone: str
    meaning: str


STATUSES: Final = {
    "scheduled": StatusWords("wait", "waits for its time"),
    "pending": StatusWords("wait", "due, waits to be sent"),
    "sending": StatusWords("go", "in a request to the provider, or the outcome of the request is being looked up"),
    "sent": StatusWords("go", "accepted by the provider, no report yet"),
    "dispatched": StatusWords("go", "handed to the carrier"),
    "delivered": StatusWords("good", "arrived on the phone"),
    "failed": StatusWords("bad", "not sent: the provider or the outbox refused it"),
    "rejected": StatusWords("bad", "not delivered: the provider refused it"),
    "aborted": StatusWords("bad", "not delivered: the carrier or the phone did not take it"),
    "expired": StatusWords("bad", "not delivered in time"),
    "deleted": StatusWords("bad", "not delivered: it was deleted at the provider"),
    "unknown": StatusWords("bad", "the outcome cannot be known: it may have arrived"),
    "cancelled": StatusWords("off", "not sent: it was cancelled"),
    "suppressed": StatusWords("off", "not sent: the recipient opted out, or its campaign is at a limit"),
}
"""Every status, in the order of a message's life."""

_OPTED_OUT: Final = "The recipient opted out. Only a START from that number lifts it."
_NUMBER: Final = "Ask the recipient for the number again. A retry fails in the same way."
_SENDER: Final = "Register the sender with the provider for this country, or send with another one."
_ACCOUNT: Final = "Open the provider's dashboard: the account is blocked, out of credit, or not enabled."
_LATER: Final = "The phone or the network was away. Retry later."
_TEXT: Final = "A carrier takes the text for spam. Change it, register the sender, and send fewer at once."
_ADVICE: Final = {
    ("sinch", 402): _NUMBER,
    ("sinch", 404): _LATER,
    ("sinch", 406): "It waited too long at the provider. Give it a later expires_at.",
    ("sinch", 410): _SENDER,
    ("sinch", 411): "Shorten the text.",
    ("sinch", 412): "Ask the provider to enable this country.",
    ("sinch", 413): _ACCOUNT,
    ("sinch", 15): _TEXT,
    ("sinch", 60): _SENDER,
    ("sinch", 62): _TEXT,
    ("sinch", 64): "A quota is used up. Send fewer at once, or ask the provider for more.",
    ("sinch", 152): _SENDER,
    ("sinch", 257): _OPTED_OUT,
    ("vonage", 1060): _ACCOUNT,
    ("vonage", 1070): _ACCOUNT,
    ("vonage", 1080): _ACCOUNT,
    ("vonage", 1120): _SENDER,
    ("vonage", 1170): _NUMBER,
    ("vonage", 1180): _LATER,
    ("vonage", 1190): _NUMBER,
    ("vonage", 1210): _TEXT,
    ("vonage", 1220): _LATER,
    ("vonage", 1230): _LATER,
    ("vonage", 1240): _OPTED_OUT,
    ("vonage", 1250): _NUMBER,
    ("vonage", 1280): _TEXT,
    ("vonage", 1300): _NUMBER,
    ("vonage", 1420): _SENDER,
    ("vonage", 1430): _NUMBER,
}
_ADVICE_BY_STATUS: Final = {
    "failed": "Correct what the reason names, then retry.",
    "expired": "Retry it with a new expiry if it is still wanted.",
    "unknown": "A retry may send it a second time. Ask the recipient first if that matters.",
    "suppressed": _OPTED_OUT,
}


def status(name: str) -> StatusWords:
    """The words for a status. One of a newer database is shown without words."""
    return STATUSES.get(name, StatusWords("off", ""))


def advice(provider: str | None, code: int | None, of_status: str) -> str | None:
    """What to do about a message with this status and code, None if nothing is known."""
    # The code of such a message is that of an attempt before.
    is_of_attempt = of_status not in {"suppressed", "cancelled"}
    if is_of_attempt and provider is not None and code is not None and (provider, code) in _ADVICE:
        return _ADVICE[provider, code]
    return _ADVICE_BY_STATUS.get(of_status)


def advice_of_code(code: int, statuses: Collection[str]) -> str | None:
    """What to do about messages with this code, of whichever provider, and these statuses. None if nothing is known."""
    known = (_ADVICE[provider, number] for provider, number in _ADVICE if number == code)
    of_statuses = (_ADVICE_BY_STATUS[one] for one in _ADVICE_BY_STATUS if one in statuses)
    return next(known, None) or next(of_statuses, None)


def code(text: str) -> Markup:
    """The text with the times in it as elements, and what stands between backticks as code."""
    parts = _MARKED.split(text)
    return Markup("").join(_marked(part) for part in parts if part)


def _marked(part: str) -> Markup:
    if part.startswith("`"):
        return Markup("<code>{}</code>").format(part.strip("`"))
    return time(part.replace(" ", "T")) if _MARKED.fullmatch(part) else escape(part)


_MARKED: Final = re.compile(r"(`[^`]+`|\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ)")


def messages_today(limits: PlanLimits) -> str:
    """How many messages a plan took today, of how many. Empty where they are not counted."""
    if limits.messages_today is None:
        return ""
    if limits.messages_per_day is None:
        return f"{counted(limits.messages_today, 'message')} today (UTC)"
    return f"{limits.messages_today:,} of {limits.messages_per_day:,} messages today (UTC)"
