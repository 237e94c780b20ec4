"""What seeds do, against planted variances; intervals against planted means."""

import math

import numpy as np
import pytest

from harness.analysis.pairing import TaskScores
from harness.analysis.regret import draw_task
from harness.analysis.seed_noise import UNKNOWN, estimate_seed_noise
from harness.analysis.spread import measure_spread
from harness.records.record import BASE

SETS = ("qkv", "o_proj", "o_proj+fc2", "all")


def plant(
    rng: np.random.Generator,
    *,
    shared: float = 0.0,
    own: float = 0.0,
    flip: float = 0.0,
    seeds: int = 3,
    examples: int = 100,
    sets: tuple[str, ...] = SETS,
) -> TaskScores:
    """Scores of true mean 0 with these standard deviations, of examples 0.3 beside."""
    difficulty = rng.normal(0, 0.3, examples)
    common = rng.normal(0, shared, (seeds, 1))
    scores = {
        name: difficulty
        + common
        + rng.normal(0, own, (seeds, 1))
        + rng.normal(0, flip, (seeds, examples))
        for name in sets
    }
    scores[BASE] = difficulty[None]
    numbers = {name: tuple(range(len(table))) for name, table in scores.items()}
    return TaskScores("fincot", scores, numbers, ())


def test_planted_variances_are_found() -> None:
    rng = np.random.default_rng(0)
    found = [
        estimate_seed_noise(plant(rng, shared=0.05, own=0.03, flip=0.2, seeds=5))
        for _ in range(400)
    ]
    own = np.mean([each.own.observed - each.own.explained for each in found])
    shared = np.mean([each.shared.observed - each.shared.explained for each in found])
    assert own == pytest.approx(0.03**2, rel=0.1)
    assert shared == pytest.approx(0.05**2, rel=0.1)
    assert found[0].shared.freedom == 4


def test_flips_of_single_examples_are_not_counted_twice() -> None:
    """Without any noise of seeds, intervals are those of examples alone, not half as wide again."""
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(200):
        paired = plant(rng, flip=0.3)
        spread = measure_spread([draw_task(paired, 2, 0)], "qkv", "all")
        ratios.append(spread.of_seeds / spread.of_examples)
    # Both would be equal, and the sum twice too large, if the flips counted as seeds.
    assert np.median(ratios) < 0.2


def test_one_seed_leaves_the_noise_unknown() -> None:
    paired = plant(np.random.default_rng(2), own=0.1, seeds=1)
    assert estimate_seed_noise(paired) == UNKNOWN
    spread = measure_spread([draw_task(paired, 10, 0)], "qkv", "all")
    assert math.isnan(spread.of_seeds)
    assert spread.error > 0


def test_seeds_that_differ_between_sets_have_nothing_in_common() -> None:
    paired = plant(np.random.default_rng(3), shared=0.3, own=0.05, seeds=3)
    seeds = dict(paired.seeds) | {"all": (7, 8, 9)}
    noise = estimate_seed_noise(TaskScores("fincot", paired.scores, seeds, ()))
    assert (noise.shared.variance, noise.own.freedom) == (0.0, 8)
    assert noise.own.variance > estimate_seed_noise(paired).own.variance


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
    for number in range(count):
        paired = plant(rng, shared=0.02, own=own, flip=flip, seeds=seeds)
        draws = draw_task(paired, 400, number).draws
        low, high = np.quantile(draws["qkv"] - draws["all"], [0.025, 0.975])
        hits += low <= 0 <= high
    # 99.9% of such counts lie above; variances cut off at zero err to the wide side.
    assert low_share <= hits / count <= high_share
