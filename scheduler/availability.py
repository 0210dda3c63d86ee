"""Says once that Supabase is away, and once that it is back."""

import structlog

log = structlog.get_logger()


class Availability:
    """What the jobs of one process find when they call Supabase."""

    def __init__(self) -> None:
        self._without: set[str] = set()

    def away(self, job: str, error: Exception) -> None:
        """Note that ``job`` could not reach it."""
        if not self._without:
            log.warning("supabase.away", job=job, error=str(error))
        self._without.add(job)

    def reached(self, job: str) -> None:
        """Note that ``job`` could. It is back when every job that missed it has said so."""
        if job in self._without:
            self._without.discard(job)
            if not self._without:
                log.info("supabase.back", job=job)
