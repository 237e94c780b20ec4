"""What seeds do, against planted variances; intervals against planted means."""

import math

import numpy as np
import pytest

from harness.analysis.differences import Estimate, Scores
from harness.analysis.pairing import TaskScores
from harness.analysis.seed_noise import (
    ASSUMED_DEVIATION,
    estimate_seed_noise,
    find_prior_freedom,
)
from harness.records.record import BASE

SETS = ("qkv", "o_proj", "o_proj+fc2", "all")


def plant(
    rng: np.random.Generator,
    *,
    task: str = "fincot",
    shared: float = 0.0,
    own: float = 0.0,
    flip: float = 0.0,
    seeds: int = 3,
    examples: int = 100,
    sets: tuple[str, ...] = SETS,
    effects: np.ndarray | None = None,
) -> TaskScores:
    """Scores of true mean 0 with these standard deviations, of examples 0.3 beside.

    `effects` [sets, seeds] are what seeds do to sets; drawn where not given.
    """
    difficulty = rng.normal(0, 0.3, examples)
    common = rng.normal(0, shared, (seeds, 1))
    effects = rng.normal(size=(len(sets), seeds)) if effects is None else effects
    scores = {
        name: difficulty + common + own * effect[:, None] + rng.normal(0, flip, (seeds, examples))
        for name, effect in zip(sets, effects, strict=True)
    }
    scores[BASE] = difficulty[None]
    numbers = {name: tuple(range(len(table))) for name, table in scores.items()}
    return TaskScores(task, scores, numbers, np.arange(examples))


def compare(*tasks: TaskScores) -> Estimate:
    found = Scores(tasks).compare("qkv", "all")
    assert found is not None
    return found


def test_planted_variances_are_found() -> None:
    rng = np.random.default_rng(0)
    found = [
        estimate_seed_noise([plant(rng, shared=0.05, own=0.03, flip=0.2, seeds=5)])
        for _ in range(400)
    ]
    own = np.mean([each.own["qkv"].variance for each in found])
    shared = np.mean([each.shared.variance for each in found])
    assert own == pytest.approx(0.03**2, rel=0.1)
    assert shared == pytest.approx(0.05**2, rel=0.1)


def test_flips_of_single_examples_are_not_counted_twice() -> None:
    """Without any noise of seeds, intervals are those of examples alone, not half as wide again."""
    rng = np.random.default_rng(1)
    spreads = [compare(plant(rng, flip=0.3)) for _ in range(200)]
    # Both would be equal, and the sum twice too large, if the flips counted as seeds.
    assert np.median([each.of_seeds / each.of_examples for each in spreads]) < 0.2


def test_one_seed_is_given_an_assumed_noise() -> None:
    paired = plant(np.random.default_rng(2), own=0.1, seeds=1)
    assert Scores([paired]).is_one_seed
    spread = compare(paired)
    assert spread.of_seeds == pytest.approx(2 * ASSUMED_DEVIATION**2)
    # As little as two degrees of freedom each are known of it.
    assert spread.freedom < 4.1 * (spread.error**2 / spread.of_seeds) ** 2


def test_a_set_with_one_seed_is_given_the_noise_of_the_others() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        paired = plant(rng, own=0.05, seeds=5, sets=(*SETS, "v"))
        scores = dict(paired.scores) | {"v": paired.scores["v"][:1]}
        seeds = dict(paired.seeds) | {"v": (0,)}
        task = TaskScores("fincot", scores, seeds, paired.clusters)
        assert not Scores([task]).is_one_seed
        found.append(estimate_seed_noise([task]).own["v"].variance)
    assert np.mean(found) == pytest.approx(0.05**2, rel=0.15)


def test_what_a_seed_does_to_all_sets_cancels_only_where_both_have_it() -> None:
    paired = plant(np.random.default_rng(3), shared=0.3, seeds=3)
    same = compare(paired)
    seeds = dict(paired.seeds) | {"all": (7, 8, 9)}
    other = compare(TaskScores("fincot", paired.scores, seeds, paired.clusters))
    assert same.of_seeds < 1e-3
    assert other.of_seeds > 10 * same.of_seeds


def test_tasks_add_what_they_tell_unless_a_seed_does_the_same_on_all() -> None:
    """Four tasks whose seeds are alike say no more of seeds than one does."""
    rng = np.random.default_rng(5)
    ratios: dict[bool, list[float]] = {True: [], False: []}
    freedoms: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(60):
        effects = rng.normal(size=(len(SETS), 3))
        for is_alike in (True, False):
            tasks = [
                plant(rng, task=f"t{n}", own=0.05, effects=effects if is_alike else None)
                for n in range(4)
            ]
            own = estimate_seed_noise(tasks).own["qkv"]
            ratios[is_alike].append(own.variance / 0.05**2)
            freedoms[is_alike].append((own.variance / own.error) ** 2)
    assert np.mean(ratios[True]) == pytest.approx(1.0, abs=0.25)
    assert np.mean(ratios[False]) == pytest.approx(0.25, abs=0.06)
    assert np.median(freedoms[True]) <= 6 < 15 < np.median(freedoms[False])


def test_a_set_that_moves_more_than_the_others_is_seen_to() -> None:
    rng = np.random.default_rng(6)
    found = []
    for _ in range(200):
        effects = rng.normal(size=(len(SETS), 5))
        effects[0] *= 6
        own = estimate_seed_noise([plant(rng, own=0.02, seeds=5, effects=effects)]).own
        found.append((own["qkv"].variance, own["all"].variance))
    noisy, quiet = np.median(found, axis=0)
    # The pooled variance is (36 + 3) / 4 times the quiet sets'.
    pooled = 39 / 4 * 0.02**2
    assert noisy > 1.5 * pooled
    assert quiet < 0.75 * pooled


@pytest.mark.parametrize("prior", [3.0, 10.0])
def test_the_worth_of_the_pooled_variance_is_found(prior: float) -> None:
    """Smyth's model: true variances are scaled inverse chi squares."""
    rng = np.random.default_rng(7)
    true = prior / rng.chisquare(prior, 4000)
    seen = true * rng.chisquare(4, 4000) / 4
    assert find_prior_freedom(seen, np.full(4000, 4)) == pytest.approx(prior, rel=0.15)
    equal = rng.chisquare(4, 4000) / 4
    assert find_prior_freedom(equal, np.full(4000, 4)) > 100
    assert math.isinf(find_prior_freedom(np.array([1.0]), np.array([4])))


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("own", "flip"), [(0.03, 0.0), (0.0, 0.3), (0.02, 0.2)])
@pytest.mark.parametrize(
    ("count", "low_share", "high_share"),
    [(100, 0.88, 0.999), pytest.param(400, 0.91, 0.993, marks=pytest.mark.slow)],
)
def test_intervals_cover_new_seeds_and_new_examples(
    seeds: int, own: float, flip: float, count: int, low_share: float, high_share: float
) -> None:
    rng = np.random.default_rng(seeds)
    hits = 0
    for _ in range(count):
        paired = plant(rng, shared=0.02, own=own, flip=flip, seeds=seeds)
        low, high = compare(paired).bound()
        hits += low <= 0 <= high
    # 99.9% of such counts lie above; variances cut off at zero err to the wide side.
    assert low_share <= hits / count <= high_share
