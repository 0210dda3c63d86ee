"""Reads the answers of Vonage's Reports API: records of messages, a page at a time."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from jobs.providers.answers import Answer
from jobs.providers.base import Batch, BatchReports, Inbound, ProviderError, Report, SentBatch, Unusable
from jobs.providers.fields import (
    HIGHEST_CODE,
    Unreadable,
    address,
    code,
    instant_or_none,
    number,
    our_address,
    reference,
    required,
)
from jobs.providers.lenient import array_items, json_text
from jobs.providers.vonage import refusals
from jobs.providers.vonage.callbacks import NAME
from jobs.providers.vonage.codes import is_word, status_of

Item = TypeVar("Item", Batch, Report, SentBatch, Inbound)
_DANGLING: Final = re.compile(r",(?=\s*[,}])|(?<=\{),")
"""A comma that an array left behind."""
_TEXT_KINDS: Final = {"sms": "text", "mms": "media"}


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next page of the same question begins. Vonage encrypts it, with ``iv``."""

    cursor: str
    iv: str | None


@dataclass(frozen=True, slots=True)
class Records:
    """One page of records, still unread. If it ``has_more`` after it, ``next`` says where, or is None if Vonage does not."""

    raws: tuple[msgspec.Raw, ...]
    has_more: bool
    next: Cursor | None
    not_found: tuple[str, ...]


class _Link(msgspec.Struct):
    href: Any = None


class _Links(msgspec.Struct):
    next: _Link | None = None


class _Answer(msgspec.Struct):
    records: list[msgspec.Raw] | None = None
    items_count: Any = None
    request_status: Any = None
    cursor: Any = None
    iv: Any = None
    links: _Links | None = msgspec.field(default=None, name="_links")
    ids_not_found: Any = None


class Record(msgspec.Struct):
    """A record of a message that was sent or received. Each field is checked where it is read."""

    message_id: Any = None
    client_ref: Any = None
    sender: Any = msgspec.field(default=None, name="from")
    to: Any = None
    provider: Any = None
    status: Any = None
    error_code: Any = None
    date_received: Any = None
    date_finalized: Any = None
    message_body: Any = None


def records(answer: Answer, what: str) -> Records:
    """The records of one answer. Raises :class:`ProviderError` for anything but a readable 200.

    A 200 with neither the list nor a count of zero is not an empty page: a proxy may have answered.
    """
    if answer.status != 200 or answer.body is None:
        raise refusals.unanswered(answer, what)
    try:
        found = _decoded(json_text(answer.body))
    except (ValueError, RecursionError) as error:
        raise _unreadable(answer, what, str(error)) from None
    if found.records is None and str(found.items_count) != "0" and not found.ids_not_found:
        raise _unreadable(answer, what, "the answer holds no list")
    follows = _next(found)
    return Records(
        raws=tuple(found.records or ()),
        has_more=follows is not None or found.request_status == "TRUNCATED",
        next=follows,
        not_found=tuple(_ids(found.ids_not_found)),
    )


def _decoded(text: str) -> _Answer:
    """Raises ValueError for anything but an object. A record that is no JSON does not spoil the page."""
    try:
        return msgspec.json.decode(text, type=_Answer)
    except msgspec.ValidationError:
        raise
    except ValueError:
        split = array_items(text, "records")
        if split is None:
            raise
        items, rest = split
        page = msgspec.json.decode(_DANGLING.sub("", rest), type=_Answer)
        return msgspec.structs.replace(page, records=[msgspec.Raw(item.encode()) for item in items])


def read_each(raws: tuple[msgspec.Raw, ...], read: Callable[[str], Item | None]) -> tuple[list[Item], list[Unusable]]:
    """The items that ``read`` makes of these records. One that cannot be read does not spoil the others."""
    items: list[Item] = []
    unusable: list[Unusable] = []
    for raw in raws:
        try:
            item = read(bytes(raw).decode())
        except (ValueError, RecursionError) as error:
            unusable.append(Unusable(f"record: {error}"[:200], bytes(raw)))
        else:
            if item is not None:
                items.append(item)
    return items, unusable


def batch_of(raw: str, dispatch: str, recipient: str) -> Batch | None:
    """The request ``dispatch`` to ``recipient``, if this is a record of it. Others to the same number are none of ours.

    Only that request carries its id, which is random. So the recipient need not be read from the record.
    """
    record = _record(raw)
    if reference(record.client_ref) != reference(dispatch):
        return None
    return Batch(
        batch_id=required(record.message_id, "message_id"),
        reference=reference(record.client_ref),
        recipients=(recipient,),
        created_at=instant_or_none(record.date_received),
    )


def sent_batch(raw: str) -> SentBatch:
    """The request that a record is of. Records hold no texts."""
    record = _record(raw)
    return SentBatch(
        batch_id=required(record.message_id, "message_id"),
        reference=reference(record.client_ref),
        created_at=instant_or_none(record.date_received) or datetime.min.replace(tzinfo=UTC),
        recipients=(number(address(record.to, "to")),),
        texts=(None,),
    )


def report(raw: str) -> Report | None:
    """The latest status of a message. None for one that says nothing about a text."""
    record = _record(raw)
    word, error = required(record.status, "status"), _code(record.error_code)
    if not is_word(word):
        raise Unreadable(f"unknown status {word[:40]!r}")
    status = status_of(word, error)
    if status is None:
        return None
    return Report(
        batch_id=required(record.message_id, "message_id"),
        recipient=number(address(record.to, "to")),
        status=status,
        code=error,
        at=instant_or_none(record.date_finalized),
        reference=reference(record.client_ref),
        raw=raw,
    )


def inbound(raw: str) -> Inbound | None:
    """A message from a phone. None for one of another channel, such as WhatsApp."""
    record = _record(raw)
    kind = _TEXT_KINDS.get(str(record.provider).lower())
    if kind is None:
        return None
    return Inbound(
        inbound_id=required(record.message_id, "message_id"),
        kind=kind,
        sender=address(record.sender, "from"),
        recipient=our_address(record.to),
        body=record.message_body if isinstance(record.message_body, str) else None,
        received_at=instant_or_none(record.date_received),
        reference=None,
        raw=raw,
        provider=NAME,
    )


def reports(page: Records, ids: tuple[str, ...]) -> BatchReports:
    """The reports of the messages ``ids``."""
    items, unusable = read_each(page.raws, report)
    return BatchReports(tuple(items), tuple(unusable), tuple(one for one in ids if one in page.not_found))


def _code(value: object) -> int | None:
    """None for a code that cannot be read: a rejection then counts as unknown."""
    try:
        found = code(value or None)
    except Unreadable:
        return None
    return found if found is not None and abs(found) <= HIGHEST_CODE else None


def _record(raw: str) -> Record:
    return msgspec.json.decode(raw, type=Record)


def _next(found: _Answer) -> Cursor | None:
    """The cursor stands beside the records, and in the link to the next page."""
    if isinstance(found.cursor, str) and found.cursor:
        return Cursor(found.cursor, found.iv if isinstance(found.iv, str) and found.iv else None)
    href = found.links.next.href if found.links is not None and found.links.next is not None else None
    query = parse_qs(urlsplit(href).query) if isinstance(href, str) else {}
    cursor = query.get("cursor", [""])[0]
    return Cursor(cursor, query.get("iv", [None])[0]) if cursor else None


def _ids(listed: object) -> Iterator[str]:
    """Vonage documents one text with commas."""
    parts = listed.split(",") if isinstance(listed, str) else listed if isinstance(listed, list) else ()
    return (part.strip() for part in parts if isinstance(part, str))


def _unreadable(answer: Answer, what: str, why: str) -> ProviderError:
    """A page of a proxy says nothing, so only what looks like Vonage's own answer is given along."""
    body = answer.body if answer.body is not None and answer.body.lstrip()[:1] == b"{" else None
    return ProviderError(f"{what}: unreadable: {why}"[:200], http_status=answer.status, unreadable=body)
