"""The meaning of an answer to ``POST /batches`` that is no 201: certainly refused, or ambiguous.

The table follows Sinch's status codes page; what it leaves open is decided so that nothing is sent twice (an unknown outcome
is ambiguous) and no typing error in a setting fails a backlog.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from jobs.providers.base import Ambiguous, Outcome, ProviderError, Refusal, Refused
from jobs.providers.sinch.wire import Problem
from jobs.runtime.telemetry import mask_url

ACCOUNT_STATUSES = frozenset({401, 402, 404, 405, 415})
"""About the plan, its credential or its address; 403 joins them unless its code says otherwise."""

_CODES_ABOUT_CONTENT = frozenset({"unknown_group", "unknown_campaign", "batch_already_dispatched", "conflict_group_name"})
_LONGEST_ERROR = 300
_LONGEST_WAIT = 3600.0

_NAMES_RECIPIENT = re.compile(r"\bto\s*\[")
_NAMES_CALLBACK = re.compile(r"\bcallback_url\b")
# "from" is a word of English, too: it names the field where it is quoted, called a field, or something is said about it.
_NAMES_SENDER = re.compile(
    r"""['"`\[(]from['"`\])]"""
    r"|\b(?:field|parameter|property|attribute|value of|sender)\s+from\b"
    r"|(?:^|[.;:,]\s*)from\s*(?:[:=\[]|(?:is|was|must|has|should|cannot|may|not|invalid|missing|required)\b)",
    re.IGNORECASE,
)
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Sent:
    """The parts of a submission that decide how its refusal is read: its sender, and the settings that it carried."""

    default_sender: bool
    callback_url: bool
    reports: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. ``body`` is None if it broke off."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


def outcome(answer: Answer, sent: Sent) -> Outcome:
    """The outcome of a submission whose answer is no 201 (:mod:`jobs.providers.sinch.acceptance` reads those)."""
    status = answer.status
    if not 400 <= status < 500 or status == 408:
        return Ambiguous(f"HTTP {status} does not say whether the batch was taken", status)

    problem = _problem(answer.body)
    return Refused(
        why=_why(status, problem, sent),
        error=_error(status, problem),
        http_status=status,
        code=_clean(problem.code),
        retry_after=retry_after(answer.headers) if status == 429 else None,
    )


def _why(status: int, problem: Problem, sent: Sent) -> Refusal:
    if status == 429:
        return Refusal.THROTTLED
    if status in ACCOUNT_STATUSES:
        return Refusal.ACCOUNT
    if status == 403:
        return _why_forbidden(problem, sent)
    return _why_content(problem, sent)


def _why_forbidden(problem: Problem, sent: Sent) -> Refusal:
    if problem.code == "missing_callback_url" and sent.reports:
        return Refusal.NO_CALLBACK
    return _why_content(problem, sent) if problem.code in _CODES_ABOUT_CONTENT else Refusal.ACCOUNT


def _why_content(problem: Problem, sent: Sent) -> Refusal:
    text = problem.text or problem.description or ""
    if _NAMES_RECIPIENT.search(text):
        return Refusal.RECIPIENT
    if sent.callback_url and _NAMES_CALLBACK.search(text):
        return Refusal.SETTING
    if sent.default_sender and _NAMES_SENDER.search(text):
        return Refusal.SETTING
    return Refusal.SHARED


def unanswered(answer: Answer, what: str) -> ProviderError:
    """The error for a question whose answer is not a 200 that can be read."""
    status = answer.status
    why = Refusal.THROTTLED if status == 429 else Refusal.ACCOUNT if status in ACCOUNT_STATUSES | {403} else None
    error = _error(status, _problem(answer.body)) if status >= 400 else f"HTTP {status}, not a readable answer"
    wait = retry_after(answer.headers) if status in (429, 503) else None
    return ProviderError(f"{what}: {error}", why=why, http_status=status, retry_after=wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as ``Retry-After`` says (RFC 9110 §10.2.3: seconds or a date), at most an hour; None if it gives none.

    A date is compared with the answer's own ``Date`` if it has one, so that a wrong clock on either side does not matter.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), _LONGEST_WAIT)
    until = _http_date(value)
    if until is None:
        return None
    now = _http_date(headers.get("date", "")) or datetime.now(UTC)
    return min(max((until - now).total_seconds(), 0.0), _LONGEST_WAIT)


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _problem(body: bytes | None) -> Problem:
    """A gateway's page or a body that never ended has no code and no text."""
    try:
        return msgspec.json.decode(body or b"", type=Problem)
    except (ValueError, RecursionError):
        return Problem()


def _error(status: int, problem: Problem) -> str:
    said = ": ".join(part for part in (_clean(problem.code), _clean(problem.text or problem.description)) if part)
    return f"HTTP {status} {said}" if said else f"HTTP {status}"


def _clean(text: str | None) -> str | None:
    """One printable line of bounded length: it is stored, and the database takes no NUL. A URL of ours may hold a password."""
    if text is None:
        return None
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * _LONGEST_ERROR]).split())
    return mask_url(line)[:_LONGEST_ERROR]
