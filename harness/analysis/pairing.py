"""Lines the runs of one task up, so that every variant is compared on the same examples and seeds.

A mean over other examples, or over other seeds, is no comparison. What not every run has is left
out for all of them, and each such step leaves a note that the report shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.formatting import join_words
from harness.records.record import BASE

MINIMUM_SHARE = 0.5
"""A run with a smaller share of the examples that most runs have is left out, not waited for."""


@dataclass(frozen=True)
class TaskScores:
    task: str
    scores: Mapping[str, np.ndarray]
    """Variant -> its scores [seeds, examples], without NaN; the same examples for every variant."""
    seeds: Mapping[str, tuple[int, ...]]
    """Variant -> the seeds behind the rows of its scores."""
    notes: tuple[str, ...]
    """What was left out, in sentences."""

    @property
    def example_count(self) -> int:
        return next((table.shape[1] for table in self.scores.values()), 0)


def pair_task(task: str, results: pd.DataFrame, examples: pd.DataFrame) -> TaskScores:
    """Line up the runs of one task; both tables as `analysis.results` loads them, of one study."""
    notes: list[str] = []
    runs = results[results["score"].notna() | results["metric"].notna()].set_index("run_id")
    runs = _keep_one_source(task, runs, notes)
    table = _lay_out(examples.loc[examples["run_id"].isin(runs.index), ["id", "run_id", "score"]])
    table = _drop_other_runs(task, table, runs, notes)
    table = _keep_common_seeds(task, table, runs, notes)
    kept = table.dropna()
    if len(kept) < len(table):
        notes.append(
            f"{task}: compared on the {len(kept)} of {len(table)} examples that all runs have"
        )
    by_variant, seeds = _group_by_variant(kept, runs)
    return TaskScores(task, by_variant, seeds, tuple(notes))


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
    share = _share_examples(table.notna().to_numpy(dtype=float))
    for run_id, own in zip(table.columns, share, strict=True):
        if own < MINIMUM_SHARE:
            notes.append(
                f"{task}: {_name(runs.loc[run_id])} has scores for {own:.0%} of the examples; not "
                "compared"
            )
    return table.loc[:, share >= MINIMUM_SHARE]


def _share_examples(present: np.ndarray) -> np.ndarray:
    """What share each run has of the examples of the run that is most like the others.

    `present` is 1 where a run has an example, else 0: [examples, runs]. Runs are alike where they
    have most of each other's examples; of equally many, the run with more examples counts.
    """
    common = present.T @ present
    counts = common.diagonal()
    if not counts.any():
        return np.zeros(len(counts))
    larger = np.maximum(counts[:, None], counts)
    alike = ((common >= MINIMUM_SHARE * larger) & (counts > 0)).sum(axis=1)
    typical = max(range(len(counts)), key=lambda run: (alike[run], counts[run]))
    share: np.ndarray = common[typical] / counts[typical]
    return share


def _keep_common_seeds(
    task: str, table: pd.DataFrame, runs: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """Keep the seeds that all variants share; where none is shared, each keeps its own."""
    seeds = runs.loc[table.columns, "seed"]
    names = runs.loc[table.columns, "variant"]
    trained = seeds[names != BASE].groupby(names).agg(set)
    if trained.empty:
        return table
    everywhere, anywhere = set.intersection(*trained), set.union(*trained)
    if everywhere == anywhere:
        return table
    if not everywhere:
        notes.append(f"{task}: the sets share no seed; each is averaged over the seeds it has")
        return table
    listed = ", ".join(str(seed) for seed in sorted(everywhere))
    notes.append(f"{task}: some sets lack a seed; compared on the common seeds: {listed}")
    return table.loc[:, seeds.isin(everywhere) | (names == BASE)]


def _group_by_variant(
    table: pd.DataFrame, runs: pd.DataFrame
) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]]]:
    scores: dict[str, np.ndarray] = {}
    seeds: dict[str, tuple[int, ...]] = {}
    chosen = runs.loc[table.columns].sort_values(["variant", "seed"])
    for variant, rows in chosen.groupby("variant") if len(table) else ():
        values = table[list(rows.index)].to_numpy(dtype=float).T
        # Repeats of the base measure the same frozen model: one mean, no seeds.
        scores[str(variant)] = values.mean(0, keepdims=True) if variant == BASE else values
        seeds[str(variant)] = (0,) if variant == BASE else tuple(int(s) for s in rows["seed"])
    return scores, seeds


def _name(run: pd.Series) -> str:
    return f"{run['variant']} (seed {run['seed']:.0f})"
