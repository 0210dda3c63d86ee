"""The list of numbers that get no messages, with search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant


@dataclass(frozen=True, slots=True)
class ListedSuppression:
    """A number that gets no messages. ``replied``: the recipient opted out, and a START from there lifts it."""

    recipient: str
    reason: str
    replied: bool
    created_at: datetime

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{**row, "created_at": instant(row["created_at"])})


@dataclass(frozen=True, slots=True)
class SuppressionPage:
    """A page in the order of the numbers. ``after`` is where the next page begins, None at the end.

    A call reads a bounded stretch, so a page may be empty and go on all the same.
    """

    suppressions: tuple[ListedSuppression, ...]
    after: str | None


class SuppressionCalls(Calls):
    """Lists suppressions."""

    async def list_suppressions(
        self,
        *,
        number: str | None = None,
        reason: str | None = None,
        replied: bool | None = None,
        after: str = "",
        most: int = 50,
    ) -> SuppressionPage:
        """A page after the number ``after``. ``number`` is how a number begins (``+44``) or ends (``0123``).

        ``reason`` is a part of the reason.
        """
        given = {"number": number, "reason": reason, "replied": replied}
        answer = await self._rpc.call(
            "outbox_list_suppressions",
            {
                "p_filter": {name: value for name, value in given.items() if value is not None},
                "p_after": after,
                "p_most": most,
            },
        )
        return SuppressionPage(tuple(ListedSuppression.parse(row) for row in answer["suppressions"]), answer["after"])

    async def known_suppressions(self, recipients: Sequence[str]) -> int:
        """How many of these numbers (E.164) are on the list."""
        return int(await self._rpc.call("outbox_known_suppressions", {"p_recipients": list(recipients)}))

    async def lift_suppression(self, recipient: str) -> bool:
        """Let a number (E.164) get messages again. False if it is not on the list."""
        return bool(await self._rpc.call("outbox_lift_suppression", {"p_recipient": recipient}))
