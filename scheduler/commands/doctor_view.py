"""The screen of `outbox doctor`: one line for each finding, and below it what to do."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from jobs.examining.findings import Finding, Mark
from jobs.runtime.counts import counted
from jobs.runtime.masking import scrub

_STYLES: Final = {Mark.OK: "green", Mark.WARNING: "yellow", Mark.FAILED: "bold red", Mark.SKIPPED: "dim"}
_NOUNS: Final = {Mark.FAILED: "failed", Mark.WARNING: "warning", Mark.SKIPPED: "skipped", Mark.OK: "ok"}


def line(finding: Finding) -> Table:
    """The finding, with its advice below it."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=7)
    table.add_column(width=9)
    table.add_column(overflow="fold")
    table.add_row(Text(finding.mark, _STYLES[finding.mark]), finding.check, Text(scrub(finding.found)))
    if finding.advice:
        table.add_row("", "", Text(f"-> {scrub(finding.advice)}", _STYLES[finding.mark]))
    return table


def summary(findings: Sequence[Finding]) -> str:
    """How many findings of each kind there are: ``1 failed, 2 warnings, 12 ok``."""
    counts = Counter(finding.mark for finding in findings)
    warnings = counted(counts[Mark.WARNING], "warning")
    parts = {mark: warnings if mark is Mark.WARNING else f"{counts[mark]} {noun}" for mark, noun in _NOUNS.items()}
    return ", ".join(part for mark, part in parts.items() if counts[mark])


def plain(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The findings for programs."""
    return [
        {"check": one.check, "mark": str(one.mark), "found": scrub(one.found), "advice": scrub(one.advice)} for one in findings
    ]
