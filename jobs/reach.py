"""Says once that the provider answers no questions, and once that it does again."""

import structlog

from jobs.providers.base import ProviderError

log = structlog.get_logger()


class Reach:
    """What the jobs of one process find when they ask the provider.

    Sending has its own words for this, because there a silence stops the plan for every process.
    """

    def __init__(self) -> None:
        self._away = False

    def unanswered(self, job: str, error: ProviderError) -> None:
        """Note that a question of ``job`` was not answered."""
        say = log.debug if self._away else log.warning
        say("provider.away", job=job, error=error.error)
        self._away = True

    def answered(self, job: str) -> None:
        """Note that one was."""
        if self._away:
            self._away = False
            log.info("provider.back", job=job)
