"""The wire format of Sinch's SMS API, without its meaning.

Unknown fields are ignored, for Sinch announces that new ones may appear at any time. Numbers arrive without ``+``, times as
ISO 8601 where no offset means UTC.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from jobs.providers.base import Submission

PAGE_SIZE = 100
"""The most items a listing gives at once."""

MAX_RECIPIENTS = 1000
"""The most recipients one batch takes."""

LONGEST_VALUE = 160
"""The longest value of a parameter that Sinch ever documented; today's pages name no limit."""

MOST_ITEMS = 20 * MAX_RECIPIENTS
"""The most lines and recipients of one report that are recorded one by one."""

LONGEST_BODY = 2000
"""The most characters that the body of a batch may have, as the table allows them for a text."""

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_LITERAL_DOLLAR = re.compile(r"\$(?=\$*\{)")
_DOLLAR_KEY = "d"
_PIECE = 80
"""Characters of a value: at most 160 UTF-16 units, whatever they are."""
_Parameters = dict[str, Mapping[str, str]]


class Created(msgspec.Struct):
    """The parts of a 201's body that matter: the batch, and what it says of the request that it answers."""

    id: str
    client_reference: str | None = None
    to: list[str] | None = None


class Listing(msgspec.Struct):
    """One page of any listing, its items still unread so that one bad item does not spoil the page."""

    count: msgspec.Raw = msgspec.Raw(b"null")
    batches: list[msgspec.Raw] | None = None
    delivery_reports: list[msgspec.Raw] | None = None
    inbounds: list[msgspec.Raw] | None = None


class BatchItem(msgspec.Struct):
    """A batch in a listing."""

    id: str
    to: Any = None
    client_reference: str | None = None
    created_at: Any = None


class StatusCount(msgspec.Struct):
    """One line of a batch report; ``recipients`` only in a full one."""

    status: str | None = None
    code: int | str | None = None
    recipients: list[msgspec.Raw] | None = None


class Event(msgspec.Struct):
    """Any callback or listed report or inbound. Which of the fields it has depends on ``type``.

    Each field is checked where it is read, so that an odd one beside it does not hide a STOP.
    """

    type: str | None = None
    batch_id: Any = None
    client_reference: Any = None
    recipient: Any = None
    status: Any = None
    code: Any = None
    at: Any = None
    statuses: msgspec.Raw = msgspec.Raw(b"null")
    id: Any = None
    sender: Any = msgspec.field(default=None, name="from")
    to: Any = None
    body: msgspec.Raw = msgspec.Raw(b"null")
    received_at: Any = None


class Media(msgspec.Struct):
    """The body of a multimedia message."""

    subject: str | None = None
    message: str | None = None


def submission_body(submission: Submission, *, sender: str | None, callback_url: str | None, reports: bool) -> bytes:
    """The body of ``POST /batches``. ``reports`` False asks for no callbacks; reports can be fetched all the same.

    An MMS asks for no ``strict_validation``: it refuses files that break Sinch's recommendations, which phones may well show.
    """
    text, parameters = _text_and_parameters(submission)
    is_mms = submission.media_url is not None
    body: dict[str, Any] = {
        "type": "mt_media" if is_mms else "mt_text",
        "to": list(submission.recipients),
        "body": {"url": submission.media_url, "message": text} if is_mms else text,
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


def _text_and_parameters(submission: Submission) -> tuple[str, _Parameters]:
    """The text in Sinch's own notation, no longer than Sinch allows.

    Sinch reads ``${key}`` as a placeholder, so a ``$`` before a brace travels as the default of a parameter, which makes the
    text longer. Where it gets too long, the parts with such a ``$`` travel as parameters as a whole, which makes it shorter.
    """
    text, parameters = _composed(submission, fold=False)
    return (text, parameters) if len(text) <= LONGEST_BODY else _composed(submission, fold=True)


def _composed(submission: Submission, *, fold: bool) -> tuple[str, _Parameters]:
    """Our keys are renumbered: Sinch allows ``A-Za-z0-9.-_`` and at most 16 characters, templates allow more."""
    names = {key: f"p{number}" for number, key in enumerate(submission.parameters or ())}
    folded: _Parameters = {}
    parts: list[str] = []
    for literal, name in _literals(submission.body, names):
        text = _escape(literal, before_brace=name is not None)
        if fold and len(text) > len(literal):
            text = min(text, _fold(literal, folded), key=len)
        parts += [text] if name is None else [text, f"${{{name}}}"]

    text = "".join(parts)
    parameters = {names[key]: values for key, values in (submission.parameters or {}).items() if f"${{{names[key]}}}" in text}
    parameters |= {key: value for key, value in folded.items() if f"${{{key}}}" in text}
    if f"${{{_DOLLAR_KEY}}}" in text:
        parameters[_DOLLAR_KEY] = {"default": "$"}
    return text, parameters


def _literals(body: str, names: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """The parts of the text between our placeholders, each with the name of the one that follows it."""
    end = 0
    for placeholder in _PLACEHOLDER.finditer(body) if names else ():
        if name := names.get(placeholder.group(1)):
            yield body[end : placeholder.start()], name
            end = placeholder.end()
    yield body[end:], None


def _escape(literal: str, *, before_brace: bool) -> str:
    """``before_brace``: a placeholder follows, so that a ``$`` at the very end would stand before a brace too."""
    text = f"{literal}{{" if before_brace else literal
    escaped = _LITERAL_DOLLAR.sub(f"${{{_DOLLAR_KEY}}}", text)
    return escaped[:-1] if before_brace else escaped


def _fold(literal: str, folded: _Parameters) -> str:
    """Placeholders whose values, added to ``folded``, are the pieces of ``literal``."""
    keys = []
    for start in range(0, len(literal), _PIECE):
        keys.append(f"d{len(folded)}")
        folded[keys[-1]] = {"default": literal[start : start + _PIECE]}
    return "".join(f"${{{key}}}" for key in keys)


def timestamp(instant: datetime) -> str:
    """An instant as Sinch writes it: UTC with milliseconds."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
