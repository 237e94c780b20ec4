"""How certain a recommendation is: pairs of variants, ranks, the Pareto front, and new tasks.

Everything starts from `comparison.scores`. Bounds are 95% intervals.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.differences import Scores
from harness.analysis.inference import correct_holm
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
        reach = found.reach(0.025 / len(pairs))
        better, worse = (one, other) if found.value >= 0 else (other, one)
        value = abs(found.value)
        row: dict[str, Any] = {"better": better, "worse": worse, "difference": value}
        row |= {"low": value - reach, "high": value + reach, "p": found.test()}
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


def find_front_probability(
    overall: pd.DataFrame, scores: Scores, seed: int = 0
) -> dict[str, float]:
    """How likely a set, or the base, is on the Pareto front of mean score and latency.

    Latency ratios are drawn beside the scores, independently, from log normal distributions with
    the intervals of `overall`'s end-to-end ratios; the base's is 1. Sets without a latency, or
    without some task, have no place on it: NaN.
    """
    draws = scores.draw()
    count = len(next(iter(draws.values()), []))
    names, costs, values = [], [], []
    rng = np.random.default_rng(seed)
    for row in overall.sort_values("variant").to_dict("records"):
        cost = _draw_cost(row, count, rng)
        own = draws.get(row["variant"])
        if cost is not None and own is not None and not np.isnan(own).any():
            names.append(str(row["variant"]))
            costs.append(cost)
            values.append(own.round(DIGITS))
    found: dict[str, float] = dict.fromkeys(map(str, overall["variant"]), math.nan)
    for index, name in enumerate(names):
        cost, value = costs[index], values[index]
        is_beaten = np.zeros(len(cost), dtype=bool)
        for other in range(len(names)):
            no_worse = (costs[other] <= cost) & (values[other] >= value)
            is_beaten |= no_worse & ((costs[other] < cost) | (values[other] > value))
        found[name] = float(1 - is_beaten.mean())
    return found


def _draw_cost(
    row: Mapping[str, object], count: int, rng: np.random.Generator
) -> np.ndarray | None:
    if row["target_set"] == BASE:
        return np.ones(count)
    ends = [float(str(row[f"end_to_end_ratio{bound}"])) for bound in ("", "_low", "_high")]
    if not all(math.isfinite(end) and end > 0 for end in ends):
        return None
    center, low, high = np.log(ends)
    spread = (high - low) / (2 * stats.norm.ppf(0.975))
    costs: np.ndarray = np.exp(center + spread * rng.standard_normal(count))
    return costs
