"""Check 9: old rows are deleted, dead ones are vacuumed, and the tables fit into the memory."""

from collections.abc import Iterator, Sequence
from typing import Final

from jobs.examining import storage
from jobs.examining.findings import Finding
from jobs.examining.storage import find
from jobs.gateway.doctor import Processes
from jobs.runtime.settings import EngineSettings
from jobs.runtime.times import ago
from scheduler.doctor.installation import Installation

_HOUR: Final = 3600.0


async def look(installation: Installation) -> Sequence[Finding]:
    facts = await installation.facts()
    engine = installation.environment.engine
    return [*retention(engine, facts.processes), *storage.whole(facts.storage)]


def retention(engine: EngineSettings | None, processes: Processes) -> Iterator[Finding]:
    """The upkeep job deletes what is older than its settings say."""
    if processes.upkeep_seconds_ago is None or processes.upkeep_seconds_ago > _HOUR:
        last = "within a day" if processes.upkeep_seconds_ago is None else f"for {ago(processes.upkeep_seconds_ago)}"
        yield find.warning(f"the upkeep job has not run {last}: old rows are kept", "`outbox run` runs it")
    elif engine is not None:
        bodies = engine.body_retention_days
        texts = "" if bodies is None else f", texts {bodies:g}"
        yield find.ok(
            f"rows are kept {engine.retention_days:g} days{texts}; upkeep ran {ago(processes.upkeep_seconds_ago)} ago"
        )
