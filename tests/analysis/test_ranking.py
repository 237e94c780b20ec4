"""Pairs, ranks, the front and variances, against scipy and brute force."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analysis.pairing import TaskScores
from harness.analysis.ranking import (
    compare_pairs,
    find_front_probability,
    find_near_best,
    generalize_regret,
    rank_sets,
)
from harness.analysis.regret import TaskDraws, draw_task


def draw(
    tables: dict[str, np.ndarray], task: str = "fincot", resamples: int = 2000
) -> dict[str, TaskDraws]:
    scores = {name: np.atleast_2d(values) for name, values in tables.items()}
    seeds = {name: tuple(range(len(table))) for name, table in scores.items()}
    paired = TaskScores(task, scores, seeds, ())
    return {task: draw_task(paired, resamples, 0)}


def test_a_pair_is_tested_as_by_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    one = rng.random(150)
    other = one + rng.normal(-0.03, 0.2, 150)
    drawn = draw({"qkv": one, "all": other, "base": one + 1})
    (row,) = compare_pairs(drawn).to_dict("records")
    theirs = stats.ttest_rel(one, other)
    assert (row["better"], row["worse"]) == ("qkv", "all")
    assert row["difference"] == pytest.approx((one - other).mean())
    assert row["p"] == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval()
    assert [row["low"], row["high"]] == pytest.approx(list(interval))
    assert math.isnan(row["seed_share"])
    assert row["p_holm"] == row["p"]


def test_a_detectable_difference_is_found_in_four_of_five_studies() -> None:
    rng = np.random.default_rng(1)
    noise, count = 0.3, 60
    first = draw({"qkv": rng.normal(0, noise, count), "all": np.zeros(count)})
    least = noise / math.sqrt(count) * (stats.t.ppf(0.975, count - 1) + stats.t.ppf(0.8, count - 1))
    found = []
    for _ in range(400):
        drawn = draw(
            {"qkv": rng.normal(least, noise, count), "all": np.zeros(count)}, resamples=300
        )
        found.append(compare_pairs(drawn)["p"][0] < 0.05)
    assert compare_pairs(first)["detectable"][0] == pytest.approx(least, rel=0.25)
    assert 0.73 < np.mean(found) < 0.87


def test_equal_sets_are_seldom_told_apart_after_the_correction() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(200):
        difficulty = rng.normal(0.5, 0.2, 80)
        tables = {name: difficulty + rng.normal(0, 0.2, 80) for name in "abcde"}
        wrong += (compare_pairs(draw(tables, resamples=400))["p_holm"] < 0.05).any()
    # 5% of 200 is 10; 18 is its 99% upper point.
    assert wrong <= 18


def test_sets_that_score_alike_are_no_claim() -> None:
    pairs = compare_pairs(draw({"qkv": np.full(9, 0.5), "all": np.full(9, 0.5)}))
    assert pairs[["difference", "p", "p_holm", "detectable"]].to_numpy().tolist() == [[0, 1, 1, 0]]


def test_one_example_makes_no_claim() -> None:
    pairs = compare_pairs(draw({"qkv": np.array([1.0]), "all": np.array([0.0])}))
    assert pairs[["p", "p_holm", "detectable"]].isna().all(axis=None)


def test_ranks_are_averaged_over_tasks_and_ties_share() -> None:
    flat = {"a": 0.9, "b": 0.5, "c": 0.5}
    first = draw({name: np.full(8, value) for name, value in flat.items()}, "one")
    flat = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.9}
    second = draw({name: np.full(8, value) for name, value in flat.items()}, "two")
    ranks = rank_sets(first | second).set_index("variant")["average_rank"]
    # On the second task d takes the first rank; it has no score on the first, so it has no place.
    assert ranks.to_dict() == {"a": (1 + 3) / 2, "b": (2.5 + 2) / 2, "c": (2.5 + 1) / 2}


def test_near_the_best_means_within_delta() -> None:
    best = np.full(10, 0.8)
    drawn = draw({"best": best, "near": best - 0.02, "far": best - 0.03})
    assert find_near_best(drawn, 0.02) == {"best": 1.0, "far": 0.0, "near": 1.0}
    assert find_near_best({}, 0.02) == {}


def test_seeds_alone_are_tested_as_by_the_paired_t_test_over_seeds() -> None:
    """Where examples agree, a pair of sets is a paired t test over its seeds."""
    one, other = np.array([0.5, 0.52, 0.57, 0.49]), np.array([0.46, 0.50, 0.52, 0.47])
    tables = {"qkv": np.outer(one, np.ones(30)), "all": np.outer(other, np.ones(30))}
    (row,) = compare_pairs(draw(tables)).to_dict("records")
    theirs = stats.ttest_rel(one, other)
    assert row["p"] == pytest.approx(theirs.pvalue)
    assert [row["low"], row["high"]] == pytest.approx(list(theirs.confidence_interval()))
    assert row["seed_share"] == pytest.approx(1)


def test_new_tasks_widen_the_bound_where_tasks_disagree() -> None:
    rng = np.random.default_rng(5)
    drawn: dict[str, TaskDraws] = {}
    for task, gap in (("one", 0.0), ("two", 0.0), ("three", 0.3)):
        shared = rng.normal(0.5, 0.1, 200)
        noise = rng.normal(0, 0.02, 200)
        drawn |= draw({"all": shared, "qkv": shared - gap + noise}, task)
    bounds = generalize_regret(drawn)
    # Two of three new tasks may well be like the third.
    assert bounds["qkv"] == pytest.approx(0.2, abs=0.02)
    assert bounds["all"] < 0.01
    assert all(map(math.isnan, generalize_regret({"one": drawn["one"]}).values()))
    assert generalize_regret({}) == {}


def test_the_front_is_as_likely_as_simulation_says() -> None:
    rng = np.random.default_rng(3)
    scores = {name: rng.normal(mean, 0.2, 100) for name, mean in (("a", 0.5), ("b", 0.51))}
    drawn = draw(scores | {"base": rng.normal(0.2, 0.2, 100)}, resamples=20_000)
    overall = pd.DataFrame(
        [
            ("a", "a", 1.10, 1.05, 1.15),
            ("b", "b", 1.12, 1.07, 1.17),
            ("base", "base", math.nan, math.nan, math.nan),
            ("untimed", "untimed", math.nan, math.nan, math.nan),
        ],
        columns=["variant", "target_set"]
        + [f"end_to_end_ratio{bound}" for bound in ("", "_low", "_high")],
    )
    found = find_front_probability(overall, drawn)
    assert math.isnan(found["untimed"])
    assert found["base"] == 1.0
    spread = (math.log(1.15) - math.log(1.05)) / 2 / 1.96
    gap = stats.norm(math.log(1.12 / 1.10), math.hypot(spread, spread))
    faster = gap.sf(0)
    better = (drawn["fincot"].draws["a"] > drawn["fincot"].draws["b"]).mean()
    # Off the front only where the other is both faster and better.
    assert found["a"] == pytest.approx(1 - (1 - faster) * (1 - better), abs=0.02)
    assert found["b"] == pytest.approx(1 - faster * better, abs=0.02)
