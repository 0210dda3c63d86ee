"""The bodies of webhooks: statuses of our messages, and messages from phones. All numbers are strings, as at the provider."""

from typing import Any

from msgspec import Struct, field

from sandbox.simulator.clock import iso
from sandbox.simulator.outcomes import Outcome, State
from sandbox.simulator.vonage.messages import Message

_PRICE_A_PART = 0.0333
_CHARGED = frozenset(("submitted", "delivered"))
_CODES_PAGE = "https://developer.vonage.com/api-errors/messages"


class Usage(Struct, kw_only=True):
    """The price of a message."""

    currency: str = "EUR"
    price: str


class Failure(Struct, kw_only=True):
    """Why a message was rejected. ``title`` is the code."""

    type: str
    title: str
    detail: str
    instance: str


class Status(Struct, kw_only=True, omit_defaults=True):
    """One status of a message."""

    message_uuid: str
    to: str
    from_: str = field(name="from")
    timestamp: str
    status: str
    channel: str
    client_ref: str | None = None
    error: Failure | None = None
    usage: Usage | None = None
    destination: dict[str, str] | None = None
    sms: dict[str, Any] | None = None
    workflow: dict[str, str] | None = None


class Inbound(Struct, kw_only=True, omit_defaults=True):
    """A message from a phone. An MMS has its type and its attachments, an SMS only its text."""

    channel: str
    message_uuid: str
    to: str
    from_: str = field(name="from")
    timestamp: str
    text: str | None = None
    message_type: str | None = None
    image: dict[str, str] | None = None
    audio: dict[str, str] | None = None
    video: dict[str, str] | None = None
    vcard: dict[str, str] | None = None
    file: dict[str, str] | None = None
    content: list[dict[str, str]] | None = None
    sms: dict[str, str] | None = None
    usage: Usage | None = None
    origin: dict[str, str] | None = None


def status(message: Message, state: State) -> Status:
    """The webhook for one state."""
    outcome, parts, workflow = state.outcome, message.parts, message.workflow
    return Status(
        message_uuid=message.id,
        to=message.to,
        from_=message.from_,
        timestamp=timestamp(message.ordinal, state.at),
        status=outcome.status,
        channel=message.channel,
        client_ref=message.reference,
        error=_failure(message, outcome) if outcome.code else None,
        usage=Usage(price=price(parts)) if outcome.status in _CHARGED else None,
        destination={"network_code": "310260"} if outcome.status in _CHARGED else None,
        sms=_segments(message, state, parts) if message.channel == "sms" else None,
        workflow=None
        if workflow is None
        else {"workflow_id": workflow.id, "items_number": str(workflow.number), "items_total": str(workflow.total)},
    )


def timestamp(ordinal: int, at: int) -> str:
    """With and without milliseconds, as both have been seen: every other message has none."""
    text = iso(at)
    return text if ordinal % 2 else f"{text[:19]}Z"


def price(parts: int) -> str:
    return f"{_PRICE_A_PART * parts:.4f}"


def _failure(message: Message, outcome: Outcome) -> Failure:
    return Failure(
        type=f"{_CODES_PAGE}#{outcome.code}",
        title=str(outcome.code),
        detail=f"Rejected with code {outcome.code}",
        instance=message.id,
    )


def _segments(message: Message, state: State, parts: int) -> dict[str, Any]:
    """1490 means that receipts of some segments are missing: the first one's came."""
    counted: dict[str, Any] = {"count_total": str(parts)}
    if parts == 1 or state.outcome.status not in ("delivered", "rejected"):
        return counted
    at, code = timestamp(message.ordinal, state.at), state.outcome.code
    if code == 1490:
        counted["segments"] = [{"timestamp": at, "status": "delivered"}]
    else:
        ending = {"timestamp": at, "status": state.outcome.status} | ({"error_code": str(code)} if code else {})
        counted["segments"] = [ending] * parts
    return counted
