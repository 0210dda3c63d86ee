"""Messages as lists show them, and all that passed between us and one number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final, Self

from jobs.gateway.replies import Reply
from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant, moment


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages a list shows. What is empty or None lets all pass.

    ``recipients`` are E.164, at most 50. ``last_digits`` are the last 4 to 10 digits of a number. ``since`` and ``until``
    (exclusive) are compared with the time of the insert. ``plan`` is ``provider:plan``. ``priority`` is a number, ``urgent``
    (below 100) or ``normal``. ``metadata`` lists keys with their values. ``below_id`` bounds the ids (exclusive).
    """

    recipients: tuple[str, ...] = ()
    last_digits: str | None = None
    statuses: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    countries: tuple[str, ...] = ()
    campaign: str | None = None
    template: str | None = None
    plan: str | None = None
    priority: str | int | None = None
    since: datetime | None = None
    until: datetime | None = None
    idempotency_key: str | None = None
    batch_id: str | None = None
    dispatch_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    id: int | None = None
    below_id: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The keys that narrow the list, as the database takes them."""
        given = {name: getattr(self, name) for name in _KEYS}
        return {name: _plain(value) for name, value in given.items() if value is not None and value not in ((), {})}

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> Self:
        """A filter as the database stored it. Keys that this version does not know are left out."""
        return cls(**{name: _parsed(name, answer[name]) for name in _KEYS if name in answer})


_KEYS: Final[tuple[str, ...]] = tuple(one.name for one in fields(MessageFilter))


def _parsed(name: str, value: Any) -> Any:
    if name in {"since", "until"}:
        return instant(value)
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case tuple():
            return list(value)
        case Mapping():
            return dict(value)
        case _:
            return value


@dataclass(frozen=True, slots=True)
class ListedMessage:
    """One message in a list, without its text. ``plan`` is ``provider:plan`` once a request had it, ``route`` None for the
    default route.
    """

    id: int
    recipient: str
    status: str
    status_code: int | None
    error: str | None
    country: str | None
    campaign: str | None
    template: str | None
    priority: int
    route: str | None
    plan: str | None
    channel: str
    parts: int | None
    attempts: int
    created_at: datetime
    send_at: datetime
    due_at: datetime | None
    sent_at: datetime | None
    finalized_at: datetime | None
    secret: bool
    idempotency_key: str | None
    batch_id: str | None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        times = {name: moment(row[name]) for name in ("due_at", "sent_at", "finalized_at")}
        return cls(**{**row, **times, "created_at": instant(row["created_at"]), "send_at": instant(row["send_at"])})


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of messages, the newest first. ``before`` is where the next page begins, None at the end.

    A call reads a bounded stretch, so a page may hold few messages, or none, and go on all the same. ``read_to`` is the
    insert time of the last message that was read, None at the end.
    """

    messages: tuple[ListedMessage, ...]
    before: int | None
    read_to: datetime | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many messages match. ``is_more``: at least so many; the count ended at its bound."""

    count: int
    is_more: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """One entry of a conversation: a message to the number, or a reply from it. Exactly one of the two is given.

    ``text`` is None unless texts were asked for, and for secret messages.
    """

    at: datetime
    message: ListedMessage | None
    reply: Reply | None
    text: str | None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        message, reply = row["message"], row["reply"]
        return cls(
            at=instant(row["at"]),
            message=None if message is None else ListedMessage.parse(message),
            reply=None if reply is None else Reply.parse(reply),
            text=row["text"],
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    """What passed between us and one number, the newest first. ``before`` is where the next page begins, None at the end."""

    entries: tuple[Exchange, ...]
    before: str | None


@dataclass(frozen=True, slots=True)
class ShownText:
    """The content of one message. All are None where retention removed it."""

    body: str | None
    parameters: Mapping[str, Any] | None
    media_url: str | None


@dataclass(frozen=True, slots=True)
class LatestStatuses:
    """The messages inserted since a time, by status. ``is_more``: older ones were not counted."""

    since: datetime
    statuses: Mapping[str, int]
    is_more: bool

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{**row, "since": instant(row["since"])})


class MessageCalls(Calls):
    """Lists messages, and shows one text on request."""

    async def list_messages(self, wanted: MessageFilter, before: int | None = None, most: int = 50) -> MessagePage:
        """A page of the messages that match, before the id ``before``, at most ``most``."""
        answer = await self._rpc.call(
            "outbox_list_messages", {"p_filter": wanted.as_json(), "p_before": before, "p_most": most}
        )
        return MessagePage(
            messages=tuple(ListedMessage.parse(row) for row in answer["messages"]),
            before=answer["before"],
            read_to=moment(answer["read_to"]),
        )

    async def count_messages(self, wanted: MessageFilter, most: int = 10_000) -> Count:
        """How many messages match, counted up to ``most``."""
        return Count(**await self._rpc.call("outbox_count_messages", {"p_filter": wanted.as_json(), "p_most": most}))

    async def latest_statuses(self, since: Sequence[datetime], *, most: int) -> tuple[LatestStatuses, ...]:
        """The messages inserted since each of these times, by status, among the newest ``most``."""
        answer = await self._rpc.call("outbox_latest_statuses", {"p_since": [one.isoformat() for one in since], "p_most": most})
        return tuple(LatestStatuses.parse(row) for row in answer)

    async def send_test(self, message: Mapping[str, Any]) -> int:
        """Insert a message as an app does, marked as a test, and return its id.

        Its keys are ``recipient``, ``body``, ``template``, ``parameters``, ``priority`` and ``idempotency_key``. The same key
        again returns the same id.
        """
        number: int = await self._rpc.call("outbox_send_test_message", {"p_message": dict(message)})
        return number

    async def conversation(
        self, recipient: str, before: str | None = None, most: int = 50, *, texts: bool = False
    ) -> Conversation:
        """A page of messages to a number (E.164) and replies from it. With ``texts`` the audit records that they were read."""
        answer = await self._rpc.call(
            "outbox_conversation", {"p_recipient": recipient, "p_before": before, "p_most": most, "p_texts": texts}
        )
        return Conversation(tuple(Exchange.parse(row) for row in answer["entries"]), answer["before"])

    async def show_text(self, message: int) -> ShownText | None:
        """The text of one message, None if there is no such message. The audit records that it was read.

        Raises GatewayRefused for a secret message.
        """
        answer = await self._rpc.call("outbox_show_text", {"p_id": message})
        return None if answer is None else ShownText(**answer)
