"""Paired latency ratios, against scipy and simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analysis.latency.ratios import (
    UNKNOWN,
    Paired,
    flag_outliers,
    geometric_mean,
    median_interval,
    pair_rounds,
    paired_ratio,
    summarise_rounds,
)


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


def make_studies(
    count: int, processes: int, rounds: int, process_spread: float, noise: str = "normal"
) -> list[Paired]:
    """Studies of equal arms: log ratios with a spread of 0.03 within a process."""
    rng = np.random.default_rng(7)
    process = np.repeat(np.arange(processes), rounds)
    studies = []
    for _ in range(count):
        if noise == "heavy tails":
            errors = rng.standard_t(2, size=(processes, rounds))
        else:
            errors = rng.normal(size=(processes, rounds))
        if noise == "autocorrelated":
            for index in range(1, rounds):
                errors[:, index] = 0.6 * errors[:, index - 1] + 0.8 * errors[:, index]
        shifts = process_spread * rng.normal(size=(processes, 1))
        studies.append(Paired(process, 0.03 * (shifts + errors).ravel()))
    return studies


@pytest.mark.parametrize(
    ("processes", "rounds", "process_spread", "noise"),
    [
        (3, 10, 0.0, "normal"),
        (3, 20, 1.0, "normal"),
        (5, 5, 1.0, "normal"),
        (8, 20, 0.3, "heavy tails"),
        (5, 10, 0.0, "autocorrelated"),
        (2, 20, 1.0, "normal"),
    ],
)
def test_interval_over_processes_covers(
    processes: int, rounds: int, process_spread: float, noise: str
) -> None:
    intervals = [
        summarise_rounds(each)
        for each in make_studies(300, processes, rounds, process_spread, noise)
    ]
    # A plain two-stage bootstrap reaches 79% in the second case.
    assert np.mean([each.low <= 1 <= each.high for each in intervals]) >= 0.945


def test_interval_over_processes_is_not_much_wider_than_it_need_be() -> None:
    """Against Student's exact width of a median; a two-stage bootstrap takes 1.36 times it."""
    exact = stats.t.ppf(0.975, 11) * 0.03 / math.sqrt(120) * math.sqrt(math.pi / 2)
    widths = [summarise_rounds(each).half_width for each in make_studies(100, 12, 10, 0.0)]
    assert np.mean(widths) < 1.25 * exact


@pytest.mark.parametrize("seed", range(3))
def test_processes_that_agree_by_chance_do_not_make_an_interval_narrow(seed: int) -> None:
    """It is as wide at least as that of all rounds as if they were of one process."""
    logs = np.tile(np.random.default_rng(seed).normal(size=15) * 0.03, 3)
    ours = summarise_rounds(Paired(np.repeat([0, 1, 2], 15), logs))
    pooled = stats.bootstrap((logs,), np.median, method="percentile", rng=0).confidence_interval
    assert ours.half_width > (math.exp(pooled.high) - math.exp(pooled.low)) / 2


def test_a_process_of_hardly_any_rounds_leaves_an_estimate_without_interval() -> None:
    logs = np.random.default_rng(0).normal(size=42) * 0.01
    ratio = summarise_rounds(Paired(np.repeat([0, 1], [40, 2]), logs))
    assert ratio.estimate == pytest.approx(math.exp(np.median(logs)))
    assert np.isnan([ratio.low, ratio.high, ratio.half_width, ratio.coverage]).all()


def test_a_round_is_a_process_and_its_number() -> None:
    """Round 0 of two processes must not be paired across them."""
    rows = [
        {"process": process, "round": 0, "arm": arm, "end_to_end_seconds": seconds}
        for process, base in ((0, 1.0), (1, 50.0))
        for arm, seconds in (("base", base), ("unmerged", 1.1 * base))
    ]
    ratio = paired_ratio(pd.DataFrame(rows), "end_to_end_seconds", "unmerged")
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.1))
    assert (ratio.rounds, ratio.processes) == (2, 2)


def test_rounds_come_in_order_of_time_and_variants_apart() -> None:
    rows = [
        {"process": p, "round": r, "arm": arm, "variant": variant, "end_to_end_seconds": seconds}
        for p, r in ((1, 0), (0, 10), (0, 2))
        for arm, variant, seconds in (
            ("base", "base", 1.0),
            ("unmerged", "qkv", 2.0 + p + r),
            ("unmerged", "all", 100.0),
        )
    ]
    paired = pair_rounds(pd.DataFrame(rows), "end_to_end_seconds", "unmerged", "base", "qkv")
    assert np.exp(paired.logs) == pytest.approx([4.0, 12.0, 3.0])
    assert list(paired.process) == [0, 0, 1]
    direct = paired_ratio(
        pd.DataFrame(rows),
        "end_to_end_seconds",
        "unmerged",
        "unmerged",
        variant="all",
        reference_variant="qkv",
    )
    assert direct.estimate == pytest.approx(25.0)


def test_old_files_without_process_are_of_one_process() -> None:
    calls = make_calls({"base": [1.0] * 8, "unmerged": [1.1] * 8})
    expected = paired_ratio(calls, "end_to_end_seconds", "unmerged")
    unknown = calls.assign(process=math.nan)
    assert paired_ratio(unknown, "end_to_end_seconds", "unmerged") == expected
    assert (expected.processes, expected.coverage) == (1, pytest.approx(1 - 2 / 2**8))


def test_no_round_at_all_is_unknown() -> None:
    empty = make_calls({"base": [1.0], "unmerged": [1.0]}).iloc[:0]
    assert paired_ratio(empty, "end_to_end_seconds", "unmerged") is UNKNOWN


def test_outliers_are_those_far_out_on_the_robust_scale() -> None:
    logs = np.random.default_rng(0).normal(size=200) * 0.01
    logs[[3, 50]] = 0.1, -0.2
    assert list(np.flatnonzero(flag_outliers(logs))) == [3, 50]
    assert flag_outliers(np.array([])).size == 0
    assert not flag_outliers(np.zeros(5)).any()


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
