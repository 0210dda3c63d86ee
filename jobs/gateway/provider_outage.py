"""What the jobs of one process find when they ask the provider: said once, and heeded where it speaks for the plan."""

from typing import Final

import structlog

from jobs.gateway.gateway import Gateway
from jobs.gateway.values import Plan
from jobs.providers.base import ProviderError, Refusal

log = structlog.get_logger()

_STOPS_THE_PLAN: Final = {Refusal.THROTTLED, Refusal.ACCOUNT}


class Reach:
    """Says once that the provider answers no questions, and once that it does again.

    Sending has its own words for this, because there a silence stops the plan for every process. A 429 or trouble of the
    account stops it whatever was asked.
    """

    def __init__(self, *, gateway: Gateway, plan: Plan) -> None:
        self._gateway = gateway
        self._plan = plan
        self._away = False

    async def unanswered(self, job: str, error: ProviderError) -> None:
        """Note that a question of ``job`` was not answered. Raises :class:`jobs.gateway.errors.GatewayUnavailable`."""
        say = log.debug if self._away else log.warning
        say("provider.away", job=job, error=error.error)
        self._away = True
        if error.why in _STOPS_THE_PLAN:
            await self._gateway.pause_plan(self._plan, error.why, reason=error.error, seconds=error.retry_after)

    def answered(self, job: str) -> None:
        """Note that one was."""
        if self._away:
            self._away = False
            log.info("provider.back", job=job)
