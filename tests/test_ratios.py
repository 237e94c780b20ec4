"""Paired latency ratios, against scipy and simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.ratios import geometric_mean, median_interval, paired_ratio


@pytest.mark.parametrize("count", [6, 7, 9, 15, 16, 40, 101])
def test_median_interval_agrees_with_scipy(count: int) -> None:
    values = np.random.default_rng(count).lognormal(size=count)
    ours = median_interval(values)
    theirs = stats.quantile_test(values, p=0.5, q=1.0).confidence_interval(0.95)
    assert (ours.low, ours.high) == (theirs.low, theirs.high)
    assert ours.coverage >= 0.95


@pytest.mark.parametrize(("count", "coverage"), [(1, 0.0), (2, 0.5), (5, 0.9375), (6, 0.96875)])
def test_few_rounds_give_the_range_and_its_real_coverage(count: int, coverage: float) -> None:
    interval = median_interval(np.arange(count, dtype=float))
    assert (interval.low, interval.high) == (0, count - 1)
    assert interval.coverage == pytest.approx(coverage)


def test_coverage_is_what_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(2000, 9))
    intervals = [median_interval(row) for row in draws]
    hits = np.mean([each.low <= math.log(2) <= each.high for each in intervals])
    assert hits == pytest.approx(intervals[0].coverage, abs=0.015)


def make_calls(times: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"round": number, "arm": arm, "end_to_end_seconds": seconds}
        for arm, values in times.items()
        for number, seconds in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_ratio_is_taken_inside_the_round() -> None:
    drift = [1.0, 5.0, 2.0, 9.0, 1.5, 3.0, 4.0]
    calls = make_calls({"base": drift, "unmerged": [1.1 * value for value in drift]})
    ratio = paired_ratio(calls, "end_to_end_seconds", "unmerged")
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.1))


def test_unusable_times_drop_their_round_only() -> None:
    calls = make_calls({"base": [1, 1, 1, 1], "unmerged": [2.0, math.nan, 0.0, 2.0]})
    ratio = paired_ratio(calls, "end_to_end_seconds", "unmerged")
    assert (ratio.estimate, ratio.rounds) == (pytest.approx(2.0), 2)


def test_a_missing_arm_is_unknown() -> None:
    calls = make_calls({"unmerged": [1.0, 2.0]})
    assert math.isnan(paired_ratio(calls, "end_to_end_seconds", "unmerged").estimate)
    assert math.isnan(paired_ratio(calls, "end_to_end_seconds", "merged").estimate)


def test_geometric_mean_of_independent_estimates_covers() -> None:
    rng = np.random.default_rng(1)
    truth, errors = np.log([1.1, 1.3, 1.02]), np.array([0.02, 0.05, 0.01])
    hits = 0
    for _ in range(2000):
        seen = truth + rng.normal(size=3) * errors
        bounds = (np.exp(seen - 1.96 * errors), np.exp(seen + 1.96 * errors))
        mean = geometric_mean(np.exp(seen), *bounds)
        hits += mean.low <= math.exp(truth.mean()) <= mean.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_geometric_mean_of_an_unknown_is_unknown() -> None:
    assert math.isnan(geometric_mean([1.1, math.nan], [1.0, 1.0], [1.2, 1.2]).estimate)
    assert math.isnan(geometric_mean([], [], []).estimate)
