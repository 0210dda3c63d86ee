"""Reads Sinch's answers to questions: pages of listings, and the full report on a batch."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from jobs.providers.base import Batch, CallbackItem, Inbound, ListedReference, Page, ProviderError, Report, SentBatch, Unusable
from jobs.providers.callbacks import NotJson
from jobs.providers.sinch import callbacks, refusals
from jobs.providers.sinch.refusals import Answer
from jobs.providers.sinch.wire import BatchItem, Listing, Unreadable, instant
from jobs.runtime.phone import e164

Item = TypeVar("Item", Batch, ListedReference, SentBatch, Report, Inbound)


def page_of(answer: Answer, what: str, *, number: int, read: Callable[[bytes], Item]) -> Page[Item]:
    """Page ``number`` of the listing ``what``. An item that cannot be read does not spoil the others.

    ``page_size`` in an answer is the number given, not the size of a page, so only two things prove the end: an empty page, and
    a first page that holds as many as there are.
    """
    raws, count = _listed(answer, what)
    items: list[Item] = []
    unusable: list[Unusable] = []
    for raw in raws:
        try:
            items.append(read(bytes(raw)))
        except (ValueError, RecursionError) as error:
            unusable.append(Unusable(str(error)[:200], bytes(raw)))
    last = not raws or (number == 0 and count is not None and len(raws) >= count)
    return Page(tuple(items), last, tuple(unusable), count)


def batch_reports(answer: Answer, what: str) -> list[CallbackItem]:
    """Read a full batch report. Raises :class:`ProviderError` for anything but a report on a batch."""
    if answer.status != 200 or answer.body is None:
        raise refusals.unanswered(answer, what)
    try:
        items = callbacks.parse(answer.body)
    except NotJson:
        raise ProviderError(f"{what}: unreadable: not JSON", http_status=200) from None
    if all(isinstance(item, Unusable) for item in items):
        raise ProviderError(f"{what}: unreadable", http_status=200)
    return items


def batch(raw: bytes) -> Batch:
    """One batch of a listing. Only numbers are ever sent to, so a batch of ours that names anything else was not read whole."""
    item = msgspec.json.decode(raw, type=BatchItem)
    if not item.id:
        raise Unreadable("id is missing")
    numbers = [e164(one) for one in item.to]
    return Batch(
        batch_id=item.id,
        reference=item.client_reference,
        recipients=tuple(number for number in numbers if number is not None),
        created_at=None if item.created_at is None else instant(item.created_at),
        is_whole=bool(numbers) and None not in numbers,
    )


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


def _listed(answer: Answer, what: str) -> tuple[list[msgspec.Raw], int | None]:
    """The items of a page and how many there are on all pages. Raises :class:`ProviderError` for anything but a readable 200.

    A 200 with neither the list nor a count of zero is not an empty page: a proxy may have answered.
    """
    if answer.status != 200 or answer.body is None:
        raise refusals.unanswered(answer, what)
    try:
        listing = msgspec.json.decode(answer.body, type=Listing)
    except (ValueError, RecursionError) as error:
        raise ProviderError(f"{what}: unreadable: {error}"[:200], http_status=200) from None
    raws = {"batches": listing.batches, "delivery_reports": listing.delivery_reports, "inbounds": listing.inbounds}[what]
    if raws is None and listing.count != 0:
        raise ProviderError(f"{what}: the answer holds no list", http_status=200)
    return raws or [], listing.count
