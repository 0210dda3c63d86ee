"""The meaning of an answer to ``POST /batches`` that is no 201: certainly refused, or ambiguous.

:data:`RULES` is the whole table, and docs/providers.md shows it to people. Two principles fill the gaps that Sinch leaves: an
unknown outcome is ambiguous, so that nothing is sent twice; and an unknown refusal is about the request, so that it stops no
other message.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jobs.providers.answers import Answer, retry_after
from jobs.providers.base import Ambiguous, Outcome, ProviderError, Refusal, Refused
from jobs.providers.sinch.problems import Problem, problem

_NAMES_RECIPIENT = re.compile(r"\bto\s*\[")
_NAMES_MSISDN = re.compile(r"\bmsisdn\b", re.IGNORECASE)
_NAMES_CALLBACK = re.compile(r"\bcallback_url\b")
# "from" is a word of English, too: it names the field where it is quoted, called a field, or something is said about it.
_NAMES_SENDER = re.compile(
    r"""['"`\[(]from['"`\])]"""
    r"|\b(?:field|parameter|property|attribute|value of|sender)\s+from\b"
    r"|(?:^|[.;:,]\s*)from\s*(?:[:=\[]|(?:is|was|must|has|should|cannot|may|not|invalid|missing|required)\b)",
    re.IGNORECASE,
)
_SPEAKS_OF_SENDER = re.compile(r"\b(?:sender|originator)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sent:
    """The parts of a submission that decide how its refusal is read: its sender, and the settings that it carried."""

    default_sender: bool
    callback_url: bool
    reports: bool


def _always(_sent: Sent) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: an answer of one of these statuses, with this code, whose words match ``says``, if ``when`` holds.

    None matches everything. ``source`` is where Sinch documents it, or the reason for a guess.
    """

    why: Refusal
    source: str
    statuses: frozenset[int] | None = None
    code: str | None = None
    says: re.Pattern[str] | None = None
    when: Callable[[Sent], bool] = _always

    def matches(self, status: int, found: Problem, sent: Sent) -> bool:
        return (
            (self.statuses is None or status in self.statuses)
            and (self.code is None or self.code in found.codes)
            and (self.says is None or self.says.search(found.text) is not None)
            and self.when(sent)
        )


_STATUS_CODES: Final = "Sinch, SMS API reference: HTTP status codes"
_EXPLAINED: Final = "Sinch, community: Common SMS HTTP Statuses and Codes Explained"
_OURS: Final = "not documented; the field that a 400 names"

RULES: Final[tuple[Rule, ...]] = (
    Rule(Refusal.THROTTLED, _STATUS_CODES, statuses=frozenset({429})),
    Rule(Refusal.ACCOUNT, _STATUS_CODES, statuses=frozenset({401, 402, 404, 405, 415})),
    Rule(Refusal.ACCOUNT, _EXPLAINED, statuses=frozenset({403}), code="blocked_account"),
    Rule(
        Refusal.NO_CALLBACK,
        _STATUS_CODES,
        statuses=frozenset({403}),
        code="missing_callback_url",
        when=lambda sent: sent.reports,
    ),
    Rule(Refusal.SETTING, _STATUS_CODES, statuses=frozenset({403}), code="missing_callback_url"),
    Rule(Refusal.RECIPIENT, _EXPLAINED, code="illegal_number_type"),
    Rule(Refusal.RECIPIENT, _STATUS_CODES, says=_NAMES_RECIPIENT),
    Rule(Refusal.SETTING, _OURS, says=_NAMES_CALLBACK, when=lambda sent: sent.callback_url),
    Rule(Refusal.SETTING, _OURS, says=_NAMES_SENDER, when=lambda sent: sent.default_sender),
    Rule(Refusal.SHARED, _OURS, says=_NAMES_SENDER),
    Rule(Refusal.SHARED, "not documented; a sender can be an MSISDN too", says=_SPEAKS_OF_SENDER),
    Rule(Refusal.RECIPIENT, _EXPLAINED, says=_NAMES_MSISDN),
    # Every other 4xx, and every other 403, whatever its code: it is about the request, and halving finds the fault.
    Rule(Refusal.SHARED, "the documented codes about the account are above"),
)
"""Why Sinch refused a request, by HTTP status, code and words. The first row that matches counts."""


SETTINGS: Final = {
    401: "SINCH_API_TOKEN and SINCH_SERVICE_PLAN_ID",
    404: "SINCH_SERVICE_PLAN_ID and SINCH_REGION",
    405: "SINCH_BASE_URL",
}
"""The settings to check after an answer of this status that stops the plan, both where it cannot tell them apart. 402 and 403
are about the account itself."""


def outcome(answer: Answer, sent: Sent) -> Outcome:
    """The outcome of a submission whose answer is no 201 (:mod:`jobs.providers.sinch.acceptance` reads those)."""
    status = answer.status
    if not 400 <= status < 500 or status == 408:
        return Ambiguous(f"HTTP {status} does not say whether the batch was taken", status)

    found = problem(answer.body)
    return Refused(
        why=_why(status, found, sent),
        error=_error(status, found),
        http_status=status,
        code=found.code,
        retry_after=retry_after(answer.headers) if status == 429 else None,
    )


def _why(status: int, found: Problem, sent: Sent) -> Refusal:
    return next(rule.why for rule in RULES if rule.matches(status, found, sent))


def asked_for(path: str) -> str:
    """What a question is about, in words."""
    if path in _LISTS:
        return _LISTS[path]
    batch, _, report = path.removeprefix("batches/").partition("/")
    return f"the delivery report of batch {batch}" if report else f"batch {batch}"


def unanswered(answer: Answer, what: str) -> ProviderError:
    """The error for a question whose answer is not a 200 that can be read. ``what`` is the path of the question."""
    status = answer.status
    if not 400 <= status < 600:
        return ProviderError(f"{asked_for(what)}: HTTP {status}, not a readable answer", http_status=status)
    found = problem(answer.body)
    why = _why(status, found, Sent(default_sender=False, callback_url=False, reports=False)) if status < 500 else None
    return ProviderError(
        f"{_error(status, found)}, when asked for {asked_for(what)}",
        # A question has no recipient and no text, so other refusals are about this question alone.
        why=why if why in (Refusal.THROTTLED, Refusal.ACCOUNT) else None,
        http_status=status,
        retry_after=retry_after(answer.headers) if status in (429, 503) else None,
    )


def _error(status: int, found: Problem) -> str:
    said = ": ".join(part for part in (found.code, found.text) if part)
    return f"HTTP {status} {said}" if said else f"HTTP {status}"


_LISTS: Final = {
    "batches": "the list of batches",
    "delivery_reports": "delivery reports",
    "inbounds": "inbound messages",
}
