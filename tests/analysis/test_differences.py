"""The engine of uncertainty against scipy, textbook formulas, tables and brute force."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from harness.analysis.differences import Scores, find_front
from harness.analysis.pairing import TaskScores
from harness.records.record import BASE


def make_task(task: str = "fincot", **scores: np.ndarray) -> TaskScores:
    """One example a cluster; rows of `scores` are seeds."""
    tables = {name: np.atleast_2d(values).astype(float) for name, values in scores.items()}
    seeds = {name: tuple(range(len(table))) for name, table in tables.items()}
    return TaskScores(task, tables, seeds, np.arange(next(iter(tables.values())).shape[1]))


def twice(values: np.ndarray) -> np.ndarray:
    """Two seeds that answer alike, so that seeds add nothing."""
    return np.array([values, values])


@pytest.mark.parametrize("kind", ["binary", "continuous", "skewed"])
def test_a_paired_difference_is_tested_as_scipy_does(kind: str) -> None:
    rng = np.random.default_rng(3)
    one = {
        "binary": rng.integers(0, 2, 800).astype(float),
        "continuous": rng.random(800),
        "skewed": rng.random(800) ** 6,
    }[kind]
    two = rng.permuted(np.where(rng.random(800) < 0.1, one[::-1], one))
    found = Scores([make_task(base=one, q=twice(two), k=twice(one))]).compare("q", BASE)
    theirs = stats.ttest_rel(two, one)
    assert found is not None
    assert found.value == pytest.approx((two - one).mean())
    assert found.test() == pytest.approx(theirs.pvalue, abs=0.01)
    assert found.bound() == pytest.approx(tuple(theirs.confidence_interval()), abs=0.001)


@pytest.mark.parametrize(("won", "lost", "count"), [(0, 0, 40), (3, 0, 60), (9, 4, 100)])
def test_few_discordant_pairs_are_bounded_as_bonett_and_price_say(
    won: int, lost: int, count: int
) -> None:
    other = np.zeros(count)
    one = other.copy()
    one[:won] = 1.0
    other[won : won + lost] = 1.0
    found = Scores([make_task(base=other, q=twice(one))]).compare("q", BASE)
    p12, p21 = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    variance = (p12 + p21 - (p12 - p21) ** 2) / (count + 2)
    assert found is not None
    assert found.error == pytest.approx(math.sqrt(variance), rel=0.03)


@pytest.mark.parametrize(("right", "count"), [(0, 32), (1, 40), (30, 60), (97, 100), (50, 50)])
def test_shares_have_wilsons_interval(right: int, count: int) -> None:
    values = np.zeros(count)
    values[:right] = 1.0
    found = Scores([make_task(base=values)]).measure(BASE)
    theirs = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert found is not None
    assert found.bound_share() == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_graded_scores_are_known_better_than_shares() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.05, 200)
    found = Scores([make_task(base=values)]).measure(BASE)
    theirs = stats.ttest_1samp(values, 0).confidence_interval()
    assert found is not None
    assert found.bound_share() == pytest.approx((theirs.low, theirs.high), abs=0.0005)


def test_a_mean_over_tasks_has_the_mean_of_independent_errors() -> None:
    rng = np.random.default_rng(1)
    tasks = [
        make_task(name, base=rng.random(count), q=twice(rng.random(count)))
        for name, count in (("a", 50), ("b", 5000))
    ]
    whole = Scores(tasks).compare("q", BASE)
    parts = [Scores([task]).compare("q", BASE) for task in tasks]
    assert whole is not None
    known = [each for each in parts if each is not None]
    assert whole.value == pytest.approx(np.mean([each.value for each in known]))
    assert whole.error == pytest.approx(math.hypot(*(each.error for each in known)) / 2)
    # The small task makes nearly all of the variance, and so of the degrees of freedom.
    assert 45 < whole.freedom < 60


def test_one_example_says_nothing() -> None:
    scores = Scores([make_task(base=np.array([0.4]), q=twice(np.array([0.6])))])
    found = scores.compare("q", BASE)
    assert found is not None
    assert found.value == pytest.approx(0.2)
    assert np.isnan([*found.bound(), found.test(), *scores.find_tails(0.05).values()]).all()
    assert all(np.isnan(draws).all() for draws in scores.draw().values())


def test_draws_have_the_spread_of_every_pair_and_change_with_no_other_task() -> None:
    rng = np.random.default_rng(2)
    difficulty = rng.random(300)
    tables = {
        name: np.clip(difficulty + rng.normal(0, 0.2, (3, 300)), 0, 1) for name in ("q", "k", "v")
    }
    task = make_task("one", base=difficulty, **tables)
    scores = Scores([task])
    draws = scores.draw()
    for one, other in itertools.combinations(scores.complete, 2):
        found = scores.compare(one, other)
        assert found is not None
        difference = draws[one] - draws[other]
        assert difference.mean() == pytest.approx(found.value, abs=0.05 * found.error)
        low, high = np.quantile(difference, [0.025, 0.975])
        assert high - low == pytest.approx(2 * found.reach(0.025), rel=0.1)
    both = Scores([task, make_task("two", base=difficulty, **tables)])
    np.testing.assert_array_equal(both.restrict(["one"]).draw()["q"], draws["q"])


@pytest.mark.parametrize(("sets", "table"), [(2, 1.645), (3, 1.92), (5, 2.16), (10, 2.42)])
def test_critical_values_are_dunnetts(sets: int, table: float) -> None:
    """One-sided, 5%, many degrees of freedom, correlation 0.5 (Dunnett 1955, table 1)."""
    rng = np.random.default_rng(4)
    values = {f"s{number}": twice(rng.random(4000)) for number in range(sets)}
    tails = Scores([make_task(**values)]).find_tails(0.05)
    critical = stats.norm.isf(list(tails.values()))
    assert np.mean(critical) == pytest.approx(table, abs=0.04)


def test_a_set_with_fewer_seeds_does_not_widen_the_bounds_of_the_others() -> None:
    """What a seed does to all sets alike is badly known, but cancels where both have the seed."""
    rng = np.random.default_rng(7)
    reaches = []
    for seeds in ((3, 3, 3, 3), (3, 3, 1, 3)):
        tasks = []
        for name in ("one", "two"):
            difficulty, shared = rng.normal(0, 0.3, 400), rng.normal(0, 0.05, (3, 1))
            moved = difficulty + shared + rng.normal(0, 0.004, (4, 3, 1))
            own = moved + rng.normal(0, 0.05, (4, 3, 400))
            sets = {n: each[:k] for n, each, k in zip("abcd", own, seeds, strict=True)}
            tasks.append(make_task(name, base=difficulty - 0.3, **sets))
        scores = Scores(tasks)
        pair = scores.compare("b", "a")
        assert pair is not None
        # In standard errors, a t value of the pair's own degrees of freedom: between that of one
        # comparison and Bonferroni's of four.
        reach = pair.reach(scores.find_tails(0.04)["a"]) / pair.error
        assert stats.t.isf(0.04, pair.freedom) < reach <= stats.t.isf(0.01, pair.freedom)
        assert pair.freedom > 6
        reaches.append(reach)
    assert reaches[1] == pytest.approx(reaches[0], rel=0.2)


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
