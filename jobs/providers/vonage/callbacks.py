"""Vonage's callbacks as values of ours: what became of a message, and messages from phones.

Both come in the form ``v1`` of the Messages API, or in its older form ``v0.1``, which an application may still be set to: there
a number is an object, and an inbound message has its text in ``message.content``. Whatever cannot be used is an
:class:`Unusable`, never an exception: a callback that is committed does not come again, so what is thrown away here is lost.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec

from jobs.providers.base import CallbackItem, Inbound, Report, Unusable
from jobs.providers.fields import (
    HIGHEST_CODE,
    LONGEST_ID,
    Unreadable,
    address,
    inbound_id,
    instant_or_none,
    number,
    our_address,
    reference,
    required,
)
from jobs.providers.lenient import json_text
from jobs.providers.vonage.codes import is_word, status_of

NAME: Final = "vonage"
"""The provider's name, as the database stores it."""

MOST_ITEMS: Final = 1000
"""The most callbacks of one body that are read one by one. Vonage sends one."""

_NULL: Final = msgspec.Raw(b"null")


class Event(msgspec.Struct):
    """Any callback. Each field is checked where it is read, so that an odd one beside it does not hide a STOP."""

    message_uuid: Any = None
    to: Any = None
    sender: Any = msgspec.field(default=None, name="from")
    timestamp: Any = None
    client_ref: Any = None
    status: Any = None
    error: msgspec.Raw = _NULL
    message_type: Any = None
    text: Any = None
    image: msgspec.Raw = _NULL
    video: msgspec.Raw = _NULL
    audio: msgspec.Raw = _NULL
    vcard: msgspec.Raw = _NULL
    file: msgspec.Raw = _NULL
    content: msgspec.Raw = _NULL
    message: msgspec.Raw = _NULL


class _Error(msgspec.Struct):
    """Why a message was rejected: ``title`` is the code, as text; in ``v0.1`` it is ``code``."""

    title: Any = None
    code: Any = None


class _Content(msgspec.Struct):
    """The text and files of a message in ``v0.1``; in ``v1`` one file of several, or the object of a single file."""

    type: Any = None
    text: Any = None
    caption: Any = None
    image: msgspec.Raw = _NULL
    video: msgspec.Raw = _NULL
    audio: msgspec.Raw = _NULL
    vcard: msgspec.Raw = _NULL
    file: msgspec.Raw = _NULL


class _Message(msgspec.Struct):
    content: msgspec.Raw = _NULL


_EVENT: Final = msgspec.json.Decoder(Event)
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ERROR: Final = msgspec.json.Decoder(_Error)
_CONTENT: Final = msgspec.json.Decoder(_Content)
_MESSAGE: Final = msgspec.json.Decoder(_Message)


def parse(raw: bytes) -> list[CallbackItem]:
    """Read one callback, or an array of them. Never raises. Empty for a status that says nothing about a text."""
    try:
        text = json_text(raw)
        if not text.lstrip().startswith("["):
            return _items(text, raw)
        items = _ITEMS.decode(text)
    except (ValueError, RecursionError) as error:
        return [Unusable(f"not JSON: {error}"[:200], raw)]
    if not 0 < len(items) <= MOST_ITEMS:
        return [Unusable(f"an array of {len(items)} callbacks", raw)]
    return [read for item in items for read in _items(bytes(item).decode(), bytes(item))]


def _items(text: str, raw: bytes) -> list[CallbackItem]:
    try:
        event = _EVENT.decode(text)
        return list(_report(event, text) if _is_status(event) else _inbound(event, text))
    except Unreadable as error:
        return [Unusable(str(error), raw)]
    except msgspec.ValidationError as error:
        return [Unusable(f"not of a known shape: {error}"[:200], raw)]
    except (ValueError, RecursionError) as error:
        return [Unusable(f"not JSON: {error}"[:200], raw)]


def _is_status(event: Event) -> bool:
    """Raises Unreadable for a callback that is neither a status nor a message.

    A word that is no status may stand beside a message. A known one never does: a text that a later version repeats in the
    callback about it must not be taken for a reply.
    """
    if is_word(event.status):
        return True
    files = (event.image, event.video, event.audio, event.vcard, event.file, event.content, event.message)
    if event.text is not None or event.message_type is not None or any(_is_given(one) for one in files):
        return False
    if event.status is None:
        raise Unreadable("neither a status nor a message")
    raise Unreadable(f"unknown status {str(event.status)[:40]!r}")


def _report(event: Event, raw: str) -> Iterator[CallbackItem]:
    code = _code(event.error)
    status = status_of(event.status, code)
    if status is None:
        return
    yield Report(
        batch_id=required(event.message_uuid, "message_uuid"),
        recipient=number(address(_bare(event.to), "to")),
        status=status,
        code=code,
        at=_time(event.timestamp),
        reference=reference(event.client_ref),
        raw=raw,
    )


def _inbound(event: Event, raw: str) -> Iterator[CallbackItem]:
    said, kind = _said(event)
    yield Inbound(
        inbound_id=inbound_id(event.message_uuid, "message_uuid", raw),
        kind=kind,
        sender=address(_bare(event.sender), "from"),
        recipient=our_address(_bare(event.to)),
        body=said,
        received_at=_time(event.timestamp),
        reference=reference(event.client_ref),
        raw=raw,
        provider=NAME,
    )


def _bare(value: object) -> object:
    """A number without the object that it is in, in ``v0.1``."""
    return value.get("number") if isinstance(value, dict) else value


def _time(value: object) -> datetime | None:
    """Some samples put a space before the offset."""
    return instant_or_none(value.strip().replace(" +", "+") if isinstance(value, str) else value)


def _code(raw: msgspec.Raw) -> int | None:
    """The code of an error. None if it has none that can be read: a rejection then counts as unknown."""
    if not _is_given(raw):
        return None
    try:
        error = _ERROR.decode(raw)
    except (ValueError, RecursionError):
        return None
    for value in (error.title, error.code):
        digits = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if digits.isascii() and digits.isdecimal() and len(digits) < 11 and int(digits) <= HIGHEST_CODE:
            return int(digits)
    return None


def _said(event: Event) -> tuple[str | None, str]:
    """What a person wrote, as a text or under files, and the kind of the message."""
    content = _contents(event)
    kind = next((one for one in (event.message_type, *(part.type for part in content)) if one and isinstance(one, str)), None)
    written = [event.text, *(part.text for part in content)]
    captions = [part.caption for part in content]
    for parts in (written, captions):
        texts = [str(part) for part in parts if isinstance(part, str | int) and not isinstance(part, bool)]
        if any(texts):
            # A caption may stand under each of several files.
            return "\n".join(dict.fromkeys(filter(None, texts))), (kind or "text")[:LONGEST_ID]
    return ("" if event.text == "" else None), (kind or "media")[:LONGEST_ID]


def _contents(event: Event) -> list[_Content]:
    """The parts of a message beside its text, with the files that are inside them in ``v0.1``."""
    raws = [event.image, event.video, event.audio, event.vcard, event.file, *_several(event.content)]
    with suppress(ValueError, RecursionError):
        raws += _several(_MESSAGE.decode(event.message).content) if _is_given(event.message) else []
    found = [part for raw in raws if (part := _part(raw)) is not None]
    inside = [raw for part in found for raw in (part.image, part.video, part.audio, part.vcard, part.file)]
    return found + [part for raw in inside if (part := _part(raw)) is not None]


def _several(raw: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _ITEMS.decode(raw)[:MOST_ITEMS]
    except (ValueError, RecursionError):
        return [raw]


def _part(raw: msgspec.Raw) -> _Content | None:
    """None for what is no object."""
    if not _is_given(raw):
        return None
    try:
        return _CONTENT.decode(raw)
    except (ValueError, RecursionError):
        return None


def _is_given(raw: msgspec.Raw) -> bool:
    return bytes(raw) != b"null"
