"""The calls that an operator makes. The rules are in `supabase/schemas`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.gateway import values
from jobs.gateway.browsing import Browsing
from jobs.gateway.campaigning import Campaigning
from jobs.gateway.doctor import Examination
from jobs.gateway.eventing import EventEndpoints
from jobs.gateway.gateway import Gateway
from jobs.gateway.held import HeldMessage
from jobs.gateway.history import Matches, Trace
from jobs.gateway.persons import Persons
from jobs.gateway.plans import Plans
from jobs.gateway.replies import Decision, Reply
from jobs.gateway.routing import Routing
from jobs.gateway.rpc import CONNECT_SECONDS_FOR_PEOPLE, Rpc
from jobs.gateway.schema import installed_schema
from jobs.gateway.status import Figures, Pause, Status
from jobs.gateway.verdict import Verdicts
from jobs.runtime.settings import SupabaseSettings
from jobs.schema.installed import InstalledSchema


@dataclass(frozen=True, slots=True)
class Selection:
    """One stretch of the table: the ids that match, where the next stretch begins (None at the end), and the last id."""

    ids: tuple[int, ...]
    after: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a retry or a cancellation did to one message.

    ``was`` is its status before, None if there is no such message. ``outcome`` is a code, such as ``cancelled``.
    """

    id: int
    was: str | None
    done: bool
    outcome: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The operator's pauses that ended, and every pause that remains, of all plans."""

    ended: tuple[Pause, ...]
    remaining: tuple[Pause, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """The hosts of the projects that a database sends from. ``moved``: away from all those that it sent from before."""

    hosts: tuple[str, ...]
    moved: bool


@dataclass(frozen=True, slots=True)
class Suppression:
    """A recipient who gets no messages. ``replied``: the recipient opted out, and a START from there lifts it."""

    recipient: str
    reason: str
    replied: bool
    created_at: datetime | None = None


class Operating:
    """The operator's calls. Each method is one call and safe to repeat.

    It raises :class:`jobs.gateway.errors.GatewayUnavailable` or :class:`jobs.gateway.errors.GatewayRefused`.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    @classmethod
    async def connect(
        cls,
        settings: SupabaseSettings,
        *,
        actor: str | None = None,
        via: str | None = None,
        answered: Callable[[], None] | None = None,
    ) -> "Operating":
        """Make the client. This makes no request yet. The audit records ``actor`` and ``via`` with each change.

        ``answered`` is called with each answer of Supabase.
        """
        return cls(
            await Rpc.connect(settings, actor=actor, via=via, connect_seconds=CONNECT_SECONDS_FOR_PEOPLE, answered=answered)
        )

    def acting_as(self, actor: str, via: str) -> "Operating":
        """The same calls over the same connections, made by ``actor``."""
        return Operating(self._rpc.acting_as(actor, via))

    async def aclose(self) -> None:
        await self._rpc.aclose()

    @property
    def browsing(self) -> Browsing:
        """The lists, figures, audit and bulk actions of the dashboard, over the same connection."""
        return Browsing(self._rpc)

    @property
    def campaigns(self) -> Campaigning:
        """The calls about campaigns, over the same connection."""
        return Campaigning(self._rpc)

    @property
    def persons(self) -> Persons:
        """The calls about one person, over the same connection."""
        return Persons(self._rpc)

    @property
    def plans(self) -> Plans:
        """The calls about plans and their weights, over the same connection."""
        return Plans(self._rpc)

    @property
    def routing(self) -> Routing:
        """The calls about routes and sender aliases, over the same connection."""
        return Routing(self._rpc)

    @property
    def verdicts(self) -> Verdicts:
        """The call that asks whether messages go out, over the same connection."""
        return Verdicts(self._rpc)

    @property
    def examination(self) -> Examination:
        """The calls of `outbox doctor`, over the same connection."""
        return Examination(self._rpc)

    @property
    def events(self) -> EventEndpoints:
        """The calls about outgoing events, over the same connection."""
        return EventEndpoints(self._rpc)

    @property
    def gateway(self) -> Gateway:
        """The calls of the processes, over the same connection."""
        return Gateway(self._rpc)

    # Reading

    async def installed_schema(self) -> InstalledSchema | None:
        """The schema versions of the database, None where nothing is installed."""
        return await installed_schema(self._rpc)

    async def status(self) -> Status:
        """The backlog, open requests, pauses, jobs, processes and alarms."""
        return Status.parse(await self._rpc.call("outbox_status", {}))

    async def daily_figures(self, *, days: int) -> Figures:
        """Messages of the last ``days`` days by country and status."""
        return Figures.parse(await self._rpc.call("outbox_daily_figures", {"p_days": days}))

    async def find(self, text: str, *, read_as: str | None = None) -> Matches:
        """The messages that ``text`` names by id, dispatch, batch or idempotency_key; ``read_as`` allows only one of these."""
        return Matches.parse(await self._rpc.call("outbox_find", {"p_text": text, "p_as": read_as}))

    async def trace(self, message: int, *, show_body: bool) -> Trace | None:
        """Everything about one message, or None if there is no such message."""
        answer = await self._rpc.call("outbox_trace", {"p_id": message, "p_show_body": show_body})
        return None if answer is None else Trace.parse(answer)

    async def list_held(self, *, after: int, most: int) -> tuple[HeldMessage, ...]:
        """Messages after the id ``after`` that the claim holds: the provider may have accepted them before a restore."""
        answer = await self._rpc.call("outbox_list_held", {"p_after": after, "p_most": most})
        return tuple(HeldMessage.parse(row) for row in answer)

    async def forget_adopted(self, batch_id: str) -> bool:
        """Hold no more messages because of numbers of this batch that could not be read. False if there are none."""
        forgotten: int = await self._rpc.call("outbox_forget_adopted", {"p_batch_id": batch_id})
        return forgotten > 0

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
        """The matching ids among the next ``stretch`` messages after the id ``after``, at most ``most``."""
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
        """Give final messages a new attempt. Messages whose expiry has passed expire ``expires_in`` seconds from now."""
        answer = await self._rpc.call(
            "outbox_retry",
            {"p_ids": list(ids), "p_force": force, "p_expires_in_seconds": expires_in, "p_dry_run": dry_run},
        )
        return tuple(Outcome(**row) for row in answer)

    async def cancel(self, ids: Sequence[int], *, dry_run: bool = False) -> tuple[Outcome, ...]:
        """Cancel waiting messages, and request it for those in a request: they are cancelled if they come back."""
        answer = await self._rpc.call("outbox_cancel", {"p_ids": list(ids), "p_dry_run": dry_run})
        return tuple(Outcome(**row) for row in answer)

    async def reschedule(self, ids: Sequence[int], send_at: datetime, *, dry_run: bool = False) -> tuple[Outcome, ...]:
        """Move waiting messages to another time. An expiry moves along."""
        answer = await self._rpc.call(
            "outbox_reschedule_messages", {"p_ids": list(ids), "p_send_at": send_at.isoformat(), "p_dry_run": dry_run}
        )
        return tuple(Outcome(**row) for row in answer)

    async def send_held(self, ids: Sequence[int], *, dry_run: bool = False) -> tuple[Outcome, ...]:
        """Have held messages sent: they are not the ones that the provider accepted."""
        answer = await self._rpc.call("outbox_send_held", {"p_ids": list(ids), "p_dry_run": dry_run})
        return tuple(Outcome(**row) for row in answer)

    # Acting on plans

    async def pause(
        self, *, provider: str | None, plan: str | None, until: datetime | None, seconds: float | None, reason: str | None
    ) -> tuple[Pause, ...]:
        """Stop all claims for a plan, or for all known plans: until a time, for ``seconds``, or until resumed."""
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
        """End operators' pauses. With ``force`` the next claim finds out whether the other pauses are over too."""
        answer = await self._rpc.call("outbox_resume", {"p_provider": provider, "p_plan": plan, "p_force": force})
        return Resumed(
            ended=tuple(Pause.parse(row) for row in answer["ended"]),
            remaining=tuple(Pause.parse(row) for row in answer["remaining"]),
        )

    async def resume_restored(self, *, provider: str | None, plan: str | None) -> tuple[Pause, ...]:
        """End the pauses of a restored database without adopting what was sent since the backup. Returns those that ended."""
        answer = await self._rpc.call("outbox_resume_restored", {"p_provider": provider, "p_plan": plan})
        return tuple(Pause.parse(row) for row in answer)

    async def bind(self, host: str | None, *, also: bool = False) -> Binding:
        """Have the database send from the project at ``host`` only, or ``also``. None changes nothing."""
        answer = await self._rpc.call("outbox_bind", {"p_host": host, "p_also": also})
        return Binding(tuple(answer["hosts"]), answer["moved"])

    # Opt-outs

    async def list_replies(self, *, unclear: bool, before: Reply | None, most: int) -> tuple[Reply, ...]:
        """One page of what recipients wrote, the newest first; only those that wait for a person if ``unclear``."""
        answer = await self._rpc.call(
            "outbox_list_replies",
            {
                "p_unclear": unclear,
                "p_before_at": None if before is None else before.recorded_at.isoformat(),
                "p_before_id": None if before is None else before.id,
                "p_most": most,
            },
        )
        return tuple(Reply.parse(row) for row in answer)

    async def decide_replies(self, ids: Sequence[str], *, opt_out: bool, dry_run: bool = False) -> tuple[Decision, ...]:
        """Take these replies for opt-outs, or for ordinary messages."""
        answer = await self._rpc.call("outbox_decide_replies", {"p_ids": list(ids), "p_opt_out": opt_out, "p_dry_run": dry_run})
        return tuple(Decision(**row) for row in answer)

    async def import_suppressions(self, suppressions: Sequence[Suppression]) -> int:
        """Suppress these recipients. Returns how many were not suppressed before."""
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
        """One page of the suppressed recipients in order, after ``after`` ('' for the first page)."""
        answer = await self._rpc.call("outbox_export_suppressions", {"p_after": after, "p_most": most})
        return tuple(Suppression(**{**row, "created_at": values.instant(row["created_at"])}) for row in answer)
