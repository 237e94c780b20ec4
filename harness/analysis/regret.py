"""How sure a mean over examples is: the paired bootstrap, regret, and the Pareto front.

Each resample draws examples with replacement, the same ones for every variant, and new seeds where
sets have several (analysis.seed_noise). Bounds are percentiles, and hold for new examples and new
seeds of a task, not for other tasks. The spread of the examples' draws is Student's t, not normal,
so that few examples make no interval too narrow (Hesterberg, The American Statistician 69:371,
2015). With one seed bounds say nothing of seed noise.

Regret is what picking a set would cost against the best set, in score: the best mean minus its own,
the best being taken anew inside each resample. It is 0 for the best, and never negative for a set.
"""

import math
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.pairing import TaskScores
from harness.analysis.seed_noise import SeedNoise, draw_seed_noise, estimate_seed_noise
from harness.records.record import BASE

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
    noise: SeedNoise
    """What seeds do to a set's mean."""

    @property
    def sets(self) -> list[str]:
        return [name for name in self.means if name != BASE]

    def regret(self, variant: str) -> Regret:
        """Return what `variant` gives up against the best set; the base is no set."""
        best_draws = np.max([self.draws[name] for name in self.sets], axis=0)
        return Regret(self.observe_regret(variant), best_draws - self.draws[variant])

    def observe_regret(self, variant: str) -> float:
        """Return the estimate alone."""
        return max(self.means[name] for name in self.sets) - self.means[variant]


def find_complete(tasks: Collection[TaskDraws]) -> list[str]:
    """Return the sets that all tasks have, by name; the base is no set."""
    names = {name for each in tasks for name in each.sets}
    return sorted(name for name in names if all(name in each.means for each in tasks))


def average_draws(tasks: Collection[TaskDraws], variant: str) -> np.ndarray:
    """Return the mean over tasks, all of which have `variant`, in each resample."""
    mean: np.ndarray = np.mean([each.draws[variant] for each in tasks], axis=0)
    return mean


def bound_regret(
    tasks: Sequence[TaskDraws], variant: str, confidence: float = 0.95
) -> tuple[float, float]:
    """Upper bounds of `variant`'s mean regret over `tasks`, and of its regret on the worst of them.

    Whichever set is truly best on a task, the upper bound of the paired difference to that very set
    is right in 95%; so the largest of these bounds over all sets is (the intersection-union
    principle: Berger, Technometrics 24:295, 1982). A percentile of the regrets' resamples would be
    far too wide: a maximum over noisy means lies above the true one. No bound is below its
    estimate. Both are NaN where any task has one example only, which allows no resampling.
    """
    losses = [_list_losses(each, variant) for each in tasks]
    # numpy's maximum keeps NaN; Python's drops it or keeps it, as the order of the tasks has it.
    worst = np.max([np.quantile(each, confidence, axis=1).max() for each in losses])
    if math.isnan(worst):
        return math.nan, math.nan
    means = [np.quantile(picked, confidence) for picked in _pick_rivals(losses, confidence)]
    observed = [each.observe_regret(variant) for each in tasks]
    mean_high = np.max([0.0, np.mean(observed), *means])
    return float(mean_high), float(np.max([0.0, *observed, worst]))


def _list_losses(task: TaskDraws, variant: str) -> np.ndarray:
    """Resamples of what `variant` lies below every set, itself among them: [sets, resamples]."""
    return np.array([task.draws[name] - task.draws[variant] for name in task.sets])


def _pick_rivals(losses: Sequence[np.ndarray], confidence: float) -> Iterator[np.ndarray]:
    """Yield the mean loss over tasks, [resamples], to the sets of which the bound may be largest.

    There are sets ** tasks ways to say which set is best where. A bound is about the mean plus k
    standard errors; whatever the way of the largest, it has on every task the set of the largest
    mean + c variance, for one c that is common to all tasks. So that c is searched.
    """
    middles = [np.median(each, axis=1) for each in losses]
    variances = [
        (np.quantile(each, confidence, axis=1) - middle) ** 2
        for each, middle in zip(losses, middles, strict=True)
    ]
    largest = math.sqrt(sum(float(each.max()) for each in variances)) or 1.0
    seen = set()
    for error in (math.inf, *(largest * np.geomspace(1, 0.01, 16))):
        picks = tuple(
            int(np.argmax(middle + variance / (2 * error)))
            for middle, variance in zip(middles, variances, strict=True)
        )
        if picks not in seen:
            seen.add(picks)
            yield np.mean([each[pick] for each, pick in zip(losses, picks, strict=True)], axis=0)


def draw_task(paired: TaskScores, resamples: int, seed: int) -> TaskDraws:
    """Return a task's mean scores, and their resamples."""
    means = {name: float(scores.mean()) for name, scores in paired.scores.items()}
    noise = estimate_seed_noise(paired)
    return TaskDraws(paired, means, _resample_means(paired, noise, resamples, seed), noise)


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
    losses = np.array([draws[name] - draws[variant] for name in rivals])
    return float(np.max([0.0, *np.quantile(losses, tail, axis=1)]))


def _resample_means(
    paired: TaskScores, noise: SeedNoise, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Return each variant's mean score in every resample; NaN where there is but one example."""
    count = paired.example_count
    if count < 2:
        return {name: np.full(resamples, math.nan) for name in paired.scores}
    # Seeded by the task's name, so that one more task changes no other's numbers.
    rng = np.random.default_rng([seed, zlib.crc32(paired.task.encode())])
    by_example = np.array([scores.mean(axis=0) for scores in paired.scores.values()])
    parts = []
    for start in range(0, resamples, CHUNK):
        parts.append(_draw_weights(rng, min(CHUNK, resamples - start), count) @ by_example.T)
    means = by_example.mean(axis=1)
    # A resample's variance is short by (n - 1) / n, and a normal's tails are too light.
    wider = np.sqrt(count / rng.chisquare(count - 1, resamples))
    deviations = (np.concatenate(parts) - means) * wider[:, None]
    seeds = draw_seed_noise(noise, paired, resamples, rng)
    return {
        name: means[index] + deviations[:, index] + seeds.get(name, 0.0)
        for index, name in enumerate(paired.scores)
    }


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
