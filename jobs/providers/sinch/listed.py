"""Reads the batches that Sinch lists: their references alone, or with the text that each recipient got."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from jobs.providers.base import ListedReference, SentBatch
from jobs.providers.fields import Unreadable, instant
from jobs.providers.sinch.wire import Media
from jobs.runtime.phone import e164

T = TypeVar("T")

_PLACEHOLDER: Final = re.compile(r"\$\{([A-Za-z0-9._-]{1,16})\}")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_DEFAULT: Final = "default"
_Values = Mapping[str, Mapping[str, str]]

_LIST: Final = msgspec.json.Decoder(list[Any])
_BODY: "Final[msgspec.json.Decoder[str | Media]]" = msgspec.json.Decoder(str | Media)
_PARAMETERS: "Final[msgspec.json.Decoder[dict[str, dict[str, str]] | None]]" = msgspec.json.Decoder(
    dict[str, dict[str, str]] | None
)


class _Item(msgspec.Struct):
    """A listed batch. What only batches of ours must have is read later: others on the plan may send other kinds."""

    id: str
    client_reference: Any = None
    created_at: Any = None
    to: msgspec.Raw = msgspec.Raw(b"null")
    body: msgspec.Raw = msgspec.Raw(b"null")
    parameters: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def reference(self) -> str | None:
        """None where it is no text, as in a batch of another application."""
        return self.client_reference if isinstance(self.client_reference, str) else None

    @property
    def may_be_ours(self) -> bool:
        return self.reference is not None and _UUID.fullmatch(self.reference) is not None

    def made_at(self) -> datetime | None:
        """Raises Unreadable for a batch with a reference like ours; None where another's time cannot be read."""
        try:
            return instant(self.created_at) if isinstance(self.created_at, str) else None
        except Unreadable:
            if self.may_be_ours:
                raise
            return None


def reference(raw: bytes) -> ListedReference:
    """The reference of one batch. Raises ValueError if the item cannot be read."""
    item = _item(raw)
    return ListedReference(item.reference, item.made_at())


def batch(raw: bytes) -> SentBatch:
    """One batch with its texts. Raises ValueError if the item or its time cannot be read."""
    item = _item(raw)
    made_at = item.made_at()
    if made_at is None and item.may_be_ours:
        raise Unreadable("created_at is missing")
    recipients = _recipients(_read(_LIST, item.to))
    return SentBatch(
        batch_id=item.id,
        reference=item.reference,
        created_at=made_at or datetime.min.replace(tzinfo=UTC),
        recipients=recipients,
        texts=_texts(item, recipients),
    )


def _item(raw: bytes) -> _Item:
    item = msgspec.json.decode(raw, type=_Item)
    if not item.id:
        raise Unreadable("id is missing")
    return item


def _recipients(written: list[Any] | None) -> tuple[str, ...]:
    """Empty where a number cannot be read. So is one that stands there twice: no request of ours names a number twice."""
    found: dict[str, None] = {}
    unread = 0
    for one in written or [None]:
        number = e164(one) if isinstance(one, str) else None
        if number is None or number in found:
            unread += 1
        else:
            found[number] = None
    return (*found, *[""] * unread)


def _read(decoder: "msgspec.json.Decoder[T]", raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError):
        return None


def _texts(item: _Item, recipients: Sequence[str]) -> tuple[str | None, ...]:
    """The text of each recipient, of an MMS its caption. None if a value is missing.

    ``${key}`` is replaced by the recipient's value or the default.
    A recipient that cannot be read may be any for whom there is a value, so no default counts for it beside such values.
    """
    read = _read(_BODY, item.body)
    body = read.message if isinstance(read, Media) else read
    if body is None:
        return (None,) * len(recipients)
    values = _read(_PARAMETERS, item.parameters)
    if not values or _PLACEHOLDER.search(body) is None:
        return (body,) * len(recipients)
    by_number = {key: {e164(name) or name: value for name, value in given.items()} for key, given in values.items()}
    return tuple(_filled(body, by_number, recipient) for recipient in recipients)


def _filled(body: str, values: _Values, recipient: str) -> str | None:
    def value(placeholder: re.Match[str]) -> str:
        given = values[placeholder[1]]
        if not recipient and given.keys() != {_DEFAULT}:
            raise KeyError
        return given[recipient] if recipient in given else given[_DEFAULT]

    try:
        return _PLACEHOLDER.sub(value, body)
    except KeyError:
        return None
