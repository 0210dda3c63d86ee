"""Ratios of paired measurements: the median, an interval for it, and whether it keeps its bound."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from statistics import median
from typing import Final, Literal

Name = Literal["present", "base"]

RESAMPLES: Final = 10_000
_SEED: Final = 20_260_101
_OUTSIDE: Final = 0.05
"""The share of resampled medians that lies outside the interval, half on each side."""


class Verdict(StrEnum):
    """Whether the median keeps its bound, and whether the whole interval lies on the same side of it."""

    KEPT = "kept"
    KEPT_UNSURE = "kept, not surely"
    MISSED_UNSURE = "missed, not surely"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Bound:
    """The ratio that must be reached at least or, with ``at_most``, must not be exceeded."""

    ratio: float
    at_most: bool = False

    def keeps(self, ratio: float) -> bool:
        return ratio <= self.ratio if self.at_most else ratio >= self.ratio


@dataclass(frozen=True, slots=True)
class Pair:
    """One measurement of each tree, made one right after the other."""

    present: float
    base: float

    @property
    def ratio(self) -> float:
        return self.present / self.base


def order(pair: int) -> tuple[Name, Name]:
    """Which tree the pair of that number measures first: ABBA, so that a drift of the machine cancels out."""
    return ("base", "present") if pair % 2 == 0 else ("present", "base")


def interval(ratios: Sequence[float], *, seed: int = _SEED, resamples: int = RESAMPLES) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median. The same ratios and seed give the same interval."""
    random = Random(seed)
    medians = sorted(median(random.choices(ratios, k=len(ratios))) for _ in range(resamples))
    outside = int(resamples * _OUTSIDE / 2)
    return medians[outside], medians[-1 - outside]


def judge(ratios: Sequence[float], bound: Bound) -> Verdict:
    """The median decides; the interval states how certain that is."""
    low, high = interval(ratios)
    is_sure = bound.keeps(low) == bound.keeps(high)
    if bound.keeps(median(ratios)):
        return Verdict.KEPT if is_sure else Verdict.KEPT_UNSURE
    return Verdict.MISSED if is_sure else Verdict.MISSED_UNSURE
