"""Lining runs up: scores by example against a plain loop, in whatever order and type they come."""

import math
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest

from harness.analysis.pairing import pair_task
from harness.records.record import BASE

RUNS = {"b": BASE, "z": "qkv", "a": "qkv", "m": "all", "k": "all"}
"""Run id -> variant; the ids' order is not that of seeds."""


def make_results() -> pd.DataFrame:
    seeds = {"b": 0, "z": 0, "a": 1, "m": 0, "k": 1}
    facts = dict.fromkeys(("metric", "scoring", "source", "dataset", "split"), "same")
    rows = [
        {"run_id": run, "variant": name, "seed": seeds[run], "score": 0.5, "data_seed": 0, **facts}
        for run, name in RUNS.items()
    ]
    return pd.DataFrame(rows)


def make_examples(seed: int = 0) -> pd.DataFrame:
    """Rows in no order, of ids that a run repeats or lacks, of scores that are none."""
    rng = np.random.default_rng(seed)
    rows = [
        {"id": f"e{index}", "run_id": run, "score": rng.random()}
        for run in RUNS
        for index in range(40)
        for _ in range(1 + (index % 7 == 0))
        if rng.random() > 0.05
    ]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)
    frame.loc[[3, 50], "score"] = math.nan
    frame.loc[[7, 90], "score"] = [math.inf, -math.inf]
    return frame


def average(examples: pd.DataFrame) -> dict[str, list[float]]:
    """Run -> its mean score of each example that all runs have, in the order of ids."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for name, run, score in examples[["id", "run_id", "score"]].itertuples(index=False):
        if math.isfinite(score):
            found[run, name].append(score)
    ids = sorted({name for _, name in found if all((run, name) in found for run in RUNS)})
    return {run: [float(np.mean(found[run, name])) for name in ids] for run in RUNS}


def test_scores_are_those_of_a_plain_loop() -> None:
    examples = make_examples()
    paired = pair_task("t", make_results(), examples)
    expected = average(examples)
    count = len(expected["b"])
    assert 10 < count < 40
    assert paired.example_count == count
    assert paired.notes == (f"t: compared on the {count} of 40 examples that all runs have",)
    assert paired.seeds == {"all": (0, 1), BASE: (0,), "qkv": (0, 1)}
    for variant, runs in (("all", "mk"), (BASE, "b"), ("qkv", "za")):
        rows = [expected[run] for run in runs]
        np.testing.assert_allclose(paired.scores[variant], rows, rtol=1e-14)


@pytest.mark.parametrize("change", ["reversed", "categories", "further rows and columns"])
def test_only_what_the_scores_are_counts(change: str) -> None:
    examples = make_examples(1)
    before = pair_task("t", make_results(), examples)
    if change == "reversed":
        examples = examples.drop_duplicates(["id", "run_id"])
        before = pair_task("t", make_results(), examples)
        examples = examples.iloc[::-1]
    elif change == "categories":
        # Other runs' categories stay behind where a table is cut down to a task.
        kind = pd.CategoricalDtype(["other", *sorted(RUNS, reverse=True)])
        examples = examples.astype({"run_id": kind, "id": "category"})
    else:
        strange = {"id": ["e0", "x"], "run_id": ["other", "other"], "score": [0.0, 1.0]}
        examples = pd.concat([examples.assign(prediction="B"), pd.DataFrame(strange)])
    after = pair_task("t", make_results(), examples)
    assert (after.seeds, after.notes) == (before.seeds, before.notes)
    for variant, scores in before.scores.items():
        np.testing.assert_array_equal(after.scores[variant], scores)


def test_runs_without_any_score_leave_nothing_to_pair() -> None:
    paired = pair_task("t", make_results(), make_examples().iloc[:0])
    assert (paired.scores, paired.example_count) == ({}, 0)
    assert len(paired.notes) == len(RUNS)
