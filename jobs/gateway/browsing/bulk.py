"""Bulk actions: one action on all messages that match a filter, a stretch at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from jobs.gateway.browsing.messages import MessageFilter
from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant, moment

Kind = Literal["retry", "cancel", "reschedule"]


@dataclass(frozen=True, slots=True)
class BulkCount:
    """How many messages had an outcome, a code such as ``retried`` or ``delivered``. ``done``: the action took effect."""

    outcome: str
    done: bool
    messages: int


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """``force`` and ``expires_in`` (seconds) are those of a retry. ``send_at`` is the new time of a reschedule."""

    force: bool = False
    expires_in: float | None = None
    send_at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        given = {
            "force": self.force or None,
            "expires_in": self.expires_in,
            "send_at": None if self.send_at is None else self.send_at.isoformat(),
        }
        return {name: value for name, value in given.items() if value is not None}

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        return cls(row.get("force", False), row.get("expires_in"), moment(row.get("send_at")))


@dataclass(frozen=True, slots=True)
class BulkPreview:
    """What an action would do in one stretch. ``before`` is where the next stretch begins, None at the end.

    ``share`` is how much of the ids was read so far, from 0 to 1.
    """

    counts: tuple[BulkCount, ...]
    before: int | None
    share: float


@dataclass(frozen=True, slots=True)
class BulkAction:
    """A bulk action and how far it is. ``state`` is ``running``, ``finished`` or ``stopped``.

    ``share`` is how much of the ids was read so far, from 0 to 1.
    """

    id: int
    action: Kind
    filter: MessageFilter
    options: BulkOptions
    state: str
    actor: str
    via: str
    started_at: datetime
    worked_at: datetime
    ended_at: datetime | None
    share: float
    counts: tuple[BulkCount, ...]

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        return cls(
            id=row["id"],
            action=row["action"],
            filter=MessageFilter.parse(row["filter"]),
            options=BulkOptions.parse(row["options"]),
            state=row["state"],
            actor=row["actor"],
            via=row["via"],
            started_at=instant(row["started_at"]),
            worked_at=instant(row["worked_at"]),
            ended_at=moment(row["ended_at"]),
            share=row["share"],
            counts=_counts(row["counts"]),
        )


def _counts(rows: Sequence[Mapping[str, Any]]) -> tuple[BulkCount, ...]:
    return tuple(BulkCount(**row) for row in rows)


class BulkCalls(Calls):
    """Previews, starts, drives and lists bulk actions."""

    async def preview_bulk(
        self, action: Kind, wanted: MessageFilter, options: BulkOptions, *, before: int | None = None, most: int = 500
    ) -> BulkPreview:
        """What the action would do to at most ``most`` messages before the id ``before``. Changes nothing."""
        answer = await self._rpc.call(
            "outbox_preview_bulk",
            {
                "p_action": action,
                "p_filter": wanted.as_json(),
                "p_options": options.as_json(),
                "p_before": before,
                "p_most": most,
            },
        )
        return BulkPreview(_counts(answer["counts"]), answer["before"], answer["share"])

    async def start_bulk(self, action: Kind, wanted: MessageFilter, options: BulkOptions) -> BulkAction:
        """Store the action, on the messages of this moment. It acts on none yet."""
        answer = await self._rpc.call(
            "outbox_start_bulk", {"p_action": action, "p_filter": wanted.as_json(), "p_options": options.as_json()}
        )
        return BulkAction.parse(answer)

    async def continue_bulk(self, bulk: int, *, most: int = 500) -> BulkAction | None:
        """Act on the next ``most`` messages, and return how far it is. None if there is no such action."""
        answer = await self._rpc.call("outbox_continue_bulk", {"p_id": bulk, "p_most": most})
        return None if answer is None else BulkAction.parse(answer)

    async def stop_bulk(self, bulk: int) -> BulkAction | None:
        """Stop it before its next stretch. What it did stays done. None if there is no such action."""
        answer = await self._rpc.call("outbox_stop_bulk", {"p_id": bulk})
        return None if answer is None else BulkAction.parse(answer)

    async def list_bulk(self, *, before: int | None = None, most: int = 20) -> tuple[BulkAction, ...]:
        """The actions before the id ``before``, the newest first."""
        answer = await self._rpc.call("outbox_list_bulk", {"p_before": before, "p_most": most})
        return tuple(BulkAction.parse(row) for row in answer)
