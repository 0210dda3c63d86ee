"""The wire format of Sinch's SMS API, without its meaning.

Unknown fields are ignored, for Sinch announces that new ones may appear at any time. Numbers arrive without ``+``, times as
ISO 8601 where no offset means UTC.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from jobs.providers.base import Submission
from jobs.runtime.phone import e164

PAGE_SIZE = 100
"""The most items a listing gives at once."""

MAX_RECIPIENTS = 1000
"""The most recipients one batch takes."""

LONGEST_VALUE = 160
"""The longest value of a parameter that Sinch ever documented; today's pages name no limit."""

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_LITERAL_DOLLAR = re.compile(r"\$(?=\$*\{)")
_DOLLAR_KEY = "d"


class Created(msgspec.Struct):
    """The part of a 201's body that matters."""

    id: str


class Listing(msgspec.Struct):
    """One page of any listing, its items still unread so that one bad item does not spoil the page."""

    count: int | None = None
    batches: list[msgspec.Raw] | None = None
    delivery_reports: list[msgspec.Raw] | None = None
    inbounds: list[msgspec.Raw] | None = None


class BatchItem(msgspec.Struct):
    """A batch in a listing."""

    id: str
    to: list[str] = []
    client_reference: str | None = None
    created_at: str | None = None


class StatusCount(msgspec.Struct):
    """One line of a batch report; ``recipients`` only in a full one."""

    status: str
    code: int | str | None = None
    count: int | None = None
    recipients: list[str] | None = None


class Event(msgspec.Struct):
    """Any callback or listed report or inbound. Which of the fields it has depends on ``type``."""

    type: str | None = None
    batch_id: str | None = None
    client_reference: str | None = None
    recipient: str | None = None
    status: str | None = None
    code: int | str | None = None
    at: str | None = None
    statuses: list[StatusCount] | None = None
    id: str | None = None
    sender: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")
    received_at: str | None = None


class Media(msgspec.Struct):
    """The body of an inbound multimedia message."""

    subject: str | None = None
    message: str | None = None


class Unreadable(ValueError):
    """A value does not have its documented form. The text names the value."""


def submission_body(submission: Submission, *, sender: str | None, callback_url: str | None, reports: bool) -> bytes:
    """The body of ``POST /batches``. ``reports`` False asks for no callbacks; reports can be fetched all the same."""
    text, parameters = _text_and_parameters(submission)
    body: dict[str, Any] = {
        "type": "mt_text",
        "to": list(submission.recipients),
        "body": text,
        "client_reference": submission.reference,
        "delivery_report": "per_recipient" if reports else "none",
    }
    if parameters:
        body["parameters"] = parameters
    if sender_used := submission.sender or sender:
        body["from"] = sender_used
    if submission.expire_at is not None:
        body["expire_at"] = timestamp(submission.expire_at)
    if callback_url is not None and reports:
        body["callback_url"] = callback_url
    return msgspec.json.encode(body)


def _text_and_parameters(submission: Submission) -> tuple[str, dict[str, Mapping[str, str]]]:
    """The text in Sinch's own notation.

    Sinch reads ``${key}`` as a placeholder, so a ``$`` that someone typed before a brace travels as the default of a
    parameter. Our keys are renumbered: Sinch allows ``A-Za-z0-9.-_`` and at most 16 characters, templates allow more.
    """
    names = {key: f"p{number}" for number, key in enumerate(submission.parameters or ())}
    parts: list[str] = []
    end = 0

    for placeholder in _PLACEHOLDER.finditer(submission.body) if names else ():
        if name := names.get(placeholder.group(1)):
            parts += [_escape(submission.body[end : placeholder.start()], before_brace=True), f"${{{name}}}"]
            end = placeholder.end()
    parts.append(_escape(submission.body[end:]))

    text = "".join(parts)
    parameters = {names[key]: values for key, values in (submission.parameters or {}).items() if f"${{{names[key]}}}" in text}
    if f"${{{_DOLLAR_KEY}}}" in text:
        parameters[_DOLLAR_KEY] = {"default": "$"}
    return text, parameters


def _escape(literal: str, *, before_brace: bool = False) -> str:
    """``before_brace``: a placeholder follows, so that a ``$`` at the very end would stand before a brace too."""
    text = f"{literal}{{" if before_brace else literal
    escaped = _LITERAL_DOLLAR.sub(f"${{{_DOLLAR_KEY}}}", text)
    return escaped[:-1] if before_brace else escaped


def timestamp(instant: datetime) -> str:
    """An instant as Sinch writes it: UTC with milliseconds."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(text: str) -> datetime:
    """The instant ``text`` names, in UTC; without an offset it is UTC already. Raises :class:`Unreadable`."""
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unreadable(f"not a time: {text[:40]!r}") from None


def number(text: str) -> str:
    """A phone number as E.164. Raises :class:`Unreadable`."""
    found = e164(text)
    if found is None:
        raise Unreadable("not a phone number")
    return found


def code(value: int | str | None) -> int | None:
    """A status code, which some samples write as a string. Raises :class:`Unreadable`."""
    if value is None or isinstance(value, int):
        return value
    try:
        return int(value)
    except ValueError:
        raise Unreadable("not a status code") from None
