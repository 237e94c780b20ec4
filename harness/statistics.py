"""How sure a mean over examples is: the paired bootstrap, regret, and the Pareto front.

Each resample draws examples with replacement, the same ones for every variant, and seeds too where
a variant has several (examples crossed with seeds: Owen and Eckles, Annals of Applied Statistics
6:895, 2012); bounds are percentiles. So an interval speaks of new examples and new seeds of a task,
not of other tasks. With one seed it says nothing of seed noise; with two or three it understates
it; and under about 30 examples it is too narrow.

Regret is what picking a set would cost against the best set, in score: the best mean minus its own,
the best being taken anew inside each resample. It is 0 for the best, and never negative for a set.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.pairing import TaskScores
from harness.records import BASE

CHUNK = 256
"""Resamples worked on at a time; bounds memory at 20 MB for 10,000 examples."""


@dataclass(frozen=True)
class Regret:
    observed: float
    draws: np.ndarray
    """Regret in each resample."""


@dataclass(frozen=True)
class TaskDraws:
    paired: TaskScores
    means: Mapping[str, float]
    """Variant -> observed mean score."""
    draws: Mapping[str, np.ndarray]
    """Variant -> mean score in each resample; NaN where one example allows no resampling."""

    @property
    def sets(self) -> list[str]:
        return [name for name in self.means if name != BASE]

    def regret(self, variant: str) -> Regret:
        """Return what `variant` gives up against the best set; the base is no set."""
        best = max(self.means[name] for name in self.sets)
        best_draws = np.max([self.draws[name] for name in self.sets], axis=0)
        return Regret(best - self.means[variant], best_draws - self.draws[variant])


def bound_loss(
    draws: Mapping[str, np.ndarray], variant: str, confidence: float = 0.95, tests: int = 1
) -> float:
    """Lower bound of what `variant` gives up against the best of the sets in `draws`.

    The largest, over rivals, of the lower bound of the paired difference, at a level divided by the
    number of rivals and by `tests` (Bonferroni). A percentile of the regret's own resamples would
    not do: a maximum over noisy means lies above the true one in nearly all of them. 0 where no
    rival is surely better; NaN where one example allows no resampling.
    """
    rivals = [name for name in draws if name not in (variant, BASE)]
    if not rivals:
        return 0.0
    tail = (1 - confidence) / len(rivals) / tests
    losses = [np.quantile(draws[name] - draws[variant], tail) for name in rivals]
    return float(np.max([0.0, *losses]))


def resample_means(paired: TaskScores, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Return each variant's mean score in every resample; NaN where there is but one example."""
    count = paired.example_count
    if count < 2:
        return {name: np.full(resamples, math.nan) for name in paired.scores}
    # Seeded by the task's name, so that one more task changes no other's numbers.
    rng = np.random.default_rng([seed, zlib.crc32(paired.task.encode())])
    stacked = np.concatenate(list(paired.scores.values()))
    parts = []
    for start in range(0, resamples, CHUNK):
        parts.append(_draw_weights(rng, min(CHUNK, resamples - start), count) @ stacked.T)
    by_run = np.concatenate(parts)
    # Variants with the same seeds share the draw of seeds: they saw the same data order.
    weights = {
        seeds: _draw_weights(rng, resamples, len(seeds))
        for seeds in sorted(set(paired.seeds.values()))
    }
    draws, start = {}, 0
    for name, seeds in paired.seeds.items():
        own = by_run[:, start : start + len(seeds)]
        draws[name] = (own * weights[seeds]).sum(axis=1)
        start += len(seeds)
    return draws


def find_front(costs: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """Mark the points that no other beats: none costs less at no less value, or the reverse."""
    cost, value = np.asarray(costs, float), np.asarray(values, float)
    known = np.isfinite(cost) & np.isfinite(value)
    no_worse = (cost[:, None] <= cost) & (value[:, None] >= value)
    better = (cost[:, None] < cost) | (value[:, None] > value)
    marks: np.ndarray = known & ~(no_worse & better & known[:, None]).any(axis=0)
    return marks


def _draw_weights(rng: np.random.Generator, resamples: int, count: int) -> np.ndarray:
    """Share of each of `count` items in each resample of size `count`: [resamples, count]."""
    picks = rng.integers(0, count, (resamples, count))
    picks += np.arange(resamples)[:, None] * count
    counts: np.ndarray = np.bincount(picks.ravel(), minlength=resamples * count)
    return counts.reshape(resamples, count) / count
