"""Sinch's callbacks, and the same objects in its listings, as values of ours.

Whatever cannot be used is an :class:`Unusable`, never an exception: a callback is pushed once, so what is thrown away here is
lost.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from jobs.providers.base import CallbackItem, Inbound, Report, Summary, Unusable
from jobs.providers.fields import (
    Unreadable,
    address,
    clipped,
    code,
    inbound_id,
    instant_or_none,
    number,
    our_address,
    reference,
    required,
)
from jobs.providers.lenient import json_text
from jobs.providers.sinch.wire import MOST_ITEMS, Event, StatusCount

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
_LINE = msgspec.json.Decoder(StatusCount)
_LINES: msgspec.json.Decoder[list[msgspec.Raw] | None] = msgspec.json.Decoder(list[msgspec.Raw] | None)
_NUMBER: msgspec.json.Decoder[str | int] = msgspec.json.Decoder(str | int)
_BODY = msgspec.json.Decoder()


def parse(raw: bytes) -> list[CallbackItem]:
    """Read one callback, or one item of a listing. Never raises."""
    try:
        text = json_text(raw)
        event = _EVENT.decode(text)
        return list(_reader(event)(event, text))
    except Unreadable as error:
        return [Unusable(str(error), raw)]
    except msgspec.ValidationError as error:
        return [Unusable(f"not of a known shape: {error}"[:200], raw)]
    except (ValueError, RecursionError) as error:
        return [Unusable(f"not JSON: {error}"[:200], raw)]


def _recipient_report(event: Event, raw: str) -> Iterator[CallbackItem]:
    yield Report(
        batch_id=required(event.batch_id, "batch_id"),
        recipient=number(address(event.recipient, "recipient")),
        status=_status(event.status),
        code=code(event.code),
        at=instant_or_none(event.at),
        reference=reference(event.client_reference),
        raw=raw,
    )


def _batch_report(event: Event, raw: str) -> Iterator[CallbackItem]:
    """One report for each recipient, or a summary if the callback does not name all of them.

    A report with more items than any batch can have becomes few items, so that it takes little memory: it is kept as a whole.
    """
    batch_id = required(event.batch_id, "batch_id")
    summary = Summary(batch_id=batch_id, reference=reference(event.client_reference), raw=raw)
    lines = _LINES.decode(event.statuses) or ()
    if _count_items(lines) > MOST_ITEMS:
        yield Unusable(f"it has more than {MOST_ITEMS} lines and recipients", raw.encode())
        yield summary
        return

    names_all = bool(lines)
    for line in lines:
        try:
            read = _LINE.decode(line)
        except (ValueError, RecursionError) as error:
            yield Unusable(f"a line of the report is not of a known shape: {error}"[:200], _with_line(event, line))
            names_all = False
            continue
        names_all = names_all and bool(read.recipients)
        yield from _line_reports(event, batch_id, read, line)
    if not names_all:
        yield summary


def _count_items(lines: Sequence[msgspec.Raw]) -> int:
    """How many lines and recipients the report has, without those of lines that cannot be read."""
    number = len(lines)
    for line in lines:
        with suppress(ValueError, RecursionError):
            number += len(_LINE.decode(line).recipients or ())
    return number


def _line_reports(event: Event, batch_id: str, line: StatusCount, raw: msgspec.Raw) -> Iterator[CallbackItem]:
    """One report for each recipient. A status that cannot be read makes the line unusable, once."""
    if not line.recipients:
        return
    try:
        outcome = _status(line.status), code(line.code)
    except Unreadable as error:
        yield Unusable(str(error), _with_line(event, raw))
        return
    for recipient in line.recipients:
        yield _line_report(event, batch_id, line, outcome, recipient)


def _line_report(
    event: Event, batch_id: str, line: StatusCount, outcome: tuple[str, int | None], recipient: msgspec.Raw
) -> CallbackItem:
    """One recipient's report. Its raw text holds that recipient only: a thousand copies of the whole would be megabytes."""
    raw = _with_line(event, {"status": line.status, "code": line.code, "recipients": [recipient]})
    try:
        return Report(
            batch_id=batch_id,
            recipient=number(str(_NUMBER.decode(recipient))),
            status=outcome[0],
            code=outcome[1],
            at=None,
            reference=reference(event.client_reference),
            raw=raw.decode(),
        )
    except Unreadable as error:
        return Unusable(str(error), raw)
    except (ValueError, RecursionError) as error:
        return Unusable(f"a recipient is not of a known shape: {error}"[:200], raw)


def _with_line(event: Event, line: object) -> bytes:
    """The report cut down to one of its lines, and its reference to what is read of it: each of its recipients has a copy."""
    return msgspec.json.encode(
        {
            "type": event.type,
            "batch_id": event.batch_id,
            "client_reference": clipped(event.client_reference),
            "statuses": [line],
        }
    )


def _inbound(event: Event, raw: str) -> Iterator[CallbackItem]:
    kind = required(event.type, "type")
    yield Inbound(
        inbound_id=inbound_id(event.id, "id", raw),
        kind=kind.removeprefix("mo_"),
        sender=address(event.sender, "from"),
        recipient=our_address(event.to),
        body=_inbound_text(kind, event.body),
        received_at=instant_or_none(event.received_at),
        reference=reference(event.client_reference),
        raw=raw,
        provider=NAME,
    )


def _inbound_text(kind: str, body: msgspec.Raw) -> str | None:
    """The text that a person wrote: the body of a text, or the message or subject of a multimedia message.

    Either may come in the other's place. Binary messages have no text.
    """
    if kind == "mo_binary":
        return None
    content = _BODY.decode(body)
    if not isinstance(content, dict):
        if content is None or isinstance(content, str):
            return content
        raise Unreadable("body is no text")
    texts = [content[name] for name in ("message", "subject") if isinstance(content.get(name), str)]
    if kind == "mo_text" and not texts:
        raise Unreadable("body is no text")
    return next((text for text in texts if text.strip()), None)


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


def _status(value: object) -> str:
    found = STATUSES.get(required(value, "status").lower())
    if found is None:
        raise Unreadable(f"unknown status {str(value)[:40]!r}")
    return found
