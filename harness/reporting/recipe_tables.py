"""Methods, ranks and learning rates of the variants, and what tuning the rates changed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison
from harness.analysis.ranking import average_tasks, compare_pairs
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
    means, _ = average_tasks(comparison.drawn)
    tested = compare_pairs(comparison.drawn).to_dict("records")
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
    """Return a sentence per method: whether tuned rates change the order of its target sets."""
    means, _ = average_tasks(comparison.drawn)
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
        before = sorted(chosen, key=lambda name: -means[chosen[name][0]])
        after = sorted(chosen, key=lambda name: -means[chosen[name][1]])
        title = METHODS[method].title if method in METHODS else method
        verb = "stays the same" if before == after else "changes"
        then = "" if before == after else f"; at tuned rates: {', '.join(after)}"
        lines.append(
            f"{title}: the order of the target sets {verb} with tuned rates. From best to worst at "
            f"given rates: {', '.join(before)}{then}."
        )
    return tuple(lines)
