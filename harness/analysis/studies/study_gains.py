"""Scores of several studies as tables: what moved between them, and did the sets change order?

Intervals and tests are those of each study (analysis.comparison, analysis.ranking). Between two
studies they are combined as of independent ones, which is on the safe side where they share
examples.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.comparison import Comparison
from harness.analysis.inference import find_mover_widths
from harness.analysis.latency.variant_ratios import BOUNDS
from harness.analysis.ranking import compare_pairs
from harness.analysis.regret import DIGITS
from harness.records.record import BASE

ALL_TASKS = "(all)"
LEVEL = 0.05
"""A study tells two sets apart where p, corrected for all its pairs, is at most this."""

SHOWN = ("score", "gain", "regret", "end_to_end_ratio")


def tabulate_scores(comparisons: Mapping[str, Comparison]) -> pd.DataFrame:
    """Return one row a study, variant and task; task ALL_TASKS has the means.

    Columns: study, model, variant, target_set, task, seeds, examples, then with their 95% bounds
    score, gain (over the study's own base), regret (against the best set; one-sided bounds) and
    end_to_end_ratio (to the study's own base).
    """
    frames = []
    for study, comparison in comparisons.items():
        means = comparison.overall.assign(task=ALL_TASKS)
        names = {f"mean_regret{bound}": f"regret{bound}" for bound in BOUNDS}
        rows = pd.concat([comparison.by_task, means.rename(columns=names)], ignore_index=True)
        frames.append(rows.assign(study=study, model=comparison.model))
    table = pd.concat(frames, ignore_index=True)
    table = table.rename(columns={f"difference{bound}": f"gain{bound}" for bound in BOUNDS})
    columns = ["study", "model", "variant", "target_set", "task", "seeds", "examples"]
    return table[[*columns, *(f"{name}{bound}" for name in SHOWN for bound in BOUNDS)]]


def tabulate_changes(table: pd.DataFrame) -> pd.DataFrame:
    """Return how each gain differs from the first study's: one row a further study, variant, task.

    Columns: study, variant, task, change, change_low, change_high. The 95% bounds are made from
    those of the two gains by MOVER, as of independent estimates (`analysis.inference`).
    """
    first = table[table["study"] == table["study"].iloc[0]]
    others = table[table["study"] != table["study"].iloc[0]]
    keys = ["variant", "task"]
    gains = [f"gain{bound}" for bound in BOUNDS]
    both = others.merge(first[[*keys, *gains]], on=keys, suffixes=("", "_first"))
    middles, lows, highs = ([both[name], both[f"{name}_first"]] for name in gains)
    below, above = find_mover_widths(middles, lows, highs, weights=(1, -1))
    change = both["gain"] - both["gain_first"]
    changes = {"change": change, "change_low": change - below, "change_high": change + above}
    return both[["study", *keys]].assign(**changes)


def compare_orders(comparisons: Mapping[str, Comparison]) -> pd.DataFrame:
    """Return one row a pair of studies and pair of sets that both have on all common tasks.

    Columns: study, other; better, worse (by the first of the two studies); difference, low, high,
    p_holm, as `analysis.ranking.compare_pairs` has them, and the same of the other study with the
    ending `_other`; and order: `same` or `opposite` where both studies tell the two apart, else
    `open`.
    """
    tested = {name: compare_pairs(each.scores) for name, each in comparisons.items()}
    frames = [
        _match_pairs(tested[one], tested[other]).assign(study=one, other=other)
        for one, other in combinations(tested, 2)
    ]
    return pd.concat(frames, ignore_index=True)


def _match_pairs(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    columns = ["better", "worse", "difference", "low", "high", "p_holm"]
    turned = other.assign(
        better=other["worse"],
        worse=other["better"],
        difference=-other["difference"],
        low=-other["high"],
        high=-other["low"],
    )
    either_way = pd.concat([other[columns], turned[columns]])
    both = one[columns].merge(either_way, on=["better", "worse"], suffixes=("", "_other"))
    is_known = (both["p_holm"] <= LEVEL) & (both["p_holm_other"] <= LEVEL)
    order = np.where(both["difference_other"] > 0, "same", "opposite")
    return both.assign(order=np.where(is_known, order, "open"))


def rank_alike(comparisons: Mapping[str, Comparison], pairs: pd.DataFrame) -> pd.DataFrame:
    """Return one row a pair of studies: how alike they rank the sets that both have on all tasks.

    Columns: study, other, sets, tau (Kendall's, of the gains; tau-b, Biometrika 33:239, 1945), and
    of `pairs`, which `compare_orders` returned, how many there are: pairs, same, opposite.
    """
    rows = []
    for one, other in combinations(comparisons, 2):
        names = _find_ranked(comparisons[one], comparisons[other])
        # A study's base is one number, so that its scores rank as its gains do.
        scores = [_rank_scores(comparisons[each], names) for each in (one, other)]
        tau = stats.kendalltau(*scores).statistic if len(names) > 1 else np.nan
        orders = pairs.loc[(pairs["study"] == one) & (pairs["other"] == other), "order"]
        counts = {name: int((orders == name).sum()) for name in ("same", "opposite")}
        row = {"study": one, "other": other, "sets": len(names), "tau": float(tau)}
        rows.append(row | {"pairs": len(orders)} | counts)
    return pd.DataFrame(rows)


def _find_ranked(*comparisons: Comparison) -> list[str]:
    complete = [set(each.scores.complete) - {BASE} for each in comparisons]
    return sorted(set.intersection(*complete))


def _rank_scores(comparison: Comparison, names: Sequence[str]) -> np.ndarray:
    scores = comparison.overall.set_index("variant")["score"]
    ranked: np.ndarray = scores[list(names)].to_numpy(dtype=float).round(DIGITS)
    return ranked
