"""The Reports API: ``GET /v2/reports/records`` of the product MESSAGES, by id or by date.

A record follows the truth after a lag: before that there is none, and later it shows the status of that long ago.
"""

import base64
from binascii import Error
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlencode
from zlib import crc32

import phonenumbers
from msgspec import Struct, field

from sandbox.simulator.clock import DAY, iso, parse
from sandbox.simulator.http import Answer, Call, json_answer
from sandbox.simulator.vonage.messages import Message
from sandbox.simulator.vonage.problems import Problem, throttled, unauthorized, wrong
from sandbox.simulator.vonage.provider import Client, Received, Vonage
from sandbox.simulator.vonage.webhooks import price

PATH: Final = "/v2/reports/records"
_MOST_IDS: Final = 20
_WITH_IDS: Final = frozenset(("product", "account_id", "direction", "id", "include_message", "show_concatenated"))
_FILTERS: Final = ("status", "from", "to", "country", "provider")
_REACH: Final = 7 * DAY

Direction = Literal["outbound", "inbound"]


class Record(Struct, kw_only=True, omit_defaults=True):
    """One message. All values are strings."""

    account_id: str
    message_id: str
    direction: str
    from_: str = field(name="from")
    to: str
    provider: str
    date_received: str
    id: str
    client_ref: str | None = None
    message_body: str | None = None
    network: str | None = None
    date_finalized: str | None = None
    latency: str | None = None
    status: str | None = None
    error_code: str | None = None
    currency: str = "EUR"
    estimated_price: str | None = None
    total_price: str | None = None
    workflow_id: str | None = None
    workflow_items_number: str | None = None
    workflow_items_total: str | None = None


class Page(Struct, kw_only=True, omit_defaults=True):
    """One page of records. ``cursor`` and ``iv`` are there while more follow."""

    request_id: str
    request_status: str
    product: str
    account_id: str
    direction: str
    receive_time: str
    start_time: str
    items_count: int
    links: dict[str, dict[str, str]] = field(name="_links")
    records: list[Record]
    ids_not_found: str | None = None
    cursor: str | None = None
    iv: str | None = None
    date_start: str | None = None
    date_end: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: so many matching records were shown, of those known at ``now`` (milliseconds)."""

    shown: int
    now: int

    def cursor(self) -> tuple[str, str]:
        """The cursor and its initialization vector, which belong together."""
        text = f"{self.shown}/{self.now}"
        return base64.urlsafe_b64encode(text.encode()).decode(), f"{crc32(text.encode()):08x}"


def get(vonage: Vonage, client: Client, call: Call) -> Answer:
    """Answer a request. Raises Problem."""
    query, now, account = call.query(), vonage.core.clock.now(), vonage.account(client.settings.api_key)
    if not client.basic:
        raise unauthorized()
    most = vonage.core.behaviour.vonage.records_per_second
    if most is not None and not account.reports.allows(now, most):
        raise throttled(most, now)
    direction = _checked(query, account.api_key)
    page = _by_id(vonage, call, query, direction) if "id" in query else _by_date(vonage, call, query, direction)
    account.charge(page.items_count)
    return json_answer(200, page)


def _checked(query: Mapping[str, str], api_key: str) -> Direction:
    for name in ("account_id", "product", "direction"):
        if name not in query:
            raise wrong("Missing params", (name, "is required"))
    if query["account_id"] != api_key:
        raise Problem(403, "Forbidden", f"Account {query['account_id']} is not yours", kind="#forbidden")
    if query["product"] != "MESSAGES":
        raise wrong("Invalid params", ("product", "this simulator knows only MESSAGES"))
    match query["direction"]:
        case "outbound":
            return "outbound"
        case "inbound":
            return "inbound"
        case _:
            raise wrong("Invalid params", ("direction", "must be outbound or inbound"))


def _by_id(vonage: Vonage, call: Call, query: Mapping[str, str], direction: Direction) -> Page:
    ids = [text.strip() for text in query["id"].split(",") if text.strip()]
    if not 1 <= len(ids) <= _MOST_IDS:
        raise wrong("Invalid params", ("id", f"must hold 1 to {_MOST_IDS} UUIDs"))
    others = [name for name in query if name not in _WITH_IDS]
    if others:
        raise wrong("Invalid params", *((name, "cannot be combined with id") for name in others))
    found = _found(vonage, query, direction, ids)
    page = _page(vonage, call, query, list(found.values()))
    page.ids_not_found = ",".join(name for name in ids if name not in found) or None
    return page


def _found(vonage: Vonage, query: Mapping[str, str], direction: Direction, ids: list[str]) -> dict[str, Record]:
    if direction == "outbound":
        messages = [vonage.by_id[name] for name in dict.fromkeys(ids) if name in vonage.by_id]
        shown = _outbounds(messages, query, vonage.core.clock.now())
    else:
        received = [received for received in vonage.inbounds if received.inbound.message_uuid in ids]
        shown = _inbounds(received, query, vonage.core.clock.now())
    return {record.message_id: record for record in shown}


def _by_date(vonage: Vonage, call: Call, query: Mapping[str, str], direction: Direction) -> Page:
    position = _position(query, vonage.core.clock.now())
    end = _moment(query, "date_end", position.now)
    start = _moment(query, "date_start", end - _REACH)
    if "date_start" in query and not 0 <= end - start <= DAY:
        raise wrong("Invalid params", ("date_end", "must be at most 24 hours after date_start"))
    matching = [
        record
        for record in _between(vonage, query, direction, (start, end), position.now)
        if all(_matches(record, name, query[name]) for name in _FILTERS if name in query)
    ]
    size = vonage.core.behaviour.vonage.records_page
    page = _page(vonage, call, query, matching[position.shown : position.shown + size])
    page.date_start, page.date_end = _seconds(start), _seconds(end)
    if position.shown + size < len(matching):
        page.request_status = "TRUNCATED"
        page.cursor, page.iv = Position(position.shown + size, position.now).cursor()
        following = urlencode({**query, "cursor": page.cursor, "iv": page.iv})
        page.links["next"] = {"href": f"http://{call.host}{PATH}?{following}"}
    return page


def _position(query: Mapping[str, str], now: int) -> Position:
    if "cursor" not in query and "iv" not in query:
        return Position(0, now)
    try:
        shown, _, known = base64.urlsafe_b64decode(query.get("cursor", "")).decode().partition("/")
        position = Position(int(shown), int(known))
    except (Error, ValueError):
        raise wrong("Invalid params", ("cursor", "is not a cursor")) from None
    if position.cursor()[1] != query.get("iv"):
        raise wrong("Invalid params", ("iv", "does not belong to the cursor"))
    return position


def _between(vonage: Vonage, query: Mapping[str, str], direction: Direction, window: tuple[int, int], now: int) -> list[Record]:
    """The records received in ``[start, end)`` that are visible at ``now``, oldest first."""
    start, end = window
    if direction == "outbound":
        first = bisect_left(vonage.messages, start, key=lambda message: message.created)
        last = bisect_left(vonage.messages, end, key=lambda message: message.created)
        return _outbounds(vonage.messages[first:last], query, now)
    first = bisect_left(vonage.inbounds, start, key=lambda received: received.at)
    last = bisect_left(vonage.inbounds, end, key=lambda received: received.at)
    return _inbounds(vonage.inbounds[first:last], query, now)


def _outbounds(messages: Sequence[Message], query: Mapping[str, str], now: int) -> list[Record]:
    return [
        _outbound(message, now - message.visible_after, _bodies(query))
        for message in messages
        if message.api_key == query["account_id"]
        # Before its record is made: a lookup asks for one number among all messages of some hours.
        and message.to == query.get("to", message.to)
        and _recorded(message, now - message.visible_after)
    ]


def _recorded(message: Message, seen: int) -> bool:
    """Whether there is a record of what had happened at ``seen``."""
    if message.behaviour.vonage.records_of_accepted:
        return message.created <= seen
    return min(message.life.submitted, message.life.final) <= seen


def _inbounds(inbounds: Sequence[Received], query: Mapping[str, str], now: int) -> list[Record]:
    return [
        _inbound(received, _bodies(query))
        for received in inbounds
        if received.api_key == query["account_id"] and received.at + received.visible_after <= now
    ]


def _bodies(query: Mapping[str, str]) -> bool:
    return query.get("include_message", "").lower() == "true"


def _outbound(message: Message, seen: int, bodies: bool) -> Record:
    """The record with the state at ``seen``, in milliseconds."""
    state, workflow, cost = message.life.state(message.created, seen), message.workflow, price(message.parts)
    final = message.life.final <= seen
    return Record(
        account_id=message.api_key,
        message_id=message.id,
        direction="outbound",
        from_=message.from_,
        to=message.to,
        provider=message.channel,
        date_received=_seconds(message.created),
        id=message.id,
        client_ref=message.reference,
        message_body=message.wanted.words if bodies else None,
        network="310260",
        date_finalized=_seconds(state.at),
        latency=str(state.at - message.created),
        status=state.outcome.status,
        error_code=str(state.outcome.code) if state.outcome.code else None,
        estimated_price=cost,
        total_price=cost if final else None,
        workflow_id=workflow.id if workflow else None,
        workflow_items_number=str(workflow.number) if workflow else None,
        workflow_items_total=str(workflow.total) if workflow else None,
    )


def _inbound(received: Received, bodies: bool) -> Record:
    inbound = received.inbound
    return Record(
        account_id=received.api_key,
        message_id=inbound.message_uuid,
        direction="inbound",
        from_=inbound.from_,
        to=inbound.to,
        provider=inbound.channel,
        date_received=_seconds(received.at),
        id=inbound.message_uuid,
        message_body=inbound.text if bodies else None,
        total_price=price(1),
    )


def _page(vonage: Vonage, call: Call, query: Mapping[str, str], records: list[Record]) -> Page:
    now = _seconds(vonage.core.clock.now())
    return Page(
        request_id=vonage.new_id(),
        request_status="SUCCESS",
        product="MESSAGES",
        account_id=query["account_id"],
        direction=query["direction"],
        receive_time=now,
        start_time=now,
        items_count=len(records),
        links={"self": {"href": f"http://{call.host}{PATH}?{call.raw_query}"}},
        records=records,
    )


def _matches(record: Record, name: str, value: str) -> bool:
    match name:
        case "status":
            return record.status == value
        case "from":
            return record.from_ == value
        case "to":
            return record.to == value
        case "provider":
            return record.provider == value
        case _:
            foreign = record.to if record.direction == "outbound" else record.from_
            return _country(foreign) == value.upper()


def _country(number: str) -> str | None:
    try:
        parsed = phonenumbers.parse(f"+{number}")
    except phonenumbers.NumberParseException:
        return None
    # Numbers for fiction belong to no region, but their country code does.
    return phonenumbers.region_code_for_number(parsed) or phonenumbers.region_code_for_country_code(parsed.country_code or 0)


def _moment(query: Mapping[str, str], name: str, otherwise: int) -> int:
    if name not in query:
        return otherwise
    try:
        return parse(query[name])
    except ValueError:
        raise wrong("Invalid params", (name, "must be an ISO-8601 time")) from None


def _seconds(moment: int) -> str:
    return f"{iso(moment)[:19]}+00:00"
