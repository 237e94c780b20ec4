"""Lines the runs of one task up, so that any two variants can be compared on what both have.

A mean over other examples is no comparison: pairs are compared on the examples that all runs of
both have (analysis.differences). What is left out altogether leaves a note that the report shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from harness.formatting import join_words
from harness.records.record import BASE

MINIMUM_SHARE = 0.5
"""A run with a smaller share of the examples that most runs have is left out, not waited for."""
ENOUGH_EXAMPLES = 30
"""A variant none of whose runs has more examples is compared on them, if it has as many."""


@dataclass(frozen=True)
class TaskScores:
    task: str
    scores: Mapping[str, np.ndarray]
    """Variant -> its scores [seeds, examples]; NaN where a run lacks an example."""
    seeds: Mapping[str, tuple[int, ...]]
    """Variant -> the seeds behind the rows of its scores."""
    clusters: np.ndarray
    """Number of each example's cluster, [examples]: examples of one document, say, share one."""
    notes: tuple[str, ...] = ()
    """What was left out, in sentences."""

    @property
    def example_count(self) -> int:
        return len(self.clusters)

    @cached_property
    def largest_difference(self) -> float:
        """Most that two variants differ on any example; 1 where all answer alike."""
        means = [self.example_means(name) for name in self.scores]
        apart = np.fmax.reduce(means) - np.fmin.reduce(means)
        return float(np.nanmax(apart, initial=0.0)) or 1.0

    @cached_property
    def is_share(self) -> bool:
        """Whether all scores lie from 0 to 1."""
        known = [table[~np.isnan(table)] for table in self.scores.values()]
        return all(((values >= 0) & (values <= 1)).all() for values in known)

    def count_independent(self) -> int:
        """Clusters of the examples that the two variants with the fewest in common both have."""
        has = [self.has_example(name) for name in self.scores]
        return min(
            (
                len(np.unique(self.clusters[a & b]))
                for a, b in combinations_with_replacement(has, 2)
            ),
            default=0,
        )

    def has_example(self, variant: str) -> np.ndarray:
        """Whether all runs of a variant have an example, [examples]."""
        has: np.ndarray = ~np.isnan(self.scores[variant]).any(axis=0)
        return has

    def example_means(self, variant: str) -> np.ndarray:
        """Mean over seeds of each example's score, [examples]; NaN where a run lacks it."""
        means: np.ndarray = self.scores[variant].mean(axis=0)
        return means

    def mean(self, variant: str) -> float:
        """Mean score of a variant over the examples that all of its runs have."""
        return float(np.nanmean(self.example_means(variant)))


def pair_task(task: str, results: pd.DataFrame, examples: pd.DataFrame) -> TaskScores:
    """Line up the runs of one task; both tables as `analysis.results` loads them, of one study."""
    notes: list[str] = []
    runs = results[results["score"].notna() | results["metric"].notna()].set_index("run_id")
    runs = _keep_one_source(task, runs, notes)
    own = examples[examples["run_id"].isin(runs.index)]
    table = _lay_out(own[["id", "run_id", "score"]])
    table = _drop_other_runs(task, table, runs, notes)
    table = table.dropna(how="all")
    lacking = int(table.isna().any(axis=1).sum())
    if lacking:
        notes.append(
            f"{task}: {lacking} of {len(table)} examples {'lacks' if lacking == 1 else 'lack'} a "
            "score in some run; each pair of sets is compared on the examples that both have"
        )
    by_variant, seeds = _group_by_variant(table, runs)
    left_out = set(runs.loc[table.columns, "variant"]) - set(by_variant)
    if left_out:
        notes.append(
            f"{task}: the runs of {join_words(sorted(left_out))} share no example; not compared"
        )
    _note_seeds(task, seeds, notes)
    return TaskScores(task, by_variant, seeds, _find_clusters(own, table.index), tuple(notes))


def _find_clusters(examples: pd.DataFrame, ids: pd.Index) -> np.ndarray:
    """Number of each example's cluster; its own where the runs name none."""
    names = pd.Series(ids.astype(str), index=ids)
    if "cluster" in examples:
        known = examples.dropna(subset=["cluster"]).drop_duplicates("id")
        names.update(known.set_index("id")["cluster"].astype(str))
    numbers, _ = pd.factorize(names)
    return np.asarray(numbers)


def _lay_out(examples: pd.DataFrame) -> pd.DataFrame:
    """Return scores by id and run id, in order of both; the mean where a run repeats an id.

    Several times faster than pandas' pivot_table, and in a fraction of its memory.
    """
    example, ids = pd.factorize(examples["id"], sort=True, use_na_sentinel=False)
    run, run_ids = pd.factorize(examples["run_id"], sort=True)
    scores = examples["score"].to_numpy(dtype=float)
    # An infinite score, of a metric that divides by zero, is no score either.
    known = np.isfinite(scores)
    cell = (run * len(ids) + example)[known]
    size = len(run_ids) * len(ids)
    counts = np.bincount(cell, minlength=size)
    sums = np.bincount(cell, scores[known], minlength=size)
    means = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
    by_run = means.reshape(len(run_ids), len(ids))
    # Run ids may come as categories, which take no other label.
    return pd.DataFrame(by_run.T, index=ids, columns=pd.Index(run_ids.astype(object)))


def _keep_one_source(task: str, runs: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Scores of other data, by another metric or answered otherwise, are no score of this task."""
    columns = ["metric", "scoring", "source", "dataset", "split", "data_seed"]
    origins = runs[columns].astype(object).fillna("unknown").astype(str).to_numpy().tolist()
    origin = pd.Series([" / ".join(each) for each in origins], index=runs.index, dtype=object)
    if origin.nunique() <= 1:
        return runs
    counts = origin.value_counts()
    common = sorted(counts[counts == counts.max()].index)[0]
    others = runs["variant"][origin != common].groupby(origin).agg(set)
    listed = [f"{each} ({join_words(sorted(names))})" for each, names in others.items()]
    notes.append(
        f"{task}: runs differ in metric, scoring or data; compared on {common}, "
        f"left out: {'; '.join(listed)}"
    )
    return runs[origin == common]


def _drop_other_runs(
    task: str, table: pd.DataFrame, runs: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """Leave out the runs that have few of the examples that most runs have."""
    for run_id in runs.index.difference(table.columns):
        notes.append(f"{task}: {_name(runs.loc[run_id])} has no scores by example; not compared")
    variants = runs.loc[table.columns, "variant"].to_numpy()
    share = _find_shares(table.notna().to_numpy(dtype=float), variants)
    for run_id, own in zip(table.columns, share, strict=True):
        if own < MINIMUM_SHARE:
            notes.append(
                f"{task}: {_name(runs.loc[run_id])} has scores for {own:.0%} of the examples; not "
                "compared"
            )
    return table.loc[:, share >= MINIMUM_SHARE]


def _find_shares(present: np.ndarray, variants: np.ndarray) -> np.ndarray:
    """What share each run has of the examples of the run that is most like the others.

    `present` is 1 where a run has an example, else 0: [examples, runs]. A run that has enough
    examples and no fewer than its variant's others counts as whole: a race scores more examples of
    the sets that are still in it.
    """
    common, whole = _count_common(present)
    share: np.ndarray = common / max(whole, 1.0)
    for name in np.unique(variants):
        own = variants == name
        own_common, own_whole = _count_common(present[:, own])
        is_whole = own_common >= MINIMUM_SHARE * own_whole
        share[own] = np.where(is_whole & (common[own] >= ENOUGH_EXAMPLES), 1.0, share[own])
    return share


def _count_common(present: np.ndarray) -> tuple[np.ndarray, float]:
    """Examples that each run has in common with the run that is most like the others; all of its.

    Runs are alike where they have most of each other's examples; of equally many, the run with more
    examples counts.
    """
    common = present.T @ present
    counts = common.diagonal()
    if not counts.any():
        return counts, 0.0
    larger = np.maximum(counts[:, None], counts)
    alike = ((common >= MINIMUM_SHARE * larger) & (counts > 0)).sum(axis=1)
    typical = max(range(len(counts)), key=lambda run: (alike[run], counts[run]))
    return common[typical], float(counts[typical])


def _note_seeds(task: str, seeds: Mapping[str, tuple[int, ...]], notes: list[str]) -> None:
    counts = {len(own) for name, own in seeds.items() if name != BASE}
    if len({own for name, own in seeds.items() if name != BASE}) > 1:
        few = [name for name, own in seeds.items() if name != BASE and len(own) == min(counts)]
        whose = (
            f": {join_words(sorted(few))} has the fewest ({min(counts)})" if len(counts) > 1 else ""
        )
        notes.append(
            f"{task}: the sets have different seeds, and each is averaged over its own{whose}"
        )


def _group_by_variant(
    table: pd.DataFrame, runs: pd.DataFrame
) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]]]:
    scores: dict[str, np.ndarray] = {}
    seeds: dict[str, tuple[int, ...]] = {}
    chosen = runs.loc[table.columns].sort_values(["variant", "seed"])
    for variant, rows in chosen.groupby("variant") if len(table) else ():
        values = table[list(rows.index)].to_numpy(dtype=float).T
        if np.isnan(values).any(axis=0).all():
            continue
        # Repeats of the base measure the same frozen model: one mean, no seeds.
        scores[str(variant)] = values.mean(0, keepdims=True) if variant == BASE else values
        seeds[str(variant)] = (0,) if variant == BASE else tuple(int(s) for s in rows["seed"])
    return scores, seeds


def _name(run: pd.Series) -> str:
    return f"{run['variant']} (seed {run['seed']:.0f})"
