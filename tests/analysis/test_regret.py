"""The bootstrap against scipy's, regret and Pareto front against brute force."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from harness.analysis.pairing import TaskScores
from harness.analysis.regret import bound_loss, bound_regret, draw_task, find_front


def make_scores(task: str = "fincot", **scores: np.ndarray) -> TaskScores:
    tables = {name: np.atleast_2d(values) for name, values in scores.items()}
    seeds = {name: tuple(range(len(table))) for name, table in tables.items()}
    return TaskScores(task, tables, seeds, ())


@pytest.mark.parametrize("kind", ["binary", "continuous", "skewed"])
def test_intervals_agree_with_scipy(kind: str) -> None:
    rng = np.random.default_rng(3)
    one = {
        "binary": rng.integers(0, 2, 120).astype(float),
        "continuous": rng.random(120),
        "skewed": rng.random(120) ** 6,
    }[kind]
    two = np.clip(one + rng.normal(0.05, 0.2, 120), 0, 1)
    draws = draw_task(make_scores(base=one, qkv=two), 20_000, 0).draws
    for ours, data, statistic in (
        (draws["qkv"], (two,), np.mean),
        (draws["qkv"] - draws["base"], (two, one), lambda a, b, axis: (a - b).mean(axis)),
    ):
        theirs = stats.bootstrap(
            data,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=20_000,
            method="percentile",
            rng=np.random.default_rng(1),
        )
        interval = theirs.confidence_interval
        np.testing.assert_allclose(
            np.quantile(ours, [0.025, 0.975]), [interval.low, interval.high], atol=0.003
        )
        assert ours.std() == pytest.approx(theirs.standard_error, rel=0.03)


def test_the_same_examples_are_drawn_for_every_variant() -> None:
    values = np.random.default_rng(0).random(50)
    draws = draw_task(make_scores(base=values, qkv=values + 0.25), 300, 0).draws
    np.testing.assert_allclose(draws["qkv"] - draws["base"], 0.25)


def test_the_same_input_gives_the_same_draws_whatever_other_variants() -> None:
    one, two = np.random.default_rng(0).random((2, 50))
    alone = draw_task(make_scores(qkv=one), 300, 7).draws["qkv"]
    beside = draw_task(make_scores(all=two, qkv=one), 300, 7).draws["qkv"]
    np.testing.assert_allclose(alone, beside)
    assert not np.allclose(alone, draw_task(make_scores(qkv=one), 300, 8).draws["qkv"])


def test_seeds_are_drawn_as_students_t_says() -> None:
    examples = np.full(200, 0.5)
    moved = np.array([-0.1, 0.02, 0.1, 0.03])
    draws = draw_task(make_scores(qkv=examples + moved[:, None]), 40_000, 0).draws["qkv"]
    # Examples do not vary, so all spread is of seeds: the t interval of a mean of four.
    theirs = stats.ttest_1samp(0.5 + moved, 0).confidence_interval()
    assert np.quantile(draws, [0.025, 0.975]) == pytest.approx(theirs, abs=0.004)


def test_few_examples_get_students_wider_tails() -> None:
    values = np.random.default_rng(4).normal(0.5, 0.1, 8)
    draws = draw_task(make_scores(qkv=values), 40_000, 0).draws["qkv"]
    theirs = stats.ttest_1samp(values, 0).confidence_interval()
    width = np.ptp(np.quantile(draws, [0.025, 0.975]))
    # A percentile bootstrap alone is a fifth too narrow here.
    assert width == pytest.approx(theirs.high - theirs.low, rel=0.06)


def test_one_example_allows_no_interval() -> None:
    draws = draw_task(make_scores(qkv=np.array([0.4])), 10, 0).draws["qkv"]
    assert np.isnan(draws).all()


def test_equal_scores_have_no_spread() -> None:
    draws = draw_task(make_scores(qkv=np.full(30, 0.7)), 50, 0).draws["qkv"]
    np.testing.assert_allclose(draws, 0.7)


def test_chunks_do_not_show() -> None:
    values = np.random.default_rng(0).random(40)
    draws = draw_task(make_scores(qkv=values), 1000, 0).draws["qkv"]
    assert len(np.unique(draws.round(12))) > 950


def test_regret_takes_the_best_inside_each_resample() -> None:
    rng = np.random.default_rng(5)
    draws = draw_task(
        make_scores(base=rng.random(40), qkv=rng.random(40), all=rng.random(40)), 500, 0
    )
    best = np.maximum(draws.draws["qkv"], draws.draws["all"])
    for name in ("qkv", "all", "base"):
        regret = draws.regret(name)
        expected = max(draws.means["qkv"], draws.means["all"]) - draws.means[name]
        assert regret.observed == pytest.approx(expected)
        np.testing.assert_allclose(regret.draws, best - draws.draws[name])
    assert min(draws.regret(name).draws.min() for name in draws.sets) >= 0


def test_the_front_agrees_with_brute_force() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        costs = rng.integers(0, 4, 8).astype(float)
        values = rng.integers(0, 4, 8).astype(float)
        costs[rng.random(8) < 0.1] = math.nan
        expected = []
        for i in range(8):
            beaten = any(
                costs[j] <= costs[i]
                and values[j] >= values[i]
                and (costs[j] < costs[i] or values[j] > values[i])
                for j in range(8)
            )
            expected.append(not beaten and not math.isnan(costs[i]))
        assert find_front(costs, values).tolist() == expected


def test_no_points_have_no_front() -> None:
    assert find_front([], []).tolist() == []


@pytest.mark.parametrize("count", [12, 60])
def test_equal_sets_are_seldom_said_to_lose(count: int) -> None:
    """Five sets of the same true mean: the lower bound of a loss is above 0 in at most 5%.

    (A percentile of the resampled regret is above 0 in nearly all: a maximum over noise.)
    """
    rng = np.random.default_rng(7)
    false_losses, trials = 0, 200
    for _ in range(trials):
        difficulty = rng.normal(0.5, 0.2, count)
        scores = {name: difficulty + rng.normal(0, 0.2, count) for name in "abcde"}
        drawn = draw_task(make_scores(**scores), 1000, 0)
        false_losses += bound_loss(drawn.draws, "a") > 0
    # 5% of 200 is 10; 18 is its 99% upper point, and few examples bring narrow percentiles.
    assert false_losses <= 18


@pytest.mark.parametrize("names", ["ab", "abcdef"])
def test_regret_is_seldom_above_its_bound_and_the_bound_is_no_wider_than_needed(names: str) -> None:
    """Sets of the same true mean: the hardest case, where any of them may seem the best."""
    rng = np.random.default_rng(11)
    gaps = dict.fromkeys(names, 0.0) | {"a": 0.05}
    missed, trials = 0, 300
    for _ in range(trials):
        tasks = []
        for task in ("one", "two", "three"):
            difficulty = rng.normal(0.5, 0.2, 60)
            scores = {name: difficulty - gap + rng.normal(0, 0.2, 60) for name, gap in gaps.items()}
            tasks.append(draw_task(make_scores(task, **scores), 400, 0))
        mean, worst = bound_regret(tasks, "a")
        missed += mean < 0.05 or worst < 0.05
        assert mean <= worst + 1e-12
    # 5% of 300 is 15; 24 is its 99% upper point.
    assert missed <= 24
    if names == "ab":
        assert missed >= 6


def test_the_bound_of_mean_regret_agrees_with_all_ways_to_name_the_best() -> None:
    rng = np.random.default_rng(12)
    for _ in range(20):
        tasks = []
        for task in ("one", "two", "three"):
            difficulty = rng.normal(0.5, 0.2, 40)
            scores = {
                name: difficulty + rng.normal(rng.normal(0, 0.05), rng.uniform(0.05, 0.4), 40)
                for name in "abcd"
            }
            tasks.append(draw_task(make_scores(task, **scores), 800, 0))
        ways = [
            np.quantile(
                np.mean(
                    [
                        each.draws[rival] - each.draws["a"]
                        for each, rival in zip(tasks, way, strict=True)
                    ],
                    axis=0,
                ),
                0.95,
            )
            for way in itertools.product("abcd", repeat=3)
        ]
        assert bound_regret(tasks, "a")[0] == pytest.approx(max(0, *ways), rel=0.02)


def test_a_real_loss_is_bounded_from_below() -> None:
    rng = np.random.default_rng(8)
    best = rng.normal(0.7, 0.1, 200)
    scores = {"a": best, "b": best - 0.2 + rng.normal(0, 0.05, 200), "base": best + 0.3}
    draws = draw_task(make_scores(**scores), 500, 0).draws
    assert 0.18 < bound_loss(draws, "b") < 0.2
    assert bound_loss(draws, "a") == 0
    assert bound_loss(draws, "b", tests=50) < bound_loss(draws, "b")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_task_of_one_example_leaves_both_bounds_unknown_wherever_it_stands(place: int) -> None:
    rng = np.random.default_rng(9)
    many = rng.normal(0.5, 0.1, 100)
    tasks = [draw_task(make_scores(task, a=many, b=many), 200, 0) for task in ("one", "two")]
    tasks.insert(place, draw_task(make_scores("few", a=[0.2], b=[0.9]), 200, 0))
    assert np.isnan(bound_regret(tasks, "a")).all()
    assert np.isnan(bound_regret(tasks, "b")).all()


def test_no_bound_is_below_its_estimate() -> None:
    """Where scores do not vary, draws differ from the observed means by their rounding alone."""
    rng = np.random.default_rng(10)
    for count in (2, 3, 7, 49):
        a, b, c = rng.random(3)
        flat = draw_task(
            make_scores(
                "flat", **{n: np.full(count, v) for n, v in zip("abc", (a, b, c), strict=True)}
            ),
            50,
            0,
        )
        rough = draw_task(make_scores("rough", **{n: rng.random(count) ** 8 for n in "abc"}), 50, 0)
        for tasks in ([flat], [rough], [flat, rough]):
            for name in "abc":
                observed = [each.regret(name).observed for each in tasks]
                mean, worst = bound_regret(tasks, name)
                assert mean >= np.mean(observed)
                assert worst >= max(observed)
