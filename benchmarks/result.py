"""What a measurement found: plain values that go into JSON and come back from it.

A script offers ``TITLE`` and ``run(options)``, which returns a :class:`Result`. Its figures are what was measured, once for
each repetition; ratios are taken within one repetition, where both sides met the same machine.
"""

from dataclasses import dataclass
from statistics import median
from typing import Literal


@dataclass(frozen=True, slots=True)
class Options:
    """How much of a measurement is wanted. ``quick`` is for trying a script: smaller, once, and nothing is written down.

    ``full`` takes the sizes that need long; ``repeats`` is how often each case is measured. ``paired`` compares with the
    revision ``base``, in so many ``pairs``; ``without_dashboard`` leaves its indexes and figures out of this tree.
    ``upgrade`` applies a ``version`` of the schema, without one the newest, to a database of so many ``rows``.
    """

    quick: bool = False
    full: bool = False
    repeats: int = 3
    base: str | None = None
    pairs: int = 15
    without_dashboard: bool = False
    version: int | None = None
    rows: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One column of one case: ``values`` holds one number for each repetition.

    ``goal`` is what was to be reached, at least or (``at_most``) at most.
    """

    case: str
    name: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None
    at_most: bool = False

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median meets the goal; None without a goal."""
        if self.goal is None:
            return None
        return self.median <= self.goal if self.at_most else self.median >= self.goal


@dataclass(frozen=True, slots=True)
class Plot:
    """The figure that the chart shows: bars for cases, or a line if the cases are numbers (``x`` names their unit)."""

    figure: str
    kind: Literal["bars", "line"] = "bars"
    x: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """Everything one script found. ``notes`` are sentences that belong under the table.

    Where ``partial`` says what was left out, the page keeps the table it has.
    """

    figures: tuple[Figure, ...]
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()
    partial: str | None = None
