"""How certain a recommendation is: pairs of variants, ranks, the Pareto front, and new tasks.

Everything starts from `comparison.scores`. Bounds are 95% intervals.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.comparison import Comparison
from harness.analysis.differences import Scores
from harness.analysis.inference import correct_holm, find_root
from harness.analysis.latency.ratios import Interval
from harness.analysis.regret import DIGITS
from harness.records.record import BASE

POWER = 0.8
"""Chance with which a detectable difference is found."""


def compare_pairs(scores: Scores) -> pd.DataFrame:
    """Test the difference in mean score of every pair of sets that have scores on all tasks.

    `scores` is `Comparison.scores`. One row per pair: `better` and `worse` by observed mean;
    `difference` with the interval `low`, `high`, in score units; `p` of a two-sided paired t test
    over examples and seeds; `p_holm` with Holm's correction for all pairs (Scandinavian Journal of
    Statistics 6:65, 1979), to which the interval corresponds: it holds for all pairs at once
    (Bonferroni); `detectable`, the smallest true difference that a test of one pair finds in 80% of
    studies of this size; and `seed_share`, the share of the variance due to seeds.
    """
    names = [name for name in scores.complete if name != BASE]
    pairs = list(combinations(names, 2))
    rows: list[dict[str, Any]] = []
    for one, other in pairs:
        found = scores.compare(one, other)
        assert found is not None
        low, high = found.bound(1 - 0.05 / len(pairs))
        better, worse = one, other
        if found.value < 0:
            better, worse, low, high = other, one, -high, -low
        row: dict[str, Any] = {"better": better, "worse": worse, "difference": abs(found.value)}
        row |= {"low": low, "high": high, "p": found.test()}
        row["detectable"] = found.reach(0.025) + found.reach(1 - POWER)
        rows.append(row | {"seed_share": found.seed_share})
    columns = ["better", "worse", "difference", "low", "high", "p", "detectable", "seed_share"]
    frame = pd.DataFrame(rows, columns=columns)
    means = {name: scores.measure(name) for name in names}
    place = {name: -each.value for name, each in means.items() if each is not None}
    frame = frame.sort_values(["better", "worse"], key=lambda own: own.map(place), kind="stable")
    frame = frame.reset_index(drop=True)
    return frame.assign(p_holm=correct_holm(frame["p"].to_numpy(dtype=float)))


def average_tasks(scores: Scores) -> dict[str, float]:
    """Mean over tasks of every variant that has them all."""
    means = {name: scores.measure(name) for name in scores.complete}
    return {name: each.value for name, each in means.items() if each is not None}


def draw_tasks(scores: Scores) -> list[dict[str, np.ndarray]]:
    """What the means of the complete variants may be on each task, independently of the others."""
    complete = set(scores.complete)
    drawn = [scores.restrict([task]).draw() for task in scores.tasks]
    return [{name: own[name] for name in sorted(complete)} for own in drawn]


def rank_sets(scores: Scores) -> pd.DataFrame:
    """Return the average rank over tasks of every set that has scores on all of them.

    `scores` is `Comparison.scores`. Rank 1 is best; equal scores share a rank. One row per set:
    `variant`, and `average_rank` with its 95% interval `average_rank_low`, `average_rank_high`.
    """
    names = [name for name in scores.complete if name != BASE]
    columns = ["variant", "average_rank", "average_rank_low", "average_rank_high"]
    if not names:
        return pd.DataFrame(columns=columns)
    tasks = scores.tasks.values()
    observed = np.mean([_rank([[task.mean(name)] for name in names]) for task in tasks], axis=0)
    ranks = np.mean([_rank([own[name] for name in names]) for own in draw_tasks(scores)], axis=0)
    low, high = np.quantile(ranks, [0.025, 0.975], axis=1)
    rows = zip(names, observed[:, 0], low, high, strict=True)
    return pd.DataFrame(rows, columns=columns)


def _rank(scores: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """Ranks of the rows in each column, 1 the highest; a column with an unknown score has none."""
    values = -np.asarray(scores, dtype=float).round(DIGITS)
    ranks: np.ndarray = stats.rankdata(values, axis=0, nan_policy="propagate")
    return ranks


def generalize_regret(scores: Scores, seed: int = 0) -> dict[str, float]:
    """Upper 95% bound of each variant's mean regret over new tasks of the same kind.

    In each draw the tasks are drawn anew too, with replacement, and the best single variant is
    found anew.
    NaN with fewer than two tasks; with three or four it is a rough figure.
    """
    names = scores.complete
    if len(scores.tasks) < 2 or not names:
        return dict.fromkeys(names, math.nan)
    drawn = np.array([[own[name] for name in names] for own in draw_tasks(scores)])
    count, _, draws = drawn.shape
    picks = np.random.default_rng(seed).integers(count, size=(count, 1, draws))
    means = np.take_along_axis(drawn, picks, axis=0).mean(axis=0)
    bounds = np.quantile(means.max(axis=0) - means, 0.95, axis=1)
    return dict(zip(names, bounds.tolist(), strict=True))


def find_front_probability(comparison: Comparison, seed: int = 0) -> dict[str, float]:
    """How likely a set, or the base, is on the Pareto front of mean score and latency.

    End-to-end ratios are drawn beside the scores, independently of them, from a log normal
    distribution with the intervals of the ratios and of each pair's; the base's is 1. Sets without
    a latency, or without some task, have no place on it: NaN.
    """
    draws = {
        name: own.round(DIGITS)
        for name, own in comparison.scores.draw().items()
        if not np.isnan(own).any()
    }
    count = len(next(iter(draws.values()), []))
    costs = _draw_costs(comparison, [*draws], count, np.random.default_rng(seed))
    found: dict[str, float] = dict.fromkeys(map(str, comparison.overall["variant"]), math.nan)
    if len(costs) < 2:  # such as the base alone, where no set was timed
        return found
    for name, cost in costs.items():
        value = draws[name]
        is_beaten = np.zeros(count, dtype=bool)
        for other in costs:
            no_worse = (costs[other] <= cost) & (draws[other] >= value)
            is_beaten |= no_worse & ((costs[other] < cost) | (draws[other] > value))
        found[name] = float(1 - is_beaten.mean())
    return found


def _draw_costs(
    comparison: Comparison, names: Sequence[str], count: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """What the ratios of the timed variants may be, jointly, [count] each."""
    own = {name: comparison.compare_times(name, BASE) for name in names}
    timed = [name for name, each in own.items() if math.isfinite(_find_variance(each))]
    variances = np.array([_find_variance(own[name]) for name in timed])
    between = np.zeros((len(timed), len(timed)))
    for i, j in combinations(range(len(timed)), 2):
        pair = _find_variance(comparison.compare_times(timed[i], timed[j]))
        between[i, j] = between[j, i] = pair
    root = find_root((variances[:, None] + variances - between) / 2)
    centers = np.log([own[name].estimate for name in timed])
    drawn = centers[:, None] + root @ rng.standard_normal((len(timed), count))
    return dict(zip(timed, np.exp(drawn), strict=True))


def _find_variance(ratio: Interval) -> float:
    """Variance of a ratio's logarithm, from its 95% interval; NaN where unknown."""
    if not (ratio.low > 0 and math.isfinite(ratio.high)):
        return math.nan
    return (math.log(ratio.high / ratio.low) / (2 * float(stats.norm.ppf(0.975)))) ** 2
