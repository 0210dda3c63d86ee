"""The requests that send: parsing and the documented limits."""

import re
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from sandbox.simulator import clock
from sandbox.simulator.sinch.errors import bad_format, bad_json, violation

DAYS_TO_LIVE = 3
_KEY = re.compile(r"[A-Za-z0-9._-]{1,16}")

Parameters = dict[str, dict[str, str]]
Reporting = Literal["none", "summary", "full", "per_recipient", "per_recipient_final"]
Asked = TypeVar("Asked", bound=Struct)


class Options(Struct, kw_only=True):
    """The fields that sending, replacing and updating share. Fields the simulator does not know are ignored."""

    from_: str | None = field(name="from", default=None)
    type: Literal["mt_text", "mt_binary", "mt_media"] | None = None
    body: Any = None
    udh: str | None = None
    parameters: Parameters | None = None
    delivery_report: Reporting | None = None
    send_at: str | None = None
    expire_at: str | None = None
    callback_url: str | None = None
    client_reference: str | None = None
    feedback_enabled: bool | None = None
    flash_message: bool | None = None
    truncate_concat: bool | None = None
    max_number_of_message_parts: int | None = None
    from_ton: int | None = None
    from_npi: int | None = None
    strict_validation: bool | None = None


class Send(Options, kw_only=True):
    """Body of ``POST /batches`` and ``PUT /batches/{id}``."""

    to: list[str] | None = None


class Update(Options, kw_only=True):
    """Body of ``POST /batches/{id}``. Older documentation spells the lists in camel case."""

    to_add: list[str] | None = None
    to_remove: list[str] | None = None
    old_add: list[str] | None = field(name="toAdd", default=None)
    old_remove: list[str] | None = field(name="toRemove", default=None)


class Feedback(Struct):
    """Body of ``POST /batches/{id}/delivery_feedback``."""

    recipients: list[str]


def read(body: bytes, shape: type[Asked]) -> Asked:
    """Parse a request's body. Raises the provider's refusal, which names the field if one has the wrong type."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        if not path:
            raise violation(reason) from None
        raise bad_format(path.strip("`").removeprefix("$."), f"is wrong: {reason}") from None
    except msgspec.DecodeError as error:
        raise bad_json(str(error)) from None


def check_send(wanted: Send) -> list[str]:
    """Check the limits of a complete request. Returns its recipients as written."""
    if not wanted.to:
        raise violation("to must hold at least one recipient")
    if len(wanted.to) > 1000:
        raise violation("to must hold at most 1000 recipients")
    if wanted.body is None:
        raise violation("body is required")
    check_options(wanted)
    return wanted.to


def check_options(wanted: Options) -> None:
    """Check the limits of the given fields."""
    _check_body(wanted)
    if wanted.parameters:
        _check_parameters(wanted.parameters)
    if wanted.client_reference is not None and len(wanted.client_reference) > 2048:
        raise violation("client_reference must have at most 2048 characters")
    if wanted.callback_url is not None:
        _check_url(wanted.callback_url)
    _check_range(wanted.max_number_of_message_parts, "max_number_of_message_parts", 1, 2**31)
    _check_range(wanted.from_ton, "from_ton", 0, 6)
    _check_range(wanted.from_npi, "from_npi", 0, 18)


def moment(text: str | None, name: str) -> int | None:
    """Read a time from a field or the query, in milliseconds."""
    if text is None:
        return None
    try:
        return clock.parse(text)
    except ValueError:
        raise bad_format(name, "must be an ISO-8601 time") from None


def life_span(send_at: int | None, expire_at: int | None, now: int) -> tuple[int, int]:
    """When a batch starts and ends: at most three days, never ending before it starts."""
    start = now if send_at is None else send_at
    latest = max(start, now) + DAYS_TO_LIVE * clock.DAY
    if expire_at is None:
        return max(start, now), latest
    if expire_at <= start or expire_at <= now:
        raise violation("expire_at must be after send_at and not in the past")
    if expire_at > latest:
        raise violation("expire_at must be at most 3 days after send_at")
    return max(start, now), expire_at


def _check_body(wanted: Options) -> None:
    kind, body = wanted.type or "mt_text", wanted.body
    if body is None:
        return
    if kind == "mt_media":
        if not isinstance(body, dict) or not isinstance(body.get("url"), str):
            raise violation("body.url is required for mt_media")
        return
    if not isinstance(body, str):
        raise bad_format("body", "must be a string")
    if len(body) > 2000:
        raise violation("body must have at most 2000 characters")
    if kind == "mt_binary" and not wanted.udh:
        raise violation("udh is required for mt_binary")


def _check_parameters(parameters: Parameters) -> None:
    for key, values in parameters.items():
        if not _KEY.fullmatch(key):
            raise violation("a parameter's key must have 1 to 16 characters of A-Z, a-z, 0-9, '.', '-' and '_'")
        if values and max(map(len, values.values())) > 160:
            raise violation(f"a value of parameter {key} has more than 160 characters")


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if len(url) > 2048 or parts.scheme not in ("http", "https") or not parts.hostname:
        raise bad_format("callback_url", "must be an http or https URL of at most 2048 characters")


def _check_range(value: int | None, name: str, lowest: int, highest: int) -> None:
    if value is not None and not lowest <= value <= highest:
        raise violation(f"{name} must be between {lowest} and {highest}")
