"""Lining runs up: scores by example against a plain loop, in whatever order and type they come."""

import math
from collections import defaultdict
from itertools import combinations

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
    """Run -> its mean score of each example that any run has, in the order of ids; NaN for none."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for name, run, score in examples[["id", "run_id", "score"]].itertuples(index=False):
        if math.isfinite(score):
            found[run, name].append(score)
    ids = sorted({name for _, name in found})
    return {run: [float(np.mean(found.get((run, n), math.nan))) for n in ids] for run in RUNS}


def test_scores_are_those_of_a_plain_loop() -> None:
    examples = make_examples()
    paired = pair_task("t", make_results(), examples)
    expected = average(examples)
    lacking = sum(any(math.isnan(expected[run][place]) for run in RUNS) for place in range(40))
    assert 10 < lacking < 40
    assert paired.example_count == len(expected["b"]) == 40
    assert paired.notes == (
        f"t: {lacking} of 40 examples lack a score in some run; each pair of sets is compared on "
        "the examples that both have",
    )
    assert paired.seeds == {"all": (0, 1), BASE: (0,), "qkv": (0, 1)}
    assert len(set(paired.clusters)) == 40
    by_variant = {}
    for variant, runs in (("all", "mk"), (BASE, "b"), ("qkv", "za")):
        rows = [expected[run] for run in runs]
        np.testing.assert_allclose(paired.scores[variant], rows, rtol=1e-14)
        both = [not any(map(math.isnan, column)) for column in zip(*rows, strict=True)]
        assert paired.has_example(variant).tolist() == both
        means = [sum(column) / len(column) for column in zip(*rows, strict=True)]
        np.testing.assert_allclose(paired.example_means(variant), means, rtol=1e-14)
        by_variant[variant] = means
        own = [mean for mean in means if not math.isnan(mean)]
        assert paired.mean(variant) == pytest.approx(sum(own) / len(own))
    apart = [
        abs(one - two)
        for left, right in combinations(by_variant.values(), 2)
        for one, two in zip(left, right, strict=True)
    ]
    assert paired.largest_difference == pytest.approx(
        max(each for each in apart if not math.isnan(each))
    )


@pytest.mark.parametrize("has_categories", [False, True])
def test_examples_of_one_cluster_share_a_number_and_others_have_their_own(
    has_categories: bool,
) -> None:
    """Twelve examples of three documents, whatever rows name them; the rest name none."""
    examples = make_examples(2)
    number = examples["id"].str[1:].astype(int)
    named = ("document " + (number % 3).astype(str)).where(number < 12)
    first = ~examples.duplicated("id")
    for cluster in (named, named.where(first)):
        table = examples.assign(cluster=cluster.astype("category") if has_categories else cluster)
        paired = pair_task("t", make_results(), table)
        by_id = dict(zip(sorted(set(examples["id"])), paired.clusters, strict=True))
        for one, two in combinations(sorted(by_id), 2):
            places = int(one[1:]), int(two[1:])
            alike = max(places) < 12 and places[0] % 3 == places[1] % 3
            assert bool(by_id[one] == by_id[two]) is alike


def test_a_run_with_less_than_half_of_the_examples_is_left_out_and_named() -> None:
    examples = make_examples(3).dropna()
    number = examples["id"].str[1:].astype(int)
    few = examples[(examples["run_id"] != "k") | (number < 15)]
    paired = pair_task("t", make_results(), few)
    assert paired.seeds["all"] == (0,)
    assert any(note.startswith("t: all (seed 1) has scores for 3") for note in paired.notes)
    most = examples[(examples["run_id"] != "k") | (number < 25)]
    assert pair_task("t", make_results(), most).seeds["all"] == (0, 1)


def test_a_set_whose_runs_share_no_example_is_left_out_and_named() -> None:
    """Either run has half of the examples, so that neither is left out for itself."""
    numbers = {run: range(40) for run in RUNS} | {"m": range(20), "k": range(20, 40)}
    rows = [
        {"id": f"e{number}", "run_id": run, "score": number / 40}
        for run, own in numbers.items()
        for number in own
    ]
    paired = pair_task("t", make_results(), pd.DataFrame(rows))
    assert set(paired.scores) == {BASE, "qkv"}
    assert any("all" in note.split() for note in paired.notes)


def test_repeats_of_the_base_are_one_run() -> None:
    results, examples = make_results(), make_examples(4).dropna()
    again = results[results["variant"] == BASE].assign(run_id="c", seed=1)
    rows = examples[examples["run_id"] == "b"]
    more = pd.concat([examples, rows.assign(run_id="c", score=rows["score"] + 1)])
    paired = pair_task("t", pd.concat([results, again]), more)
    once = pair_task("t", results, examples)
    assert paired.seeds[BASE] == once.seeds[BASE] == (0,)
    np.testing.assert_allclose(paired.scores[BASE], once.scores[BASE] + 0.5)


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
