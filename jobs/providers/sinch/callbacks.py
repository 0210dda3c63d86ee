"""Sinch's callbacks, and the same objects in its listings, as values of ours.

Whatever cannot be used is an :class:`Unusable`, never an exception: a callback is pushed once, so what is thrown away here is
lost. Only bytes that are no JSON at all are refused.
"""

import json
from collections.abc import Callable, Iterator

import msgspec

from jobs.providers.base import CallbackItem, Inbound, Report, Summary, Unusable
from jobs.providers.callbacks import NotJson
from jobs.providers.sinch.wire import Event, Media, StatusCount, Unreadable, code, instant, number
from jobs.runtime.phone import address

NAME = "sinch"
"""The provider's name, as the database stores it."""

STATUSES = {
    "queued": "sent",
    "dispatched": "dispatched",
    "delivered": "delivered",
    "failed": "failed",
    "rejected": "rejected",
    "aborted": "aborted",
    "expired": "expired",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "deleted": "deleted",
    "unknown": "unknown",
}
"""Sinch's word, in lower case, to the outbox's."""

_EVENT = msgspec.json.Decoder(Event)
_MEDIA: msgspec.json.Decoder[Media | None] = msgspec.json.Decoder(Media | None)
_TEXT: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)


def parse(raw: bytes) -> list[CallbackItem]:
    """Read one callback, or one item of a listing. Raises :class:`NotJson` and nothing else."""
    try:
        event = _EVENT.decode(raw)
        return list(_reader(event)(event, raw.decode()))
    except Unreadable as error:
        return [Unusable(str(error), raw)]
    except (ValueError, RecursionError) as error:
        _require_json(raw)
        return [Unusable(f"not of a known shape: {error}"[:200], raw)]


def _require_json(raw: bytes) -> None:
    """Raise NotJson unless the body is JSON. A lenient decoder takes JSON that ours refuses: half an emoji, deep nesting."""
    try:
        json.loads(raw, parse_int=str, parse_float=str)
    except RecursionError:
        return
    except ValueError:
        raise NotJson from None


def _recipient_report(event: Event, raw: str) -> Iterator[CallbackItem]:
    yield Report(
        batch_id=_required(event.batch_id, "batch_id"),
        recipient=number(_required(event.recipient, "recipient")),
        status=_status(event.status),
        code=code(event.code),
        at=None if event.at is None else instant(event.at),
        reference=event.client_reference,
        raw=raw,
    )


def _batch_report(event: Event, raw: str) -> Iterator[CallbackItem]:
    """One report for each recipient, or a summary if the callback does not name all of them."""
    batch_id = _required(event.batch_id, "batch_id")
    lines = event.statuses or []
    for line in lines:
        yield from _line_reports(event, batch_id, line)
    if not all(line.recipients for line in lines) or not lines:
        yield Summary(batch_id=batch_id, reference=event.client_reference, raw=raw)


def _line_reports(event: Event, batch_id: str, line: StatusCount) -> Iterator[CallbackItem]:
    for recipient in line.recipients or ():
        raw = _one_recipient(event, line, recipient)
        try:
            yield Report(
                batch_id=batch_id,
                recipient=number(recipient),
                status=_status(line.status),
                code=code(line.code),
                at=None,
                reference=event.client_reference,
                raw=raw.decode(),
            )
        except Unreadable as error:
            yield Unusable(str(error), raw)


def _one_recipient(event: Event, line: StatusCount, recipient: str) -> bytes:
    """The report cut down to one recipient: a thousand copies of the whole would be megabytes."""
    only = {"status": line.status, "code": line.code, "recipients": [recipient]}
    whole = {"type": event.type, "batch_id": event.batch_id, "client_reference": event.client_reference, "statuses": [only]}
    return msgspec.json.encode(whole)


def _inbound(event: Event, raw: str) -> Iterator[CallbackItem]:
    kind = _required(event.type, "type")
    yield Inbound(
        inbound_id=_required(event.id, "id"),
        kind=kind.removeprefix("mo_"),
        sender=address(_required(event.sender, "from")),
        recipient=address(_required(event.to, "to")),
        body=_inbound_text(kind, event.body),
        received_at=instant(_required(event.received_at, "received_at")),
        reference=event.client_reference,
        raw=raw,
        provider=NAME,
    )


def _inbound_text(kind: str, body: msgspec.Raw) -> str | None:
    """The text that a person wrote. A STOP may come in a multimedia message; binary messages have no text."""
    if kind == "mo_binary":
        return None
    if kind == "mo_text":
        return _TEXT.decode(body)
    media = _MEDIA.decode(body)
    return None if media is None else media.message or media.subject


_Reader = Callable[[Event, str], Iterator[CallbackItem]]
_READERS: dict[str | None, _Reader] = {
    "recipient_delivery_report_sms": _recipient_report,
    "recipient_delivery_report_mms": _recipient_report,
    "delivery_report_sms": _batch_report,
    "delivery_report_mms": _batch_report,
    "mo_text": _inbound,
    "mo_binary": _inbound,
    "mo_media": _inbound,
}


def _reader(event: Event) -> _Reader:
    found = _READERS.get(event.type)
    if found is None:
        raise Unreadable(f"unknown type {str(event.type)[:60]!r}")
    return found


def _required(value: str | None, name: str) -> str:
    if not value:
        raise Unreadable(f"{name} is missing")
    return value


def _status(value: str | None) -> str:
    found = STATUSES.get(_required(value, "status").lower())
    if found is None:
        raise Unreadable(f"unknown status {str(value)[:40]!r}")
    return found
