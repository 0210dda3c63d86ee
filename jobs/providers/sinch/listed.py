"""Reads the batches that Sinch lists: their references alone, or with the text that each recipient got."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from jobs.providers.base import ListedReference, SentBatch
from jobs.providers.sinch.wire import Unreadable, instant
from jobs.runtime.phone import e164

T = TypeVar("T")

_PLACEHOLDER: Final = re.compile(r"\$\{([A-Za-z0-9._-]{1,16})\}")
_DEFAULT: Final = "default"
_Values = Mapping[str, Mapping[str, str]]

_NUMBERS: Final = msgspec.json.Decoder(list[str])
_TEXT: Final = msgspec.json.Decoder(str)
_PARAMETERS: "Final[msgspec.json.Decoder[dict[str, dict[str, str]] | None]]" = msgspec.json.Decoder(
    dict[str, dict[str, str]] | None
)


class _Item(msgspec.Struct):
    """A listed batch. What only batches of ours must have is read later: others on the plan may send other kinds."""

    id: str
    client_reference: str | None = None
    created_at: str | None = None
    to: msgspec.Raw = msgspec.Raw(b"null")
    body: msgspec.Raw = msgspec.Raw(b"null")
    parameters: msgspec.Raw = msgspec.Raw(b"null")


def reference(raw: bytes) -> ListedReference:
    """The reference of one batch. Raises ValueError if the item cannot be read."""
    item = _item(raw)
    return ListedReference(item.client_reference, None if item.created_at is None else instant(item.created_at))


def batch(raw: bytes) -> SentBatch:
    """One batch with its texts. Raises ValueError if the item or its time cannot be read."""
    item = _item(raw)
    if item.created_at is None:
        raise Unreadable("created_at is missing")
    written = _read(_NUMBERS, item.to) or []
    numbers = [e164(one) for one in written]
    recipients = tuple(number for number in numbers if number is not None)
    return SentBatch(
        batch_id=item.id,
        reference=item.client_reference,
        created_at=instant(item.created_at),
        recipients=recipients,
        texts=_texts(item, recipients),
        is_whole=bool(numbers) and len(set(recipients)) == len(numbers),
    )


def _item(raw: bytes) -> _Item:
    item = msgspec.json.decode(raw, type=_Item)
    if not item.id:
        raise Unreadable("id is missing")
    return item


def _read(decoder: "msgspec.json.Decoder[T]", raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError):
        return None


def _texts(item: _Item, recipients: Sequence[str]) -> tuple[str | None, ...]:
    """The text of each recipient: ``${key}`` replaced by the recipient's value or the default. None if a value is missing."""
    body = _read(_TEXT, item.body)
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
        return given[recipient] if recipient in given else given[_DEFAULT]

    try:
        return _PLACEHOLDER.sub(value, body)
    except KeyError:
        return None
