"""The calls an operator makes. The rules are in `supabase/schemas`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.gateway import values
from jobs.gateway.campaigning import Campaigning
from jobs.gateway.history import Meant, Trace
from jobs.gateway.rpc import Rpc
from jobs.gateway.standing import Figures, Pause, Standing
from jobs.settings import SupabaseSettings


@dataclass(frozen=True, slots=True)
class Selection:
    """One stretch of the table: the ids that matched, where to go on (None at its end), and the table's last id."""

    ids: tuple[int, ...]
    after: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message that a command is about.

    ``was`` is its status before, None where there is no such message. ``outcome`` is a code, such as ``cancelled``.
    """

    id: int
    was: str | None
    done: bool
    outcome: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The operator's pauses that were ended, and every pause that remains, of all plans."""

    ended: tuple[Pause, ...]
    remaining: tuple[Pause, ...]


@dataclass(frozen=True, slots=True)
class Suppression:
    """A number that gets no messages. ``replied``: its owner asked for that, and a START lifts it."""

    recipient: str
    reason: str
    replied: bool
    created_at: datetime | None = None


class Operating:
    """What operators ask of the database. Every method is one call, safe to repeat, and raises as those of the gateway do."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    @classmethod
    async def connect(cls, settings: SupabaseSettings) -> "Operating":
        """Make the client. No request is made yet."""
        return cls(await Rpc.connect(settings))

    async def aclose(self) -> None:
        await self._rpc.aclose()

    @property
    def campaigns(self) -> Campaigning:
        """The calls about campaigns, over the same connection."""
        return Campaigning(self._rpc)

    # Seeing

    async def status(self) -> Standing:
        """The backlog, what is under way, what stands still and why."""
        return Standing.parse(await self._rpc.call("outbox_status", {}))

    async def figures(self, *, days: int) -> Figures:
        """What became of the messages of the last days."""
        return Figures.parse(await self._rpc.call("outbox_daily_figures", {"p_days": days}))

    async def find(self, text: str, *, read_as: str | None = None) -> Meant:
        """The messages meant by an ``id``, a ``dispatch``, a ``batch`` or an ``idempotency_key``, or by one of these only."""
        return Meant.parse(await self._rpc.call("outbox_find", {"p_text": text, "p_as": read_as}))

    async def trace(self, message: int, *, show_body: bool) -> Trace | None:
        """Everything about one message, or None where there is none."""
        answer = await self._rpc.call("outbox_trace", {"p_id": message, "p_show_body": show_body})
        return None if answer is None else Trace.parse(answer)

    # Acting on messages

    async def select(
        self,
        *,
        statuses: Sequence[str] | None,
        campaign: str | None,
        since: datetime | None,
        after: int,
        stretch: int,
        most: int,
    ) -> Selection:
        """The matching ids among the next ``stretch`` messages after ``after``, at most ``most``."""
        answer = await self._rpc.call(
            "outbox_select",
            {
                "p_statuses": None if statuses is None else list(statuses),
                "p_campaign": campaign,
                "p_since": None if since is None else since.isoformat(),
                "p_after": after,
                "p_stretch": stretch,
                "p_most": most,
            },
        )
        return Selection(ids=tuple(answer["ids"]), after=answer["after"], last=answer["last"])

    async def retry(
        self, ids: Sequence[int], *, force: bool, expires_in: float | None, dry_run: bool = False
    ) -> tuple[Outcome, ...]:
        """Make final messages a new attempt. ``expires_in`` seconds is the new expiry of those whose own has passed."""
        answer = await self._rpc.call(
            "outbox_retry",
            {"p_ids": list(ids), "p_force": force, "p_expires_in_seconds": expires_in, "p_dry_run": dry_run},
        )
        return tuple(Outcome(**row) for row in answer)

    async def cancel(self, ids: Sequence[int], *, dry_run: bool = False) -> tuple[Outcome, ...]:
        """End what waits, and wish it for what is in a request."""
        answer = await self._rpc.call("outbox_cancel", {"p_ids": list(ids), "p_dry_run": dry_run})
        return tuple(Outcome(**row) for row in answer)

    # Acting on plans

    async def pause(
        self, *, provider: str | None, plan: str | None, until: datetime | None, seconds: float | None, reason: str | None
    ) -> tuple[Pause, ...]:
        """Have no process claim for a plan (all that are known where None) until a time or for so long, else until resumed."""
        answer = await self._rpc.call(
            "outbox_pause",
            {
                "p_provider": provider,
                "p_plan": plan,
                "p_until": None if until is None else until.isoformat(),
                "p_seconds": seconds,
                "p_reason": reason,
            },
        )
        return tuple(Pause.parse(row) for row in answer)

    async def resume(self, *, provider: str | None, plan: str | None, force: bool) -> Resumed:
        """End operators' pauses; with ``force`` let the next claim find out whether the others are over too."""
        answer = await self._rpc.call("outbox_resume", {"p_provider": provider, "p_plan": plan, "p_force": force})
        return Resumed(
            ended=tuple(Pause.parse(row) for row in answer["ended"]),
            remaining=tuple(Pause.parse(row) for row in answer["remaining"]),
        )

    # Opt-outs

    async def import_suppressions(self, suppressions: Sequence[Suppression]) -> int:
        """Put numbers on the list. Answers how many were new."""
        answer: int = await self._rpc.call(
            "outbox_import_suppressions",
            {
                "p_recipients": [suppression.recipient for suppression in suppressions],
                "p_reasons": [suppression.reason for suppression in suppressions],
                "p_sources": ["reply" if suppression.replied else "operator" for suppression in suppressions],
            },
        )
        return answer

    async def export_suppressions(self, *, after: str, most: int) -> tuple[Suppression, ...]:
        """One page of the list, by number, after ``after`` ('' for the first)."""
        answer = await self._rpc.call("outbox_export_suppressions", {"p_after": after, "p_most": most})
        return tuple(Suppression(**{**row, "created_at": values.instant(row["created_at"])}) for row in answer)
