"""Handles questions of the recover, reconcile and inbound jobs that the provider does not answer."""

from typing import Final

from jobs.gateway.gateway import Gateway
from jobs.gateway.values import Plan
from jobs.providers.base import ProviderError, Refusal
from jobs.providers.registry import setting_to_check
from jobs.runtime.outage import Outage, named

_STOPS_THE_PLAN: Final = {Refusal.THROTTLED, Refusal.ACCOUNT}


class ProviderOutage:
    """Logs once that the provider does not answer, and once that it answers again. The jobs of one account share it.

    Throttling and account trouble stop the plan for every process, whichever request met them. A provider that refuses the
    account does answer: the log says at once that the plan is paused, and which setting to check. The dispatch job logs its
    own refusals.
    """

    def __init__(self, *, gateway: Gateway, plan: Plan) -> None:
        self._gateway = gateway
        self._plan = plan
        self._outage = Outage("provider.away", ended="provider.back")
        self._refusal = Outage("plan.paused", ended="provider.back")

    async def unanswered(self, job: str, error: ProviderError) -> None:
        """Note that a question of ``job`` was not answered. Raises :class:`jobs.gateway.errors.GatewayUnavailable`."""
        if error.why is Refusal.ACCOUNT:
            setting = setting_to_check(self._plan.provider, error.error)
            check = "" if setting is None else f": check {setting}"
            self._refusal.failed(
                job,
                plan=self._plan.plan,
                job=job,
                kind=error.why.value,
                reason=error.error,
                **named(setting),
                meaning=f"{self._plan.provider} refuses the account, so nothing is sent through this plan{check}",
            )
        else:
            self._outage.failed(plan=self._plan.plan, job=job, error=error.error)
        if error.why in _STOPS_THE_PLAN:
            await self._gateway.pause_plan(self._plan, error.why, reason=error.error, seconds=error.retry_after)

    def answered(self, job: str) -> None:
        """Note that a question of ``job`` was answered."""
        self._outage.recovered(plan=self._plan.plan, job=job)
        self._refusal.recovered(job, plan=self._plan.plan, job=job)
