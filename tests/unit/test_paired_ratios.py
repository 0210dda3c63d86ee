"""The statistics of paired measurements: their order, the interval of the median, and whether it keeps its bound."""

from itertools import pairwise
from math import comb
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ratios import Bound, Pair, Verdict, interval, judge, order

FAST = Bound(0.95)
SPARING = Bound(1.03, at_most=True)


def test_sides_take_turns_in_going_first() -> None:
    turns = [order(pair) for pair in range(4)]

    assert turns == [("base", "present"), ("present", "base"), ("base", "present"), ("present", "base")]
    assert all(before[-1] == after[0] for before, after in pairwise(turns))


def test_a_ratio_is_present_over_base() -> None:
    assert Pair(present=90.0, base=100.0).ratio == 0.9


def test_the_interval_is_the_same_for_a_seed() -> None:
    ratios = [0.91, 0.97, 1.0, 1.02, 1.04, 0.99, 1.1, 0.95]

    assert interval(ratios, seed=7) == interval(ratios, seed=7)
    assert interval(ratios, resamples=40, seed=7) != interval(ratios, resamples=40, seed=8)


def test_the_interval_agrees_with_the_binomial_distribution() -> None:
    def chance(place: int) -> float:
        """How often the median of 15 draws from 15 values is the one at this place, counted from 1, or a lower one."""
        share = place / 15
        return sum(comb(15, n) * share**n * (1 - share) ** (15 - n) for n in range(8, 16))

    assert chance(3) < 0.025 < chance(4)
    assert interval(range(1, 16)) == (4, 12)


def test_equal_ratios_give_an_exact_interval() -> None:
    assert interval([1.01] * 5) == (1.01, 1.01)


def test_more_pairs_narrow_the_interval() -> None:
    few = [0.9, 0.95, 1.0, 1.05, 1.1]
    low, high = interval(few)
    lower, higher = interval(few * 20, resamples=1000)

    assert low < lower <= 1.0 <= higher < high


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=15))
def test_the_interval_holds_the_median(ratios: list[float]) -> None:
    low, high = interval(ratios, resamples=200)

    assert min(ratios) <= low <= median(ratios) <= high <= max(ratios)


@pytest.mark.parametrize(
    ("ratios", "bound", "verdict"),
    [
        ([0.99, 1.0, 1.01], FAST, Verdict.KEPT),
        ([0.95, 0.95, 0.95], FAST, Verdict.KEPT),
        ([0.8, 0.96, 1.1], FAST, Verdict.KEPT_UNSURE),
        ([0.8, 0.94, 1.1], FAST, Verdict.MISSED_UNSURE),
        ([0.8, 0.85, 0.9], FAST, Verdict.MISSED),
        ([0.5, 0.6, 0.7], SPARING, Verdict.KEPT),
        ([1.03, 1.03, 1.03], SPARING, Verdict.KEPT),
        ([1.0, 1.02, 1.2], SPARING, Verdict.KEPT_UNSURE),
        ([1.0, 1.04, 1.2], SPARING, Verdict.MISSED_UNSURE),
        ([1.1, 1.2, 1.3], SPARING, Verdict.MISSED),
    ],
)
def test_median_decides_and_interval_rates_certainty(ratios: list[float], bound: Bound, verdict: Verdict) -> None:
    assert judge(ratios, bound) == verdict
