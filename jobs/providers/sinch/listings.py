"""Reads Sinch's answers to questions: pages of listings, and the full report on a batch."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from jobs.providers.answers import Answer
from jobs.providers.base import (
    Batch,
    BatchReports,
    CallbackItem,
    Inbound,
    ListedReference,
    Page,
    ProviderError,
    Report,
    SentBatch,
    Unusable,
)
from jobs.providers.fields import LONGEST_ID, Unreadable, instant, reference
from jobs.providers.lenient import array_items, json_text
from jobs.providers.sinch import callbacks, listed, refusals
from jobs.providers.sinch.wire import BatchItem, Listing
from jobs.runtime.phone import e164

_TEXTS: Final = frozenset({"body", "parameters"})
_TEXT_BEGINS: Final = re.compile(rb'"(?:body|parameters)"')
_COUNT: Final = re.compile(r'"count"\s*:\s*("?[0-9]+"?)')
Item = TypeVar("Item", Batch, ListedReference, SentBatch, Report, Inbound)


def page_of(answer: Answer, what: str, *, number: int, read: Callable[[bytes], Item]) -> Page[Item]:
    """Page ``number`` of the listing ``what``. An item that cannot be read does not spoil the others.

    ``page_size`` in an answer is the number given, not the size of a page, so only two things prove the end: an empty page, and
    a first page that holds as many as there are.
    """
    listing = _listed(answer, what)
    raws: list[msgspec.Raw] | None = getattr(listing, what)
    items: list[Item] = []
    unusable: list[Unusable] = []
    count = None
    try:
        count = _count(listing.count)
    except ValueError as error:
        unusable.append(Unusable(f"the count of {what} could not be read: {error}"[:200], bytes(listing.count)))
    if raws is None and count != 0:
        raise _unreadable(answer, what, "the answer holds no list")
    for raw in raws or ():
        try:
            items.append(read(bytes(raw)))
        except (ValueError, RecursionError) as error:
            kept = _without_texts(bytes(raw)) if what == "batches" else bytes(raw)
            unusable.append(Unusable(str(error)[:200], kept))
    last = not raws or (number == 0 and count is not None and len(raws) >= count)
    return Page(tuple(items), last, tuple(unusable), count)


def _without_texts(raw: bytes) -> bytes:
    """A batch as it is kept: its texts may be secret, and would outlive their messages.

    What is no JSON ends where they begin.
    """
    with suppress(ValueError, RecursionError):
        item = msgspec.json.decode(raw)
        if isinstance(item, dict) and item.keys() & _TEXTS:
            raw = msgspec.json.encode({name: value for name, value in item.items() if name not in _TEXTS})
    begins = _TEXT_BEGINS.search(raw)
    return raw if begins is None else raw[: begins.start()]


def one_batch(answer: Answer, what: str, batch_id: str) -> SentBatch:
    """Read the answer to a question for this batch. Raises :class:`ProviderError` for anything else, also for another batch."""
    if answer.status != 200 or answer.body is None:
        raise refusals.unanswered(answer, what)
    try:
        found = listed.batch(json_text(answer.body).encode())
    except (ValueError, RecursionError) as error:
        raise _unreadable(answer, what, str(error)) from None
    if found.batch_id != batch_id:
        raise _unreadable(answer, what, "it is another batch")
    return found


def batch_reports(answer: Answer, what: str) -> BatchReports:
    """Read a full batch report. Raises :class:`ProviderError` for anything but a report on a batch."""
    if answer.status != 200 or answer.body is None:
        raise refusals.unanswered(answer, what)
    items = callbacks.parse(answer.body)
    unusable = tuple(item for item in items if isinstance(item, Unusable))
    if len(unusable) == len(items):
        raise _unreadable(answer, what, unusable[0].why)
    return BatchReports(tuple(item for item in items if isinstance(item, Report)), unusable)


def batch(raw: bytes) -> Batch:
    """One batch of a listing. Only numbers are ever sent to, so a batch of ours that names anything else was not read whole."""
    item = msgspec.json.decode(json_text(raw), type=BatchItem)
    if not 0 < len(item.id) <= LONGEST_ID:
        raise Unreadable(f"id has {len(item.id)} characters")
    written = item.to if isinstance(item.to, list) else []
    numbers = [e164(one) if isinstance(one, str) else None for one in written]
    return Batch(
        batch_id=item.id,
        reference=reference(item.client_reference),
        recipients=tuple(number for number in numbers if number is not None),
        created_at=_time(item.created_at),
        is_whole=bool(numbers) and None not in numbers,
    )


def _time(value: object) -> datetime | None:
    try:
        return instant(value) if isinstance(value, str) else None
    except Unreadable:
        return None


def report(raw: bytes) -> Report:
    """One report on one recipient."""
    item = _only(raw)
    if not isinstance(item, Report):
        raise Unreadable("not a report on a recipient")
    return item


def inbound(raw: bytes) -> Inbound:
    """One inbound message."""
    item = _only(raw)
    if not isinstance(item, Inbound):
        raise Unreadable("not an inbound message")
    return item


def _only(raw: bytes) -> CallbackItem:
    item = callbacks.parse(raw)[0]
    if isinstance(item, Unusable):
        raise Unreadable(item.why)
    return item


def _listed(answer: Answer, what: str) -> Listing:
    """A page with its items still unread. Raises :class:`ProviderError` for anything but a readable 200.

    A 200 with neither the list nor a count of zero is not an empty page: a proxy may have answered. A list that does not end
    is no answer either.
    """
    if answer.status != 200 or answer.body is None:
        raise refusals.unanswered(answer, what)
    text = json_text(answer.body)
    try:
        return msgspec.json.decode(text, type=Listing)
    except msgspec.ValidationError as error:
        raise _unreadable(answer, what, str(error)) from None
    except (ValueError, RecursionError) as error:
        found = array_items(text, what)
        if found is None:
            raise _unreadable(answer, what, str(error)) from None
    items, rest = found
    count = _COUNT.search(rest)
    raws = [msgspec.Raw(item.encode()) for item in items]
    return Listing(count=msgspec.Raw(count.group(1).encode() if count else b"null"), **{what: raws})


def _count(raw: msgspec.Raw) -> int | None:
    """How many items there are on all pages, or None if the answer does not say. Raises ValueError if it says nonsense."""
    count = msgspec.json.decode(raw, type=int | str | None)
    if count is None:
        return None
    if int(count) < 0:
        raise Unreadable("it is negative")
    return int(count)


def _unreadable(answer: Answer, what: str, why: str) -> ProviderError:
    """A page of a proxy says nothing, so only what looks like Sinch's own answer is given along."""
    body = answer.body if answer.body is not None and answer.body.lstrip()[:1] == b"{" else None
    return ProviderError(f"{refusals.asked_for(what)}: unreadable: {why}"[:200], http_status=answer.status, unreadable=body)
