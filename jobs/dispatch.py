"""Sends what is due: claim rows as dispatches, make each one's single request, write down what became of it."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import structlog

from jobs.dispatching.acceptances import Acceptances
from jobs.dispatching.claims import Asked, Claims
from jobs.dispatching.leases import Leases, clock
from jobs.dispatching.parameters import share
from jobs.gateway.gateway import Gateway
from jobs.gateway.retry import until_answered
from jobs.gateway.values import Claim, Dispatch, Plan
from jobs.providers.base import Accepted, Ambiguous, Outcome, Provider, Refusal, Refused, Submission
from jobs.runtime.job import Job
from jobs.runtime.settings import EngineSettings

log = structlog.get_logger()

_IN_FLIGHT: Final = 8
"""Full requests open at once. Batches do the work; more connections only cost more."""
_SMALL: Final = 8
"""So many requests of few recipients take the place of a full one, or single messages would wait for a slow provider."""
_IN_A_PAIR: Final = _IN_FLIGHT // 4
"""Requests that each of two claims under way may bring: with half the places taken they fill the other half."""
_URGENT: Final = 2
"""Places beyond those that rows more urgent than the default may take, or a code waits for a campaign at a slow provider."""
_AFTER_NOTICE_SECONDS: Final = 0.04
"""At least so long after another claim, while all places are taken: a burst of notices is no burst of calls."""
_MOST_ROWS: Final = 2000
"""Rows a claim looks at: a call for two full requests, and an urgent row that comes meanwhile waits for a moment only."""
_TELL_AGAIN_SECONDS: Final = 5.0
"""A job that could not work off all it was told of is not told at every claim of a backlog."""
_STOPS_THE_PLAN: Final = {Refusal.SETTING, Refusal.THROTTLED, Refusal.ACCOUNT, Refusal.UNREACHABLE}
_FOR_SOMEBODY_TO_MEND: Final = {Refusal.SETTING, Refusal.ACCOUNT}
_LEAVES_ROWS: Final = {*_FOR_SOMEBODY_TO_MEND, Refusal.UNREACHABLE}
_LOOK_AFTER_SECONDS: Final = 1.0
"""A request that went wrong may have arrived a moment ago; the list of batches follows after."""


class Dispatcher(Job):
    """The dispatch job of one plan."""

    name = "dispatch"

    def __init__(
        self,
        *,
        gateway: Gateway,
        provider: Provider,
        plan: Plan,
        worker: str,
        settings: EngineSettings,
        waits_for_rates: bool = True,
    ) -> None:
        self.interval = settings.dispatch_interval_seconds
        self._gateway = gateway
        self._provider = provider
        self._plan = plan
        self._worker = worker
        self._settings = settings
        self._lease = settings.lease_seconds
        self._deadline = settings.lease_seconds / 3
        self._leases = Leases(renew=lambda held: gateway.renew(held, lease=self._lease), lease=self._lease)
        self._open: set[asyncio.Task[None]] = set()
        self._load = 0
        self._acceptances = Acceptances(self._record_accepted, expected=lambda: len(self._open))
        self._waits_for_rates = waits_for_rates
        self._drained = asyncio.Event()
        self._ticking = asyncio.Lock()
        self._claims = Claims(self._claim)
        self._asked_at = 0.0
        self._noticed = asyncio.Event()
        self._goes_on, self._at_once, self._not_before = True, 1, 0.0
        self._rows = _MOST_ROWS
        self._paused: str | None = None
        self._said: str | None = None
        self._told: set[Refusal] = set()
        self._wake: Callable[[str], None] = lambda _: None
        self._told_at: dict[str, float] = {}
        self._tell_again = {
            "recover": min(_TELL_AGAIN_SECONDS, settings.settle_seconds / 4),
            "reconcile": settings.reconcile_interval_seconds,
        }

    def wake_others_with(self, wake: Callable[[str], None]) -> None:
        self._wake = wake

    @property
    def stopped(self) -> bool:
        """Whether rows were left because the account or a setting is refused, or the provider cannot be reached.

        Limits and throttling pass by themselves.
        """
        return self._paused in _LEAVES_ROWS or not self._told.isdisjoint(_LEAVES_ROWS)

    async def tick(self) -> None:
        """Claim and send until nothing more may go out now. Requests may still be open when this returns.

        While claims come back full, two are under way: the database makes one while the other travels.
        """
        async with self._ticking:
            self._goes_on, self._at_once, self._not_before = True, 1, 0.0
            self._claims.ask_again()
            while self._ask(now := clock()) or self._claims.under_way:
                await self._something_to_do(now)
                for asked, claim in self._claims.answered():
                    self._take(asked, claim)
            self._claims.check()

    def notice(self) -> None:
        """Rows were inserted: a tick that waits for a place looks for urgent ones among them."""
        self._noticed.set()

    async def finish(self) -> None:
        """Return when every dispatch taken so far is written down, those not started yet included."""
        while self._open:
            await asyncio.wait(self._open)

    async def drain(self) -> None:
        """Claim nothing more, give back what was not started, and return when open requests are written down."""
        self._drained.set()
        try:
            async with self._ticking:
                await self.finish()
        finally:
            for task in self._open:
                task.cancel()
            await self._claims.stop()
            await self._acceptances.stop()
            await self._leases.stop()

    def _ask(self, now: float) -> bool:
        """Ask as often as there is room for. Answers whether to go on."""
        if self._drained.is_set() or not self._goes_on or self._claims.failed:
            return False
        while self._has_room() and now >= self._not_before:
            self._claim_soon(_IN_FLIGHT - math.ceil(self._load / _SMALL) if self._at_once == 1 else _IN_A_PAIR, now)
        if self._looks_for_urgent(now):
            self._claim_soon(min(_URGENT, self._places_for_urgent), now, urgent_only=True)
        return True

    def _claim_soon(self, places: int, now: float, *, urgent_only: bool = False) -> None:
        self._noticed.clear()
        self._asked_at = now
        self._claims.ask(places, urgent_only=urgent_only)

    def _has_room(self) -> bool:
        """While half the places are free: a claim for one place would cost a call for each request."""
        return len(self._claims.under_way) < self._at_once and self._load <= _IN_FLIGHT * _SMALL // 2

    def _looks_for_urgent(self, now: float) -> bool:
        """When others hold the places."""
        if self._has_room() or self._claims.under_way or self._places_for_urgent <= 0:
            return False
        return now >= max(self._not_before, self._urgent_at)

    @property
    def _urgent_at(self) -> float:
        """Soon after a notice, of which an app that inserts row by row sends many, and as often as a poll would come."""
        return self._asked_at + (_AFTER_NOTICE_SECONDS if self._noticed.is_set() else self.interval)

    @property
    def _places_for_urgent(self) -> int:
        return _IN_FLIGHT + _URGENT - math.ceil(self._load / _SMALL)

    async def _claim(self, claim_id: str, places: int, urgent_only: bool) -> Claim:
        return await self._gateway.claim(
            self._plan,
            claim_id=claim_id,
            worker=self._worker,
            lease=self._lease,
            deadline=self._deadline,
            max_dispatches=places,
            max_recipients=self._provider.max_recipients,
            max_rows=self._rows,
            allowed_countries=self._settings.allowed_countries,
            share_texts=self._provider.longest_value > 0,
            urgent_only=urgent_only,
        )

    async def _something_to_do(self, now: float) -> None:
        """Wait for an answer, a request's end or a notice, or until a claim may be made that could not be made ``now``."""
        rest = min((at - now for at in (self._not_before, self._urgent_at) if at > now), default=None)
        notice = asyncio.ensure_future(self._noticed.wait())
        pending: set[asyncio.Future[Any]] = {*self._claims.under_way, *self._open}
        if not self._noticed.is_set():
            pending.add(notice)
        try:
            if pending:
                await asyncio.wait(pending, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(rest or 0)
        finally:
            notice.cancel()

    def _take(self, asked: Asked, claim: Claim) -> None:
        self._start(claim.dispatches, since=asked.since)
        if claim.paused is not None or not asked.urgent_only:
            self._say(claim)
        self._tell_the_others(claim)
        if asked.urgent_only:
            if claim.more and claim.dispatches:
                self._noticed.set()
            return
        self._rows = _rows_for_next(claim, asked.places, self._rows)
        self._at_once = 2 if _is_full(claim, self._provider.max_recipients) else 1
        self._goes_on = claim.more and bool(claim.dispatches or claim.passed)
        if self._waits_for_rates and claim.limited == "messages_per_second" and claim.wait_seconds < self.interval:
            self._goes_on, self._not_before = True, clock() + claim.wait_seconds

    def _start(self, dispatches: Iterable[Dispatch], *, since: float) -> None:
        taken = tuple(dispatches)
        self._leases.hold(taken, since=since)
        for dispatch in taken:
            task = asyncio.create_task(self._carry(dispatch), name=f"dispatch {dispatch.dispatch_id}")
            self._open.add(task)
            self._load += (load := 1 if len(dispatch.recipients) * _SMALL <= self._provider.max_recipients else _SMALL)
            task.add_done_callback(partial(self._close, load))

    def _close(self, load: int, task: "asyncio.Task[None]") -> None:
        self._open.discard(task)
        self._load -= load

    async def _carry(self, dispatch: Dispatch) -> None:
        """One dispatch from its claim to its outcome in the database."""
        try:
            if await self._may_start(dispatch):
                outcome = await self._provider.submit(self._submission(dispatch), deadline=self._deadline)
                await self._settle(dispatch, outcome)
            else:
                await until_answered(lambda: self._gateway.release([dispatch]), "release")
        except Exception:
            # Whatever went wrong here is ours. The dispatch stays written down, and recovery looks for it.
            log.exception("dispatch.left_to_recovery", dispatch=dispatch.dispatch_id)
        finally:
            self._leases.drop(dispatch)

    def _submission(self, dispatch: Dispatch) -> Submission:
        body, parameters = dispatch.body or "", None
        if dispatch.texts is not None:
            body, parameters = share(dispatch.texts, dispatch.recipients, longest=self._provider.longest_value)
        return Submission(
            reference=dispatch.dispatch_id,
            sender=dispatch.sender,
            body=body,
            recipients=dispatch.recipients,
            expire_at=dispatch.expire_at,
            parameters=parameters,
        )

    async def _may_start(self, dispatch: Dispatch) -> bool:
        """Wait until the plan allows the request; then there must be more left of the lease than the request may take."""
        if dispatch.wait_seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), timeout=dispatch.wait_seconds)
        if self._drained.is_set():
            return False
        return self._leases.left(dispatch) > self._deadline

    async def _settle(self, dispatch: Dispatch, outcome: Outcome) -> None:
        before = clock()
        self._leases.settle(dispatch)
        more: tuple[Dispatch, ...] = ()
        match outcome:
            case Accepted(batch_id):
                self._say_it_works()
                log.info(
                    "dispatch.accepted", dispatch=dispatch.dispatch_id, batch=batch_id, recipients=len(dispatch.recipients)
                )
                more = await self._acceptances.add(dispatch.dispatch_id, batch_id)
            case Refused():
                self._log_refused(dispatch, outcome)
                more = await until_answered(
                    lambda: self._gateway.refuse(dispatch, outcome, worker=self._worker, lease=self._lease), "refusal"
                )
            case Ambiguous(error):
                log.warning(
                    "dispatch.doubtful", dispatch=dispatch.dispatch_id, error=error, recipients=len(dispatch.recipients)
                )
                await until_answered(lambda: self._gateway.doubt(dispatch, error, look_after=_LOOK_AFTER_SECONDS), "doubt")
        self._start(more, since=before)

    async def _record_accepted(self, facts: Iterable[tuple[str, str]]) -> tuple[Dispatch, ...]:
        accepted = list(facts)
        return await until_answered(
            lambda: self._gateway.accept(
                accepted, worker=self._worker, lease=self._lease, reconcile_after=self._settings.reconcile_after_seconds
            ),
            "acceptance",
        )

    def _log_refused(self, dispatch: Dispatch, refused: Refused) -> None:
        # What stops the whole plan is news once, until something gets through. What somebody has to mend is an alarm as well.
        say = log.debug if refused.why in self._told else log.warning
        if refused.why in _STOPS_THE_PLAN:
            self._told.add(refused.why)
        say(
            "dispatch.refused",
            dispatch=dispatch.dispatch_id,
            why=refused.why.value,
            http_status=refused.http_status,
            error=refused.error,
            recipients=len(dispatch.recipients),
        )

    def _tell_the_others(self, claim: Claim) -> None:
        now = clock()
        for job in claim.due:
            acknowledged_at = self._told_at.get(job)
            if acknowledged_at is None or now - acknowledged_at >= self._tell_again.get(job, _TELL_AGAIN_SECONDS):
                self._told_at[job] = now
                self._wake(job)

    def _say(self, claim: Claim) -> None:
        """A pause is said once when it begins. Where it lets a request through, that is a probe and not yet its end."""
        self._paused = claim.paused
        if claim.paused is not None and claim.paused != self._said:
            log.warning("plan.paused", plan=self._plan.plan, kind=claim.paused, reason=claim.reason, seconds=claim.wait_seconds)
            self._said = claim.paused

    def _say_it_works(self) -> None:
        self._told.clear()
        if self._said is not None:
            log.info("plan.resumed", plan=self._plan.plan)
            self._said = None


def _rows_for_next(claim: Claim, asked: int, rows: int) -> int:
    """Look at fewer rows where texts differ and few fit into the dispatches asked for; at more again where they agree."""
    taken = _taken(claim)
    if len(claim.dispatches) == asked:
        return min(_MOST_ROWS, max(2 * taken, 2 * _IN_FLIGHT))
    return min(_MOST_ROWS, 2 * rows)


def _is_full(claim: Claim, max_recipients: int) -> bool:
    """Whether a pair of such claims would fill requests: few requests, a whole one's worth of messages, and there are more."""
    return claim.more and len(claim.dispatches) <= _IN_A_PAIR and _taken(claim) >= max_recipients


def _taken(claim: Claim) -> int:
    return sum(len(dispatch.recipients) for dispatch in claim.dispatches)
