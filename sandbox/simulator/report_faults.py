"""Faults of reports on their way: late, repeated, reordered, lost, or contradictory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from sandbox.simulator.behaviour import ReportFaults, milliseconds
from sandbox.simulator.outcomes import Outcome


@dataclass(slots=True)
class PlannedReport:
    """A report that is sent at ``when`` (milliseconds). ``at`` is the time that it carries."""

    when: int
    index: int
    outcome: Outcome
    at: int


@dataclass(frozen=True, slots=True)
class Contradictions:
    """The outcome in a contradictory report: by the true outcome (``after``), or ``otherwise``."""

    after: Mapping[Outcome, Outcome]
    otherwise: Outcome


def apply_faults(
    reports: list[PlannedReport], faults: ReportFaults, random: Random, contradictions: Contradictions
) -> list[PlannedReport]:
    """The reports about one recipient, as they are really sent."""
    if random.random() < faults.lost:
        return []
    if len(reports) > 1 and random.random() < faults.reordered:
        reports = _reordered(reports)
    if reports and random.random() < faults.contradictory:
        reports = [*reports, _contradiction(reports[-1], contradictions)]
    if random.random() < faults.late:
        delay = milliseconds(faults.late_by, random)
        reports = [replace(report, when=report.when + delay) for report in reports]
    if random.random() < faults.repeated:
        reports = [copy for report in reports for copy in (report, replace(report))]
    return reports


def _reordered(reports: list[PlannedReport]) -> list[PlannedReport]:
    return [replace(report, when=other.when) for report, other in zip(reports, reversed(reports), strict=True)]


def _contradiction(report: PlannedReport, contradictions: Contradictions) -> PlannedReport:
    said = contradictions.after.get(report.outcome, contradictions.otherwise)
    return replace(report, outcome=said, at=report.at + 1)
