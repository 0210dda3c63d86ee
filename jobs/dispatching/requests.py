"""The open requests of one process: each dispatch from its claim to its outcome in the database."""

import asyncio
import contextlib
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import structlog

from jobs.dispatching.acceptances import Acceptances
from jobs.dispatching.health import PlanHealth
from jobs.dispatching.leases import Leases, clock
from jobs.dispatching.parameters import body_and_parameters
from jobs.dispatching.silence import Silence
from jobs.dispatching.slots import Slots
from jobs.gateway.gateway import Gateway
from jobs.gateway.retry import until_answered
from jobs.gateway.seen import Seen
from jobs.gateway.values import Dispatch
from jobs.providers.base import Accepted, Ambiguous, Outcome, Provider, Refused, Submission
from jobs.runtime import tracing
from jobs.runtime.clocks import Clocks
from jobs.runtime.masking import without_quotes
from jobs.runtime.metrics import MESSAGE_WAIT, MESSAGES_ACCEPTED
from jobs.runtime.settings import EngineSettings

log = structlog.get_logger()

_LOOKUP_AFTER_SECONDS: Final = 1.0
"""An ambiguous request may have arrived a moment ago. The provider's list of batches shows it a little later."""


class Requests:
    """Makes the single request of each dispatch, and records the outcome.

    A request ends after a third of the lease, so that its outcome can be recorded while the lease lasts. ``plan`` is for the
    log.
    """

    def __init__(
        self,
        *,
        gateway: Gateway,
        provider: Provider,
        plan: str,
        worker: str,
        settings: EngineSettings,
        slots: Slots,
        silence: Silence,
        health: PlanHealth,
        seen: Seen,
        clocks: Clocks,
    ) -> None:
        self._gateway = gateway
        self._provider = provider
        self._plan = plan
        self._worker = worker
        self._settings = settings
        self._slots = slots
        self._silence = silence
        self._health = health
        self._seen = seen
        self._clocks = clocks
        self._leases = Leases(
            renew=lambda held: gateway.renew(held, lease=settings.lease_seconds),
            lease=settings.lease_seconds,
            plan=plan,
        )
        self._acceptances = Acceptances(
            self._record_accepted, expected=lambda: len(self._open), single=provider.max_recipients == 1
        )
        self._accepted = MESSAGES_ACCEPTED.labels(plan)
        self._waits = {is_urgent: MESSAGE_WAIT.labels("urgent" if is_urgent else "normal") for is_urgent in (True, False)}
        self._open: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()

    @property
    def open(self) -> frozenset["asyncio.Task[None]"]:
        """The requests whose outcome is not recorded yet."""
        return frozenset(self._open)

    @property
    def draining(self) -> bool:
        """Whether no request may be started any more."""
        return self._draining.is_set()

    def start(self, dispatches: Iterable[Dispatch], *, since: float) -> None:
        """Carry these dispatches out. Their leases count from ``since``, the time before the call that claimed them."""
        claimed = tuple(dispatches)
        self._leases.hold(claimed, since=since)
        for dispatch in claimed:
            recipients = len(dispatch.recipients)
            self._slots.take(recipients)
            task = asyncio.create_task(self._carry(dispatch, since), name=f"dispatch {dispatch.dispatch_id}")
            self._open.add(task)
            task.add_done_callback(partial(self._close, recipients))

    async def finish(self) -> None:
        """Return when the outcome of every dispatch is recorded, of those that are not started yet too."""
        while self._open:
            await asyncio.wait(self._open)

    def drain(self) -> None:
        """Start no more requests: from now on, dispatches that wait for the plan's limits are given back."""
        self._draining.set()

    async def aclose(self) -> None:
        """Cancel the open requests. Recovery looks their dispatches up."""
        for task in self._open:
            task.cancel()
        await self._acceptances.stop()
        await self._leases.stop()

    async def _carry(self, dispatch: Dispatch, since: float) -> None:
        try:
            if await self._may_start(dispatch):
                submission = _submission(dispatch, self._provider, self._clocks)
                outcome = await self._submit_traced(dispatch, submission)
                await self._record(dispatch, _without_quotes(outcome, submission))
                if isinstance(outcome, Accepted):
                    self._count_accepted(dispatch, since)
            else:
                await until_answered(lambda: self._gateway.release([dispatch]), "release")
        except Exception:
            # A bug of this package. The dispatch is in the database, and recovery looks it up.
            log.exception("dispatch.left_to_recovery", dispatch=dispatch.dispatch_id)
        finally:
            self._leases.drop(dispatch)

    async def _submit_traced(self, dispatch: Dispatch, submission: Submission) -> Outcome:
        if (spans := tracing.active()) is None:
            return await self._submit(submission)
        with spans.sending(
            self._plan,
            dispatch.dispatch_id,
            messages=len(dispatch.recipients),
            contexts=dispatch.traces,
            more=dispatch.more_traces,
        ) as sending:
            outcome = await self._submit(submission)
            if not isinstance(outcome, Accepted):
                sending.failed("ambiguous" if isinstance(outcome, Ambiguous) else outcome.why.value)
            return outcome

    async def _submit(self, submission: Submission) -> Outcome:
        outcome: Outcome | None = None
        self._silence.begun(submission.reference, clock())
        try:
            outcome = await self._provider.submit(submission, deadline=self._deadline)
            return outcome
        finally:
            self._silence.ended(submission.reference, clock(), answered=isinstance(outcome, Accepted | Refused))

    def _close(self, recipients: int, task: "asyncio.Task[None]") -> None:
        self._open.discard(task)
        self._slots.give_back(recipients)

    @property
    def _deadline(self) -> float:
        return self._settings.lease_seconds / 3

    async def _may_start(self, dispatch: Dispatch) -> bool:
        """Wait until the plan allows the request. False if too little of the lease is left then, or while draining."""
        if dispatch.wait_seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), timeout=dispatch.wait_seconds)
        return not self.draining and self._leases.left(dispatch) > self._deadline

    async def _record(self, dispatch: Dispatch, outcome: Outcome) -> None:
        """Write the outcome down, and start the dispatches that the answer brings."""
        before = clock()
        self._leases.settle(dispatch)
        more: tuple[Dispatch, ...] = ()
        recipients = len(dispatch.recipients)
        match outcome:
            case Accepted(batch_id):
                self._health.accepted()
                log.info(
                    "dispatch.accepted",
                    plan=self._plan,
                    dispatch=dispatch.dispatch_id,
                    batch=batch_id,
                    recipients=recipients,
                )
                more = await self._acceptances.add(dispatch.dispatch_id, batch_id)
            case Refused():
                self._health.refused(dispatch, outcome)
                more = await self._refuse(dispatch, outcome)
            case Ambiguous(error):
                log.warning(
                    "dispatch.ambiguous",
                    plan=self._plan,
                    dispatch=dispatch.dispatch_id,
                    error=error,
                    recipients=recipients,
                )
                await self._mark_ambiguous(dispatch, error)
        self._seen.given(more)
        self.start(more, since=before)

    def _count_accepted(self, dispatch: Dispatch, since: float) -> None:
        self._accepted.inc(len(dispatch.recipients))
        since_claim = clock() - since
        for wait in dispatch.waits:
            observe = self._waits[wait.is_urgent].observe
            for _ in range(wait.messages):
                observe(max(wait.seconds, 0) + since_claim)

    async def _record_accepted(self, accepted: Iterable[tuple[str, str]]) -> tuple[Dispatch, ...]:
        facts, settings = list(accepted), self._settings
        return await until_answered(
            lambda: self._gateway.accept(
                facts,
                worker=self._worker,
                lease=settings.lease_seconds,
                reconcile_after=settings.reconcile_after_seconds,
            ),
            "acceptance",
        )

    async def _refuse(self, dispatch: Dispatch, refused: Refused) -> tuple[Dispatch, ...]:
        lease = self._settings.lease_seconds
        return await until_answered(
            lambda: self._gateway.refuse(dispatch, refused, worker=self._worker, lease=lease), "refusal"
        )

    async def _mark_ambiguous(self, dispatch: Dispatch, error: str) -> None:
        await until_answered(
            lambda: self._gateway.mark_ambiguous(dispatch, error, lookup_after=_LOOKUP_AFTER_SECONDS), "ambiguity"
        )


def _without_quotes(outcome: Outcome, submission: Submission) -> Outcome:
    """The outcome without the text or the URL that a provider quotes in its answer: its words are logged and stored.

    The URL of an MMS may be a secret link. It goes whole or cut off.
    """
    if isinstance(outcome, Accepted):
        return outcome
    error = outcome.error
    if submission.media_url is not None:
        host = re.escape(urlsplit(submission.media_url).netloc)
        error = re.sub(rf"https://{host}[^\s\"'<>]*", "media_url", error)
    values = {value for given in (submission.parameters or {}).values() for value in given.values()}
    return replace(outcome, error=without_quotes(error, [submission.body, *values]))


def _submission(dispatch: Dispatch, provider: Provider, clocks: Clocks) -> Submission:
    """``expire_at`` is an instant of the database's clock. The provider ends the message by its own."""
    body, parameters = dispatch.body or "", None
    if dispatch.texts is not None:
        body, parameters = body_and_parameters(dispatch.texts, dispatch.recipients, longest=provider.longest_value)
    return Submission(
        reference=dispatch.dispatch_id,
        sender=dispatch.sender,
        body=body,
        recipients=dispatch.recipients,
        expire_at=None if dispatch.expire_at is None else clocks.to_provider(dispatch.expire_at),
        parameters=parameters,
        media_url=dispatch.media_url,
        options=dispatch.options,
    )
