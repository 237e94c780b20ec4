"""The examples that one variant wins and loses against another, with both outputs.

    count_wins(comparison, "o_proj+fc2", "base")                     # one row a task
    find_examples(study, results, comparison, "o_proj+fc2", "base")  # where they differ most

An example's score is its mean over all seeds of a variant, as in every comparison of two
(analysis.differences). Texts are most of a study's bytes: only those that are shown are kept.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.comparison import Comparison
from harness.analysis.pairing import TaskScores
from harness.errors import UserError
from harness.formatting import join_words
from harness.records.files import read_table
from harness.records.record import BASE

WIN_COLUMNS = ("task", "won", "lost", "tied", "difference", "p")
EXAMPLE_COLUMNS = (
    *("task", "id", "difference", "score_one", "score_other"),
    *("prediction_one", "prediction_other", "reference"),
)

DIGITS = 12
"""Equal scores that were averaged in another order are a tie."""

Pairs = Sequence[tuple[int, int]]
"""Seeds of the runs that are compared: of the one variant, of the other."""

Runs = Mapping[int, Mapping[str, str]]
"""Seed -> run of one variant on one task, as a row of the results."""


def count_wins(comparison: Comparison, one: str, other: str) -> pd.DataFrame:
    """Count the examples that `one` wins, loses and ties against `other`, one row per shared task.

    `difference` is the mean score of `one` minus that of `other`. `p` is the p value of the exact
    two-sided sign test without ties: the probability of a split at least as uneven if wins and
    losses were equally likely. It covers these runs, not other seeds. Raises UserError if the
    comparison has no such variant.
    """
    rows = []
    for paired in _list_shared_tasks(comparison, one, other):
        own, others = (
            pd.DataFrame(paired.scores[name].T, columns=list(paired.seeds[name])).dropna()
            for name in (one, other)
        )
        pairs = _pair_seeds(one, other, own, others)
        difference = _compare(own, others, pairs)["difference"]
        won, lost = int((difference > 0).sum()), int((difference < 0).sum())
        tied = len(difference) - won - lost
        p = float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0
        rows.append((paired.task, won, lost, tied, float(difference.mean()), p))
    return pd.DataFrame(rows, columns=list(WIN_COLUMNS))


def find_examples(
    study: Path,
    results: pd.DataFrame,
    comparison: Comparison,
    one: str,
    other: str,
    limit: int = 3,
) -> pd.DataFrame:
    """Return the `limit` largest wins and the `limit` largest losses of `one`, by task.

    `study` is the study's folder and `results` are its rows of `harness.load_results`. Rows are
    sorted by task, then wins from the largest, then losses from the largest, ties by id. With
    several seeds, the predictions are those of the seed whose difference is closest to the mean, of
    one that both have where there is any.
    Examples count if both variants have them, even if a third does not. A run whose file cannot be
    read is left out with a warning. Raises UserError if the comparison has no such variant.
    """
    tables = []
    for paired in _list_shared_tasks(comparison, one, other):
        rows = results[(results["model"] == comparison.model) & (results["task"] == paired.task)]
        own, others = (_find_runs(rows, paired, name) for name in (one, other))
        scores, other_scores = (_read_scores(study, runs) for runs in (own, others))
        pairs = _pair_seeds(one, other, scores, other_scores)
        if pairs:
            chosen = _choose_extremes(_compare(scores, other_scores, pairs), limit)
            tables.append(_add_texts(study, chosen, own, others, pairs).assign(task=paired.task))
    joined = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return joined.reindex(columns=list(EXAMPLE_COLUMNS))


def _list_shared_tasks(comparison: Comparison, one: str, other: str) -> Iterator[TaskScores]:
    known = sorted(comparison.overall["variant"])
    for name in (one, other):
        if name not in known:
            raise UserError(f"variant is {name!r}; this study has {join_words(known)}")
    for each in comparison.all_scores.tasks.values():
        if one in each.scores and other in each.scores:
            yield each


def _pair_seeds(one: str, other: str, own: pd.DataFrame, others: pd.DataFrame) -> Pairs:
    """Pair runs of the same seed; each with each where there is none, or one is the base."""
    shared = [(seed, seed) for seed in own if seed in others]
    if shared and BASE not in (one, other):
        return shared
    return list(product(own, others))


def _compare(own: pd.DataFrame, others: pd.DataFrame, pairs: Pairs) -> pd.DataFrame:
    """Return one row an example that all runs of both have, ordered by id.

    `own` and `others` are scores [examples, seeds]. Columns: id, difference, score_one,
    score_other, and `pair`, the place in `pairs` of the difference nearest to that of the means.
    """
    one, other = own.dropna(), others.dropna()
    ids = one.index.intersection(other.index).sort_values()
    one, other = one.loc[ids], other.loc[ids]
    means = one.to_numpy().mean(axis=1), other.to_numpy().mean(axis=1)
    mean = (means[0] - means[1]).round(DIGITS)
    left, right = one[[seed for seed, _ in pairs]], other[[seed for _, seed in pairs]]
    differences = (left.to_numpy() - right.to_numpy()).round(DIGITS)
    columns = {
        "id": ids,
        "difference": mean,
        "score_one": means[0],
        "score_other": means[1],
        "pair": np.abs(differences - mean[:, None]).round(DIGITS).argmin(axis=1),
    }
    return pd.DataFrame(columns)


def _choose_extremes(table: pd.DataFrame, limit: int) -> pd.DataFrame:
    falling = table.sort_values("difference", ascending=False, kind="stable")
    rising = table.sort_values("difference", kind="stable")
    won = falling[falling["difference"] > 0].head(limit)
    lost = rising[rising["difference"] < 0].head(limit)
    return pd.concat([won, lost], ignore_index=True)


def _find_runs(rows: pd.DataFrame, paired: TaskScores, variant: str) -> Runs:
    """The runs of a variant that were compared."""
    own = rows[(rows["variant"] == variant) & rows["metric"].notna()]
    if variant != BASE:  # the base's runs stand for one frozen model, whatever their seeds
        own = own[own["seed"].isin(paired.seeds[variant])]
    own = own.sort_values(["seed", "run_id"])
    return {int(run["seed"]): run for run in own.to_dict("records")}


def _read_scores(study: Path, runs: Runs) -> pd.DataFrame:
    """Scores [examples, seeds] of the runs that can be read, by example id."""
    columns = {}
    for seed, run in runs.items():
        metric = run["metric"]
        table = _read_examples(study, run, ["id", metric])
        if len(table):
            scores = pd.to_numeric(table[metric], errors="coerce")
            columns[seed] = scores.groupby(table["id"].astype(str)).mean()
    return pd.DataFrame(columns)


def _add_texts(
    study: Path, chosen: pd.DataFrame, own: Runs, others: Runs, pairs: Pairs
) -> pd.DataFrame:
    texts = []
    for place, rows in chosen.groupby("pair"):
        seed, other_seed = pairs[place]
        one = _read_texts(study, own[seed], rows["id"])
        other = _read_texts(study, others[other_seed], rows["id"])
        columns = {
            "prediction_one": one["prediction"].array,
            "prediction_other": other["prediction"].array,
            "reference": one["reference"].array,
        }
        texts.append(pd.DataFrame(columns, index=rows.index))
    return chosen.join(pd.concat(texts)) if texts else chosen


def _read_texts(study: Path, run: Mapping[str, str], ids: pd.Series) -> pd.DataFrame:
    table = _read_examples(study, run, ["id", "prediction", "reference"])
    table = table.assign(id=table["id"].astype(str))
    return table[table["id"].isin(ids)].drop_duplicates("id").set_index("id").reindex(ids)


def _read_examples(study: Path, run: Mapping[str, str], columns: list[str]) -> pd.DataFrame:
    """Some columns of a run's examples; where that fails, an empty frame and a warning."""
    path = Path(study) / "runs" / run["run_id"] / "examples.parquet"
    try:
        return read_table(path, columns, others=())
    except UserError as error:
        warnings.warn(str(error), stacklevel=2)
        return pd.DataFrame(columns=columns)
