"""Methods, ranks and learning rates of the variants, and what tuning the rates changed."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison
from harness.analysis.ranking import average_tasks, compare_pairs
from harness.analysis.regret import LEVEL
from harness.config.catalog import METHODS
from harness.formatting import (
    UNKNOWN,
    format_count,
    format_difference_interval,
    format_p,
    join_words,
)
from harness.records.record import BASE
from harness.reporting.report_tables import Table


def make_recipe_table(results: pd.DataFrame, comparison: Comparison) -> Table | None:
    """Return one row per variant: method, rank, learning rate, parameters, mergeable or not.

    None where all variants use one method with given ranks and rates.
    """
    trained = results[(results["target_set"] != BASE) & results["score"].notna()]
    is_plain = trained["method"].nunique() < 2 and trained["budget"].isna().all()
    if is_plain and not trained["learning_rate_tuned"].eq(True).any():
        return None
    order = [name for name in comparison.overall["variant"] if name in set(trained["variant"])]
    rows = [_describe(name, trained[trained["variant"] == name]) for name in order]
    headers = ("Target set", "Method", "Rank", "Learning rate", "Trainable parameters", "Merging")
    return Table(headers, tuple(rows))


def _describe(variant: str, runs: pd.DataFrame) -> tuple[str, ...]:
    first = runs.iloc[0]
    method = METHODS.get(str(first["method"]))
    ranks = sorted({f"{rank:.0f}" for rank in runs["rank"] if rank})
    mergeable = first["mergeable"]
    return (
        variant,
        method.title if method else str(first["method"]),
        join_words(ranks) if ranks else UNKNOWN,
        _list_rates(runs),
        format_count(first["trainable_parameters"]),
        UNKNOWN if pd.isna(mergeable) else "possible" if mergeable else "not possible",
    )


def _list_rates(runs: pd.DataFrame) -> str:
    """The rate, or one a task where they were tuned apart."""
    by_task = {
        str(task): sorted(set(own["learning_rate"].dropna())) for task, own in runs.groupby("task")
    }
    known = {rate for rates in by_task.values() for rate in rates}
    tuned = ", tuned" if runs["learning_rate_tuned"].eq(True).any() else ""
    if len(known) < 2:
        return f"{_spell(sorted(known))}{tuned}"
    return "; ".join(f"{_spell(rates)} ({task})" for task, rates in by_task.items()) + tuned


def _spell(rates: Sequence[float]) -> str:
    return join_words([f"{rate:.3g}" for rate in rates]) or UNKNOWN


def make_rate_table(results: pd.DataFrame, comparison: Comparison) -> Table | None:
    """Return one row per set trained at both a given and a tuned rate, with the gain by tuning.

    None where there is no such set.
    """
    pairs = list(_pair_rates(results))
    if not pairs:
        return None
    means = average_tasks(comparison.scores)
    tested = compare_pairs(comparison.scores).to_dict("records")
    found = {(row["better"], row["worse"]): row for row in tested}
    rows = []
    for fixed, tuned in pairs:
        if fixed in means and tuned in means:
            rows.append((tuned, fixed, *_describe_gain(found, tuned, fixed)))
    return Table(("Tuned rate", "Given rate", "Gain by tuning", "p, corrected"), tuple(rows))


def _describe_gain(
    found: Mapping[tuple[str, str], Mapping[str, Any]], tuned: str, fixed: str
) -> tuple[str, str]:
    row = found.get((tuned, fixed))
    if row is not None:
        bounds = row["difference"], row["low"], row["high"]
    else:
        row = found[fixed, tuned]
        bounds = -row["difference"], -row["high"], -row["low"]
    return format_difference_interval(*bounds), format_p(row["p_holm"])


def _pair_rates(results: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(variant at a given rate, the same at a tuned one)."""
    trained = results[(results["target_set"] != BASE) & results["score"].notna()]
    keys = ["target_set", "method", "rank"]
    for _, own in trained.groupby(keys, dropna=False):
        is_tuned = own["learning_rate_tuned"].eq(True)
        for tuned in sorted(own.loc[is_tuned, "variant"].unique()):
            for fixed in sorted(own.loc[~is_tuned, "variant"].unique()):
                yield fixed, tuned


def describe_order(results: pd.DataFrame, comparison: Comparison) -> tuple[str, ...]:
    """Return a sentence per method: whether tuned rates change the order of its target sets.

    A change is one of a pair that is told apart, corrected for all pairs, at both rates.
    """
    tested = compare_pairs(comparison.scores)
    known = tested[tested["p_holm"] <= LEVEL]
    above = set(zip(known["better"], known["worse"], strict=True))
    means = average_tasks(comparison.scores)
    described = results.drop_duplicates("variant").set_index("variant")
    by_method: dict[str, dict[str, tuple[str, str]]] = {}
    for fixed, tuned in _pair_rates(results):
        if fixed in means and tuned in means:
            row = described.loc[tuned]
            # Of several given rates, the first.
            by_method.setdefault(row["method"], {}).setdefault(row["target_set"], (fixed, tuned))
    lines = []
    for method, chosen in by_method.items():
        if len(chosen) < 2:
            continue
        orders = [_sort_sets(chosen, means, rate) for rate in (0, 1)]
        turned = [
            f"{one} above {other}"
            for one, other in permutations(chosen, 2)
            if (chosen[one][0], chosen[other][0]) in above
            and (chosen[other][1], chosen[one][1]) in above
        ]
        title = METHODS[method].title if method in METHODS else method
        change = (
            f"tuned rates change the order of {join_words(turned)} at given rates"
            if turned
            else "no pair of target sets is shown to change its order with tuned rates"
        )
        lines.append(
            f"{title}: {change}. Observed, from best to worst: {orders[0]} at given rates; "
            f"{orders[1]} at tuned rates."
        )
    return tuple(lines)


def _sort_sets(chosen: Mapping[str, tuple[str, str]], means: Mapping[str, float], rate: int) -> str:
    """Target sets by their mean at given (0) or tuned (1) rates, the best first."""
    return ", ".join(sorted(chosen, key=lambda name: -means[chosen[name][rate]]))
