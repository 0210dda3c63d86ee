"""Sends due rows: claims them as dispatches, makes the single request of each, and records the outcome."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from jobs.dispatching.claims import Asked, Claims
from jobs.dispatching.clock_watch import ClockWatch
from jobs.dispatching.health import PlanHealth
from jobs.dispatching.leases import clock
from jobs.dispatching.other_jobs import AGAIN_SECONDS, OtherJobs
from jobs.dispatching.pace import Pace
from jobs.dispatching.requests import Requests
from jobs.dispatching.schema_watch import SchemaWatch
from jobs.dispatching.silence import Silence
from jobs.dispatching.slots import Slots
from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.farewell import Farewell
from jobs.gateway.gateway import Gateway
from jobs.gateway.restore_check import RestoreCheck
from jobs.gateway.seen import Seen
from jobs.gateway.values import Claim, Plan
from jobs.providers.base import Provider
from jobs.runtime.clocks import Clocks
from jobs.runtime.first_claims import FirstClaim, FirstClaims
from jobs.runtime.job import Job
from jobs.runtime.metrics import CLAIM_DURATION
from jobs.runtime.settings import EngineSettings
from jobs.runtime.waking import Waking, Wakings
from jobs.schema.admission import Admission

_LATEST_TICK_SECONDS: Final = 1.5
"""How much later than its interval the next tick comes at the latest, on a busy machine."""


class Dispatcher(Job):
    """The dispatch job of one plan.

    ``worker`` names the process in the database. Without ``waits_for_rates`` a tick ends when the plan's limit is reached.
    With ``restores`` it claims nothing before that check allows it. With ``admission``, a tick raises SchemaUnfit once the
    database has a breaking version that this package does not know. ``project`` is the host of the project's URL, None to claim
    whatever project the database sends from. ``jobs`` are the names of the plan's other jobs by their kinds, where they differ.
    """

    name = "dispatch"

    def __init__(
        self,
        *,
        gateway: Gateway,
        provider: Provider,
        plan: Plan,
        worker: str,
        settings: EngineSettings,
        clocks: Clocks,
        waits_for_rates: bool = True,
        admission: Admission | None = None,
        project: str | None = None,
        seen: Seen | None = None,
        restores: RestoreCheck | None = None,
        waking: Waking | None = None,
        jobs: Mapping[str, str] | None = None,
        farewell: Farewell | None = None,
        first_claim: FirstClaim | None = None,
    ) -> None:
        self.interval = settings.dispatch_interval_seconds
        self._farewell = farewell or Farewell(gateway, worker)
        self._farewell.join()
        self._schema, self._restores, self._clocks = SchemaWatch(admission), restores, clocks
        self._clock_watch = ClockWatch(self._clocks, gateway, plan=f"{plan.provider} {plan.plan}", worker=worker)
        self._call = partial(
            gateway.claim,
            plan,
            worker=worker,
            lease=settings.lease_seconds,
            deadline=settings.lease_seconds / 3,
            max_recipients=provider.max_recipients,
            allowed_destinations=settings.allowed_destinations,
            share_texts=provider.longest_value > 0,
            schema_version=self._schema.known,
            project=project,
            tick_seconds=self.interval if waits_for_rates else None,
        )
        self._first_claim, self._seen = first_claim or FirstClaims().join(), seen or Seen()
        self._waking = waking or Wakings().join()
        slots, silence = Slots(max_recipients=provider.max_recipients), Silence(single=provider.max_recipients == 1)
        self._health = PlanHealth(plan.plan, provider=plan.provider, project=project)
        self._pace = Pace(
            slots, silence, interval=self.interval, max_recipients=provider.max_recipients, waits_for_rates=waits_for_rates
        )
        self._requests = Requests(
            gateway=gateway,
            provider=provider,
            plan=plan.plan,
            worker=worker,
            settings=settings,
            slots=slots,
            silence=silence,
            health=self._health,
            seen=self._seen,
            clocks=self._clocks,
        )
        self._others = OtherJobs(
            again_after={"recover": _between_lookups(provider), "reconcile": settings.reconcile_interval_seconds}, names=jobs
        )
        self._claims, self._noticed, self._ticking = Claims(self._claim), asyncio.Event(), asyncio.Lock()

    def wake_others_with(self, wake: Callable[[str], None]) -> None:
        self._others.wake_with(wake)
        self._waking.wake_with(partial(wake, self.name))

    @property
    def stopped(self) -> bool:
        return self._health.stopped or self._pace.gave_up or (self._restores is not None and not self._restores.passed)

    @property
    def others_may_help(self) -> bool:
        return not self._health.holds

    async def tick(self) -> None:
        """Claim and send until nothing more may go out now. Requests may still be open when this returns.

        While claims come back full, two are under way: the database makes one while the requests of the other travel.
        """
        async with self._ticking:
            try:
                if self._restores is None or await self._restores.allows_claims():
                    await self._first_claim.turn()
                    await self._claim_and_send()
            finally:
                self._first_claim.is_over()

    async def _claim_and_send(self) -> None:
        self._pace.begin_tick()
        self._claims.ask_again()
        with self._waking.claiming():
            while self._ask(now := clock()) or self._claims.under_way:
                await self._something_to_do(now)
                for asked, claim in self._claims.answered():
                    self._take(asked, claim)
        await self._schema.check()
        await self._clock_watch.check()
        self._claims.check()

    def notice(self) -> None:
        """Rows were inserted: a tick that waits for a slot claims urgent ones among them soon."""
        self._noticed.set()

    async def finish(self) -> None:
        await self._requests.finish()

    async def drain(self) -> None:
        self._requests.drain()
        try:
            async with self._ticking:
                await self._requests.finish()
            await self._farewell.leave()
        finally:
            await self._claims.stop()
            await self._requests.aclose()

    def _ask(self, now: float) -> bool:
        """Make each claim that the pace wants now. Returns whether the tick goes on."""
        if self._requests.draining or self._schema.forbids_work or not self._pace.goes_on or self._claims.failed:
            return False
        while wanted := self._pace.next_claim(now, under_way=len(self._claims.under_way), noticed=self._noticed.is_set()):
            self._noticed.clear()
            self._claims.ask(wanted.slots, urgent_only=wanted.urgent_only)
        return True

    async def _claim(self, claim_id: str, slots: int, urgent_only: bool) -> Claim:
        sent = clock()
        try:
            claim = await self._call(
                claim_id=claim_id,
                max_dispatches=slots,
                max_rows=self._pace.rows_for(slots),
                urgent_only=urgent_only,
                highest_lease_token=self._seen.highest_lease_token,
                known_dispatch=self._seen.known_dispatch,
                heartbeat_at=self._seen.heartbeat_at,
                timeline=self._seen.timeline,
                sleep_seconds=self.interval + _LATEST_TICK_SECONDS if self._waking.sleeps else None,
            )
        except GatewayUnavailable:
            if self._restores is not None:
                self._restores.begin_again()
            raise
        CLAIM_DURATION.observe(clock() - sent)
        self._first_claim.is_over()
        self._seen.claimed(claim)
        if claim.now is not None:
            self._clocks.database_says(claim.now, sent=sent, received=clock())
        return claim

    async def _something_to_do(self, now: float) -> None:
        """Wait for an answer, the end of a request or a notice, or until time allows a claim that it did not allow ``now``."""
        rest = self._pace.seconds_until_claim(now, noticed=self._noticed.is_set())
        notice = asyncio.ensure_future(self._noticed.wait())
        pending: set[asyncio.Future[Any]] = {*self._claims.under_way, *self._requests.open}
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
        """Start the dispatches of a claim, and learn from its answer."""
        self._requests.start(claim.dispatches, since=asked.since)
        self._waking.claimed(dispatches=bool(claim.dispatches))
        self._schema.answered(claim)
        self._health.claimed(claim, urgent_only=asked.urgent_only)
        self._others.due(claim.due, now=clock())
        if not asked.urgent_only:
            self._pace.answered(claim, slots=asked.slots, now=clock())
        elif claim.more and claim.dispatches:
            # There are more urgent rows: as if a notice had come.
            self._noticed.set()


def _between_lookups(provider: Provider) -> float:
    proof = provider.absence_proof
    return AGAIN_SECONDS if proof is None else min(AGAIN_SECONDS, proof.total_seconds() / 4)
