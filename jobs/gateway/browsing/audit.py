"""The audit: who did what, and from where."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant, moment


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action of ``actor``. ``via`` is ``dashboard``, ``command``, ``api`` or ``sql``.

    ``action`` is the name of the database function without ``outbox_``, ``target`` what it acted on, ``detail`` its outcome.
    Numbers are masked.
    """

    id: int
    at: datetime
    actor: str
    via: str
    action: str
    target: str | None
    detail: Mapping[str, Any]

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{**row, "at": instant(row["at"])})


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of the audit, the newest first. ``before`` is where the next page begins, None at the end.

    A call reads a bounded stretch, so a page may hold few entries, or none, and go on all the same. ``read_to`` is the time of
    the last entry that was read, None at the end.
    """

    entries: tuple[AuditEntry, ...]
    before: int | None
    read_to: datetime | None


class AuditCalls(Calls):
    """Reads the audit."""

    async def list_audit(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: int | None = None,
        most: int = 50,
    ) -> AuditPage:
        """A page of the entries that match, before the id ``before``."""
        given = {
            "actor": actor,
            "action": action,
            "target": target,
            "since": None if since is None else since.isoformat(),
            "until": None if until is None else until.isoformat(),
        }
        answer = await self._rpc.call(
            "outbox_list_audit",
            {
                "p_filter": {name: value for name, value in given.items() if value is not None},
                "p_before": before,
                "p_most": most,
            },
        )
        entries = tuple(AuditEntry.parse(row) for row in answer["entries"])
        return AuditPage(entries, answer["before"], moment(answer["read_to"]))
