"""The meaning of an answer to ``POST /v1/messages`` that is no 202: certainly refused, or ambiguous.

:data:`RULES` is the whole table, and docs/providers.md shows it to people. Two principles fill the gaps that Vonage leaves: an
unknown outcome is ambiguous, so that nothing is sent twice; and an unknown refusal is about the request, so that it stops no
other message. The number in a refusal's ``type`` decides nothing: Vonage's examples and its own list give different ones.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobs.providers.answers import Answer, printable, retry_after
from jobs.providers.base import Ambiguous, Outcome, ProviderError, Refusal, Refused
from jobs.providers.lenient import json_text

_MOST_PARAMETERS: Final = 20
_FIELD: Final = re.compile(r"[A-Za-z_]+")


@dataclass(frozen=True, slots=True)
class Sent:
    """The settings that a submission carried, which decide how its refusal is read."""

    default_sender: bool
    callback_url: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """The body of a refusal (RFC 7807). ``fields`` are the names of the parameters that it finds invalid.

    ``title`` and ``text`` are printable. All are empty if the body broke off or is no such body.
    """

    title: str = ""
    text: str = ""
    fields: frozenset[str] = frozenset()


def _always(_sent: Sent) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: an answer of one of these statuses, with this title or about this parameter, if ``when`` holds.

    Without statuses it may be any refusal, and with neither title nor field any of these. ``source`` is where Vonage documents
    it, or the reason for a guess.
    """

    why: Refusal
    source: str
    statuses: frozenset[int] | None = None
    title: str | None = None
    field: str | None = None
    when: Callable[[Sent], bool] = _always

    def matches(self, status: int, found: Problem, sent: Sent) -> bool:
        says = (self.title is None and self.field is None) or (
            (self.title is not None and found.title.lower().startswith(self.title)) or self.field in found.fields
        )
        return (self.statuses is None or status in self.statuses) and says and self.when(sent)


_ANSWERS: Final = "Vonage, Messages API reference: answers to a request"
_GENERIC: Final = "Vonage, API errors: generic errors"
_TITLES: Final = "Vonage, Messages API reference: titles of a 422"
_OURS: Final = "not documented; the parameter that a 422 names"

RULES: Final[tuple[Rule, ...]] = (
    Rule(Refusal.THROTTLED, _ANSWERS, statuses=frozenset({429})),
    Rule(Refusal.ACCOUNT, _ANSWERS, statuses=frozenset({401, 402, 404})),
    Rule(Refusal.ACCOUNT, _GENERIC + ": the account may not do this, or lacks credit", statuses=frozenset({403})),
    Rule(Refusal.ACCOUNT, "not documented; each request has this method and type", statuses=frozenset({405, 415})),
    Rule(Refusal.RECIPIENT, _TITLES, title="invalid recipient", field="to"),
    Rule(Refusal.SETTING, _OURS, field="webhook_url", when=lambda sent: sent.callback_url),
    Rule(Refusal.SETTING, _TITLES, title="invalid sender", field="from", when=lambda sent: sent.default_sender),
    Rule(Refusal.SHARED, _TITLES, title="invalid sender", field="from"),
    # Every other 4xx: it is about the request.
    Rule(Refusal.SHARED, "the documented ones about the account are above"),
)
"""Why Vonage refused a request, by HTTP status, title and parameter. The first row that matches counts."""


SETTINGS: Final = {401: "VONAGE_PRIVATE_KEY and VONAGE_APPLICATION_ID", 404: "VONAGE_BASE_URL", 405: "VONAGE_BASE_URL"}
"""The settings to check after an answer of this status that stops the plan, both where it cannot tell them apart. 402 and 403
are about the account itself."""


def outcome(answer: Answer, sent: Sent) -> Outcome:
    """The outcome of a submission whose answer is no 202 (:mod:`jobs.providers.vonage.acceptance` reads those)."""
    status = answer.status
    if not 400 <= status < 500 or status == 408:
        return Ambiguous(f"HTTP {status} does not say whether the message was taken", status)

    found = problem(answer.body)
    return Refused(
        why=next(rule.why for rule in RULES if rule.matches(status, found, sent)),
        error=_error(status, found),
        http_status=status,
        code=found.title or None,
        retry_after=retry_after(answer.headers) if status == 429 else None,
    )


def unanswered(answer: Answer, what: str) -> ProviderError:
    """The error for a question to the Reports API whose answer is not a 200 that can be read.

    It never stops the plan. Reports have a credential and a limit of their own, so neither their 401 nor their 429 says
    anything about messages.
    """
    status = answer.status
    return ProviderError(
        f"{what}: {_error(status, problem(answer.body))}",
        http_status=status,
        retry_after=retry_after(answer.headers) if status in (429, 503) else None,
    )


class _Body(msgspec.Struct):
    title: Any = None
    detail: Any = None
    invalid_parameters: Any = None


def problem(body: bytes | None) -> Problem:
    """Read the body of a refusal. ``body`` is None if it broke off. Never raises."""
    try:
        decoded = msgspec.json.decode(json_text(body or b""), type=_Body)
    except (ValueError, RecursionError):
        return Problem()
    listed = decoded.invalid_parameters if isinstance(decoded.invalid_parameters, list) else []
    named = [one for one in listed[:_MOST_PARAMETERS] if isinstance(one, dict)]
    reasons = [f"{_text(one.get('name'))} {_text(one.get('reason'))}".strip() for one in named]
    title, detail = printable(_text(decoded.title)), printable(_text(decoded.detail))
    return Problem(
        title=title,
        text=printable(": ".join(part for part in (title, detail, *reasons) if part)),
        fields=frozenset(field for one in named if (field := _field(_text(one.get("name"))))),
    )


def _field(name: str) -> str:
    """The parameter itself, however its place is written (``to``, ``$.to``, ``/to``). Empty for a part of another one."""
    found = _FIELD.findall(name)
    return found[0] if len(found) == 1 else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _error(status: int, found: Problem) -> str:
    return f"HTTP {status} {found.text}" if found.text else f"HTTP {status}"
