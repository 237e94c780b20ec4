"""Pairs, ranks, the front and variances, against scipy and brute force."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analysis.comparison import Comparison
from harness.analysis.differences import Scores
from harness.analysis.pairing import TaskScores
from harness.analysis.ranking import (
    compare_pairs,
    find_front_probability,
    generalize_regret,
    rank_sets,
)
from harness.analysis.regret import find_chances
from harness.records.record import BASE


def arrange(tables: dict[str, np.ndarray], task: str = "fincot") -> TaskScores:
    """One task; a set that is given by one run has a second seed that changed nothing."""
    scores = {name: np.atleast_2d(values) for name, values in tables.items()}
    for name, table in scores.items():
        if len(table) == 1 and name != BASE:
            scores[name] = np.repeat(table, 2, axis=0)
    seeds = {name: tuple(range(len(table))) for name, table in scores.items()}
    count = next(iter(scores.values())).shape[1]
    return TaskScores(task, scores, seeds, np.arange(count))


def score(tables: dict[str, np.ndarray]) -> Scores:
    return Scores([arrange(tables)])


def compare_timed(overall: pd.DataFrame, scores: Scores) -> Comparison:
    """A comparison of variants with these ratios, which were never timed together."""
    return Comparison(
        model="tiny",
        tasks=tuple(scores.tasks),
        by_task=pd.DataFrame(),
        overall=overall,
        notes=(),
        uncounted={},
        seed_count=2,
        majority={},
        latency_doubts={},
        all_scores=scores,
        look=1,
    )


def find_reach(tables: dict[str, np.ndarray]) -> float:
    """Most that two variants differ on an example."""
    return float(np.ptp(list(tables.values()), axis=0).max())


def find_error(difference: np.ndarray, reach: float) -> float:
    """Standard error of a mean with one example more that is won, and one that is lost."""
    count = len(difference)
    return math.sqrt(count * difference.var(ddof=1) + 2 * reach**2) / (count + 2)


def test_a_pair_is_tested_as_by_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    one = rng.random(150)
    other = one + rng.normal(-0.03, 0.2, 150)
    tables = {"qkv": one, "all": other, "base": one + 1}
    (row,) = compare_pairs(score(tables)).to_dict("records")
    theirs = stats.ttest_rel(one, other)
    assert (row["better"], row["worse"]) == ("qkv", "all")
    assert row["difference"] == pytest.approx((one - other).mean())
    # The base, too, is a variant of which examples may be won or lost.
    error = find_error(one - other, find_reach(tables))
    assert row["p"] == pytest.approx(2 * stats.t.sf(row["difference"] / error, 149))
    interval = stats.t(149, row["difference"], error).interval(0.95)
    assert [row["low"], row["high"]] == pytest.approx(list(interval))
    assert row["p"] > theirs.pvalue
    assert row["seed_share"] == 0
    assert row["p_holm"] == row["p"]


def test_with_many_examples_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(4)
    one = rng.random(30_000)
    other = one + rng.normal(-0.003, 0.2, 30_000)
    (row,) = compare_pairs(score({"qkv": one, "all": other})).to_dict("records")
    theirs = stats.ttest_rel(one, other)
    assert 0.001 < theirs.pvalue < 0.1
    assert row["p"] == pytest.approx(theirs.pvalue, rel=0.02)
    interval = theirs.confidence_interval()
    assert [row["low"], row["high"]] == pytest.approx(list(interval), abs=1e-5)


def test_a_detectable_difference_is_found_in_four_of_five_studies() -> None:
    rng = np.random.default_rng(1)
    count, discordant = 400, 0.4
    error = math.sqrt(discordant / count)
    least = error * (stats.t.ppf(0.975, count - 1) + stats.t.ppf(0.8, count - 1))

    def draw_pair(gap: float) -> Scores:
        shares = [(discordant - gap) / 2, 1 - discordant, (discordant + gap) / 2]
        difference = rng.choice([-1.0, 0.0, 1.0], count, p=shares)
        return score({"qkv": (difference > 0) * 1.0, "all": (difference < 0) * 1.0})

    found = [compare_pairs(draw_pair(least))["p"][0] < 0.05 for _ in range(400)]
    assert compare_pairs(draw_pair(0.0))["detectable"][0] == pytest.approx(least, rel=0.1)
    assert 0.73 < np.mean(found) < 0.87


def test_equal_sets_are_seldom_told_apart_after_the_correction() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(200):
        difficulty = rng.normal(0.5, 0.2, 80)
        tables = {name: difficulty + rng.normal(0, 0.2, 80) for name in "abcde"}
        wrong += (compare_pairs(score(tables))["p_holm"] < 0.05).any()
    # 5% of 200 is 10; 18 is its 99% upper point.
    assert wrong <= 18


def test_sets_that_score_alike_are_no_claim() -> None:
    (row,) = compare_pairs(score({"qkv": np.full(9, 0.5), "all": np.full(9, 0.5)})).to_dict(
        "records"
    )
    assert (row["difference"], row["p"], row["p_holm"]) == (0, 1, 1)
    # Where no score differs from another, one that was never seen may still, by the whole of 1.
    error = find_error(np.zeros(9), 1.0)
    assert row["high"] == -row["low"] == pytest.approx(stats.t.ppf(0.975, 8) * error)
    known = (stats.t.ppf(0.975, 8) + stats.t.ppf(0.8, 8)) * error
    assert row["detectable"] == pytest.approx(known)


def test_one_example_makes_no_claim() -> None:
    pairs = compare_pairs(score({"qkv": np.array([1.0]), "all": np.array([0.0])}))
    assert pairs[["p", "p_holm", "detectable"]].isna().all(axis=None)


def test_ranks_are_averaged_over_tasks_and_ties_share() -> None:
    flat = {"a": 0.9, "b": 0.5, "c": 0.5}
    first = arrange({name: np.full(8, value) for name, value in flat.items()}, "one")
    flat = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.9}
    second = arrange({name: np.full(8, value) for name, value in flat.items()}, "two")
    ranks = rank_sets(Scores([first, second])).set_index("variant")["average_rank"]
    # On the second task d takes the first rank; it has no score on the first, so it has no place.
    assert ranks.to_dict() == {"a": (1 + 3) / 2, "b": (2.5 + 2) / 2, "c": (2.5 + 1) / 2}


def test_near_the_best_means_within_delta() -> None:
    best = np.full(2000, 0.8)
    scores = score({"best": best, "near": best - 0.0198, "far": best - 0.0202})
    assert find_chances(scores, 0.02) == {"best": 1.0, "far": 0.0, "near": 1.0}
    assert find_chances(Scores([]), 0.02) == {}


def test_the_chance_of_being_near_the_best_is_that_of_the_difference() -> None:
    rng = np.random.default_rng(6)
    one = rng.random(200)
    other = one + rng.normal(-0.02, 0.1, 200)
    scores = score({"qkv": one, "all": other})
    error = find_error(one - other, abs(one - other).max())
    difference = stats.t(199, (one - other).mean(), error)
    found = find_chances(scores, 0.02)
    assert found["qkv"] == pytest.approx(difference.sf(-0.02), abs=0.015)
    assert found["all"] == pytest.approx(difference.cdf(0.02), abs=0.015)
    best = find_chances(scores)
    assert best["qkv"] == pytest.approx(difference.sf(0), abs=0.015)
    assert sum(best.values()) == pytest.approx(1)


def test_seeds_alone_are_tested_as_by_the_paired_t_test_over_seeds() -> None:
    """Where examples agree, a pair of sets is a paired t test over its seeds."""
    one, other = np.array([0.5, 0.52, 0.57, 0.49]), np.array([0.46, 0.50, 0.52, 0.47])
    tables = {"qkv": np.outer(one, np.ones(3000)), "all": np.outer(other, np.ones(3000))}
    (row,) = compare_pairs(score(tables)).to_dict("records")
    theirs = stats.ttest_rel(one, other)
    assert row["p"] == pytest.approx(theirs.pvalue, rel=0.01)
    assert [row["low"], row["high"]] == pytest.approx(list(theirs.confidence_interval()), rel=0.01)
    assert row["seed_share"] == pytest.approx(1, abs=0.001)


def test_new_tasks_widen_the_bound_where_tasks_disagree() -> None:
    rng = np.random.default_rng(5)
    tasks = []
    for task, gap in (("one", 0.0), ("two", 0.0), ("three", 0.3)):
        shared = rng.normal(0.5, 0.1, 200)
        noise = rng.normal(0, 0.02, 200)
        tasks.append(arrange({"all": shared, "qkv": shared - gap + noise}, task))
    bounds = generalize_regret(Scores(tasks))
    # Two of three new tasks may well be like the third.
    assert bounds["qkv"] == pytest.approx(0.2, abs=0.02)
    assert bounds["all"] < 0.01
    assert all(map(math.isnan, generalize_regret(Scores(tasks[:1])).values()))
    assert generalize_regret(Scores([])) == {}


def test_the_front_is_as_likely_as_simulation_says() -> None:
    rng = np.random.default_rng(3)
    tables = {name: rng.normal(mean, 0.2, 100) for name, mean in (("a", 0.5), ("b", 0.51))}
    tables["base"] = rng.normal(0.2, 0.2, 100)
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
    found = find_front_probability(compare_timed(overall, score(tables)))
    assert math.isnan(found["untimed"])
    assert found["base"] == 1.0
    spread = (math.log(1.15) - math.log(1.05)) / 2 / 1.96
    gap = stats.norm(math.log(1.12 / 1.10), math.hypot(spread, spread))
    faster = gap.sf(0)
    difference = tables["a"] - tables["b"]
    error = find_error(difference, find_reach(tables))
    better = stats.t.cdf(difference.mean() / error, 99)
    # Off the front only where the other is both faster and better.
    assert found["a"] == pytest.approx(1 - (1 - faster) * (1 - better), abs=0.02)
    assert found["b"] == pytest.approx(1 - faster * better, abs=0.02)


def test_no_one_is_on_a_front_of_one() -> None:
    rng = np.random.default_rng(4)
    tables = {name: rng.normal(0.5, 0.2, 100) for name in ("a", "base")}
    columns = [f"end_to_end_ratio{bound}" for bound in ("", "_low", "_high")]
    rows = [(name, name, *[math.nan] * 3) for name in tables]
    overall = pd.DataFrame(rows, columns=["variant", "target_set", *columns])
    assert all(
        map(math.isnan, find_front_probability(compare_timed(overall, score(tables))).values())
    )
