"""What goes wrong with reports on their way: late, twice, in the wrong order, not at all, or saying something else."""

from dataclasses import dataclass, replace
from random import Random

from sandbox.simulator.behaviour import DELIVERED, DISPATCHED, EXPIRED, Outcome, ReportFaults, milliseconds


@dataclass(slots=True)
class Told:
    """A report that will be told at ``when`` (milliseconds). ``at`` is the time it carries."""

    when: int
    index: int
    outcome: Outcome
    at: int


def spoil(reports: list[Told], faults: ReportFaults, random: Random) -> list[Told]:
    """The reports about one recipient, as they will really be told."""
    if random.random() < faults.lost:
        return []
    if len(reports) > 1 and random.random() < faults.reordered:
        reports = _reordered(reports)
    if reports and random.random() < faults.contradictory:
        reports = [*reports, _contradiction(reports[-1])]
    if random.random() < faults.late:
        delay = milliseconds(faults.late_by, random)
        reports = [replace(report, when=report.when + delay) for report in reports]
    if random.random() < faults.repeated:
        reports = [copy for report in reports for copy in (report, replace(report))]
    return reports


def _reordered(reports: list[Told]) -> list[Told]:
    return [replace(report, when=other.when) for report, other in zip(reports, reversed(reports), strict=True)]


def _contradiction(report: Told) -> Told:
    """Ranks below the truth wherever the truth is Delivered, so that the truth must win; otherwise it claims delivery."""
    said = EXPIRED if report.outcome in (DELIVERED, DISPATCHED) else DELIVERED
    return replace(report, outcome=said, at=report.at + 1)
