"""How certain a recommendation is: pairs of sets, ranks, the Pareto front, and new tasks.

Everything starts from `comparison.drawn`, whose resamples draw examples and seeds anew, and tasks
not: `generalize_regret` draws them too. Bounds are 95% intervals.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.inference import correct_holm
from harness.analysis.regret import TaskDraws, average_draws, find_complete
from harness.analysis.spread import measure_spread
from harness.records.record import BASE

POWER = 0.8
"""Chance with which a detectable difference is found."""

DIGITS = 12
"""Equal scores that were summed in another order still tie."""


def compare_pairs(drawn: Mapping[str, TaskDraws]) -> pd.DataFrame:
    """Test the difference in mean score of every pair of sets that have scores on all tasks.

    `drawn` is `Comparison.drawn`. One row per pair: `better` and `worse` by observed mean;
    `difference` with its 95% interval `low`, `high`, in score units; `p` of a two-sided paired t
    test over examples and seeds; `p_holm` with Holm's correction for all pairs (Scandinavian
    Journal of Statistics 6:65, 1979); `detectable`, the smallest true difference that a test of one
    pair finds in 80% of studies of this size; and `seed_share`, the share of the variance due to
    seeds, NaN with one seed.
    """
    means, _ = average_tasks(drawn)
    tasks = list(drawn.values())
    rows = []
    for one, other in combinations(sorted(means, key=lambda name: (-means[name], name)), 2):
        spread, difference = measure_spread(tasks, one, other), means[one] - means[other]
        row: dict[str, Any] = {"better": one, "worse": other, "difference": difference}
        known = spread.freedom > 0
        quantiles = stats.t.ppf([0.975, POWER], spread.freedom) if known else [math.nan]
        row |= dict(zip(("low", "high"), spread.bound(difference), strict=True))
        row["p"] = spread.test(difference)
        row["detectable"] = float(spread.error * sum(quantiles))
        rows.append(row | {"seed_share": spread.seed_share})
    columns = ["better", "worse", "difference", "low", "high", "p", "detectable", "seed_share"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_holm=correct_holm(frame["p"].to_numpy(dtype=float)))


def average_tasks(
    drawn: Mapping[str, TaskDraws],
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Mean over tasks of every set that has them all: as observed, and in each resample."""
    tasks = drawn.values()
    names = find_complete(tasks)
    observed = {name: float(np.mean([each.means[name] for each in tasks])) for name in names}
    return observed, {name: average_draws(tasks, name) for name in names}


def rank_sets(drawn: Mapping[str, TaskDraws]) -> pd.DataFrame:
    """Return the average rank over tasks of every set that has scores on all of them.

    `drawn` is `Comparison.drawn`. Rank 1 is best; equal scores share a rank. One row per set:
    `variant`, and `average_rank` with its 95% interval `average_rank_low`, `average_rank_high`.
    """
    names = find_complete(drawn.values())
    columns = ["variant", "average_rank", "average_rank_low", "average_rank_high"]
    if not names:
        return pd.DataFrame(columns=columns)
    observed = np.mean([_rank([[t.means[n]] for n in names]) for t in drawn.values()], axis=0)[:, 0]
    ranks = np.mean([_rank([t.draws[n] for n in names]) for t in drawn.values()], axis=0)
    low, high = np.quantile(ranks, [0.025, 0.975], axis=1)
    rows = zip(names, observed, low, high, strict=True)
    return pd.DataFrame(rows, columns=columns)


def _rank(scores: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """Ranks of the rows in each column, 1 the highest; a column with an unknown score has none."""
    values = -np.asarray(scores, dtype=float).round(DIGITS)
    ranks: np.ndarray = stats.rankdata(values, axis=0, nan_policy="propagate")
    return ranks


def find_near_best(drawn: Mapping[str, TaskDraws], delta: float) -> dict[str, float]:
    """Share of resamples in which a set's mean over tasks is within `delta` of the best set's."""
    _, draws = average_tasks(drawn)
    if not draws:
        return {}
    table = np.array(list(draws.values()))
    if np.isnan(table).any():
        return dict.fromkeys(draws, math.nan)
    is_near = table >= table.max(axis=0) - delta - 10.0**-DIGITS
    return dict(zip(draws, is_near.mean(axis=1).tolist(), strict=True))


def generalize_regret(drawn: Mapping[str, TaskDraws], seed: int = 0) -> dict[str, float]:
    """Upper 95% bound of each set's mean regret over new tasks of the same kind.

    In each resample the tasks are drawn anew too, with replacement. NaN with fewer than two tasks;
    with three or four it is a rough figure.
    """
    names = find_complete(drawn.values())
    tasks, bounds = list(drawn.values()), dict.fromkeys(names, math.nan)
    if len(tasks) < 2:
        return bounds
    count = len(tasks[0].draws[names[0]]) if names else 0
    picks = np.random.default_rng(seed).integers(len(tasks), size=(len(tasks), count))
    for name in names:
        regrets = np.array([each.regret(name).draws for each in tasks])
        bounds[name] = float(np.quantile(np.take_along_axis(regrets, picks, 0).mean(axis=0), 0.95))
    return bounds


def find_front_probability(
    overall: pd.DataFrame, drawn: Mapping[str, TaskDraws], seed: int = 0
) -> dict[str, float]:
    """How likely a set, or the base, is on the Pareto front of mean score and latency.

    Scores are those of the resamples. Latency ratios are drawn beside them, independently, from log
    normal distributions with the intervals of `overall`'s end-to-end ratios; the base's is 1. Sets
    without a latency, or without some task, have no place on it: NaN.
    """
    _, draws = average_tasks(drawn)
    if draws and all(BASE in each.means for each in drawn.values()):
        draws[BASE] = average_draws(drawn.values(), BASE)
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
