"""The calls about outgoing events. The rules are in `supabase/schemas`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant, moment
from jobs.runtime.masking import scrub


@dataclass(frozen=True, slots=True)
class EventDelivery:
    """One event on its way to one endpoint, leased to the caller. ``secrets`` sign it, the current one first.

    ``lease`` proves the claim to the database. ``payload`` is the body as it is sent, the same in each attempt. ``attempt``
    counts from 1.
    """

    id: int
    lease: int
    endpoint: str
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    event_id: str
    type: str
    payload: str = field(repr=False)
    attempt: int

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "EventDelivery":
        return cls(
            id=row["id"],
            lease=row["lease"],
            endpoint=row["endpoint"],
            url=row["url"],
            secrets=tuple(row["secrets"] or ()),
            event_id=row["event_id"],
            type=row["type"],
            payload=row["payload"],
            attempt=row["attempt"],
        )


@dataclass(frozen=True, slots=True)
class EventClaim:
    """The answer to a claim of deliveries. ``endpoints`` counts the enabled ones.

    ``more``: another claim at once would find more. ``waits_since``: the start of an open transaction whose messages may have
    events, which keeps later events waiting; None without one.
    """

    deliveries: tuple[EventDelivery, ...]
    endpoints: int
    more: bool
    waits_since: datetime | None


@dataclass(frozen=True, slots=True)
class EventResult:
    """What came of one attempt: the status of the answer, or None and the ``error``. ``error`` is masked."""

    id: int
    lease: int
    status: int | None
    error: str | None = None
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DisabledEndpoint:
    """An endpoint that gets no more events. ``reason`` is a code, such as ``gone``."""

    endpoint: str
    reason: str


class Eventing(Calls):
    """The calls of the events job."""

    async def claim_events(self, worker: str, *, most: int, lease: float, busy: bool) -> EventClaim:
        """Lease at most ``most`` deliveries that are due, for ``lease`` seconds. ``busy``: the process is sending messages."""
        answer = await self._rpc.call(
            "outbox_claim_events", {"p_worker": worker, "p_most": most, "p_lease_seconds": lease, "p_busy": busy}
        )
        return EventClaim(
            deliveries=tuple(EventDelivery.parse(row) for row in answer["deliveries"]),
            endpoints=answer["endpoints"],
            more=answer["more"],
            waits_since=moment(answer["waits_since"]),
        )

    async def record_event_results(self, results: Sequence[EventResult]) -> tuple[DisabledEndpoint, ...]:
        """Record attempts. A result that comes after its lease has no effect. Returns the endpoints that they disabled."""
        answer = await self._rpc.call(
            "outbox_record_event_results", {"p_results": json.dumps([asdict(result) for result in results])}
        )
        return tuple(DisabledEndpoint(row["endpoint"], row["reason"]) for row in answer["disabled"])


@dataclass(frozen=True, slots=True)
class EventEndpoint:
    """A server that gets events. Without ``event_types`` it gets all but ``message.sent``.

    ``failing_since`` is the first failure after the latest success. ``disabled_reason`` is a code: ``operator``, ``gone`` or
    ``failing``. ``waiting`` deliveries are counted up to 10,001.
    """

    name: str
    url: str
    event_types: tuple[str, ...] | None
    include_recipient: bool
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    last_delivered_at: datetime | None
    waiting: int = 0
    failed: int = 0
    oldest_waiting_at: datetime | None = None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "EventEndpoint":
        types = row["event_types"]
        return cls(
            name=row["name"],
            url=row["url"],
            event_types=None if types is None else tuple(types),
            include_recipient=row["include_recipient"],
            failing_since=moment(row["failing_since"]),
            disabled_at=moment(row["disabled_at"]),
            disabled_reason=row["disabled_reason"],
            last_delivered_at=moment(row["last_delivered_at"]),
            waiting=row.get("waiting", 0),
            failed=row.get("failed", 0),
            oldest_waiting_at=moment(row.get("oldest_waiting_at")),
        )


@dataclass(frozen=True, slots=True)
class AddedEndpoint:
    """A new endpoint, or a new secret of one. The database shows ``secret`` this once."""

    name: str
    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """A delivery as it stands. ``outbox_id`` is the message, None for an event without one; ``last_status`` is HTTP's."""

    id: int
    endpoint: str
    event_id: str
    type: str
    outbox_id: int | None
    status: str
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "ListedDelivery":
        times = {name: moment(row[name]) for name in ("next_at", "delivered_at")}
        error = None if row["last_error"] is None else scrub(row["last_error"])
        return cls(**{**row, **times, "created_at": instant(row["created_at"]), "last_error": error})


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many events go again, and how many do not, by the reason."""

    count: int
    left_out: Mapping[str, int]
    dry_run: bool


class EventEndpoints(Calls):
    """An operator's calls. Each is safe to repeat. It raises as :class:`jobs.gateway.operating.Operating` does."""

    async def endpoints(self) -> tuple[EventEndpoint, ...]:
        """All endpoints by name."""
        return tuple(EventEndpoint.parse(row) for row in await self._rpc.call("outbox_event_endpoints_status", {}))

    async def add(self, name: str, url: str, *, types: Sequence[str] | None, include_recipient: bool) -> AddedEndpoint:
        """Make an endpoint. It gets what happens from now on."""
        answer = await self._rpc.call(
            "outbox_add_event_endpoint",
            {"p_name": name, "p_url": url, "p_event_types": types, "p_include_recipient": include_recipient},
        )
        return AddedEndpoint(answer["name"], answer["url"], answer["secret"])

    async def set(
        self,
        name: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        include_recipient: bool | None = None,
        enabled: bool | None = None,
    ) -> EventEndpoint:
        """Change what is given. Empty ``types`` are all but ``message.sent``."""
        answer = await self._rpc.call(
            "outbox_set_event_endpoint",
            {
                "p_name": name,
                "p_url": url,
                "p_event_types": types,
                "p_include_recipient": include_recipient,
                "p_enabled": enabled,
            },
        )
        return EventEndpoint.parse(answer)

    async def remove(self, name: str) -> None:
        """Remove an endpoint, its secrets and its deliveries."""
        await self._rpc.call("outbox_remove_event_endpoint", {"p_name": name})

    async def rotate_secret(self, name: str, *, keep: float) -> str:
        """Make a new secret and return it. The old one signs as well for ``keep`` seconds."""
        answer = await self._rpc.call("outbox_rotate_event_secret", {"p_name": name, "p_keep_seconds": keep})
        secret: str = answer["secret"]
        return secret

    async def test(self, name: str) -> str:
        """Make an event ``webhook.test`` for one endpoint. Returns its id."""
        answer = await self._rpc.call("outbox_test_event", {"p_name": name})
        event_id: str = answer["event_id"]
        return event_id

    async def deliveries(
        self,
        *,
        endpoint: str | None = None,
        status: str | None = None,
        event_id: str | None = None,
        before: int | None = None,
        most: int,
    ) -> tuple[ListedDelivery, ...]:
        """At most ``most`` deliveries, the newest first, of those before the id ``before``."""
        answer = await self._rpc.call(
            "outbox_list_event_deliveries",
            {"p_name": endpoint, "p_status": status, "p_event_id": event_id, "p_before": before, "p_most": most},
        )
        return tuple(ListedDelivery.parse(row) for row in answer)

    async def replay(
        self,
        name: str,
        *,
        event_ids: Sequence[str] | None,
        since: datetime | None,
        until: datetime | None,
        failed_only: bool,
        dry_run: bool,
    ) -> Replayed:
        """Send events once more, by id or by the time at which they happened."""
        answer = await self._rpc.call(
            "outbox_replay_events",
            {
                "p_name": name,
                "p_event_ids": None if event_ids is None else list(event_ids),
                "p_since": None if since is None else since.isoformat(),
                "p_until": None if until is None else until.isoformat(),
                "p_failed_only": failed_only,
                "p_dry_run": dry_run,
            },
        )
        return Replayed(answer["count"], answer["left_out"] or {}, dry_run)
