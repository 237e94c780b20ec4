"""How much another seed would move a set's mean score on a task: estimated once for all its sets.

Two to five seeds say little of one set's own spread, so all sets of a task share two variances:
that of what a seed does to every set alike (its order of the data) and that of what it does to one
set. Both are of seeds beyond what the scored examples explain: a run's mean also varies because a
seed flips single examples, which new examples average out, and which the resampling of examples
counts already. Estimates are the classical ones of a two-way layout (Searle, Casella and McCulloch,
Variance Components, 1992, ch. 4).
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from harness.analysis.pairing import TaskScores
from harness.records.record import BASE


@dataclass(frozen=True)
class Component:
    """A variance of one seed's effect on a mean score."""

    observed: float
    """Variance of the runs' means."""
    explained: float
    """What of it comes of single examples, and of the other component."""
    freedom: float
    """Degrees of freedom of `variance`."""

    @property
    def variance(self) -> float:
        return float(np.maximum(0.0, self.observed - self.explained))  # NaN where unknown

    def draw(self, resamples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw standard deviations that the variance may have had, [resamples].

        With a normal of such a deviation, draws follow Student's t.
        """
        if not self.variance > 0:
            return np.zeros(resamples)
        possible = self.variance * self.freedom / rng.chisquare(self.freedom, resamples)
        deviations: np.ndarray = np.sqrt(possible)
        return deviations


@dataclass(frozen=True)
class SeedNoise:
    shared: Component
    """Of what all sets have in common at a seed; nothing where their seeds differ."""
    own: Component
    """Of what is a set's own."""


UNKNOWN = SeedNoise(Component(math.nan, math.nan, 0), Component(math.nan, math.nan, 0))
"""Of one seed: nothing says how much another would differ."""


def estimate_seed_noise(paired: TaskScores) -> SeedNoise:
    """Estimate what seeds do on a task; UNKNOWN where no set has two."""
    names = [name for name in paired.scores if name != BASE]
    tables = [paired.scores[name] for name in names if len(paired.seeds[name]) > 1]
    if not tables:
        return UNKNOWN
    # What remains of each run's scores when its set's mean of each example is taken off.
    rest = [table - table.mean(axis=0) for table in tables]
    if len({paired.seeds[name] for name in names}) > 1 or len(names) == 1:
        own = _estimate(np.concatenate(rest), sum(len(table) - 1 for table in rest))
        return SeedNoise(Component(0.0, 0.0, 0), own)
    stacked = np.stack(rest)
    common = stacked.mean(axis=0)
    freedom = len(common) - 1
    of_sets = (stacked - common).reshape(-1, stacked.shape[-1])
    own = _estimate(of_sets, freedom * (len(names) - 1))
    # The less is left of what was observed, the less is known of it. Without this intervals of
    # differences between sets cover too seldom (tests/test_seed_noise.py).
    left = own.variance / own.observed if own.observed > 0 else 1.0
    own = dataclasses.replace(own, freedom=max(1.0, own.freedom * left))
    # The mean over sets still holds a share of what is each set's own.
    shared = _estimate(common, freedom, own.variance / len(names))
    return SeedNoise(shared, own)


def _estimate(rest: np.ndarray, freedom: int, explained: float = 0.0) -> Component:
    """Variance between runs, and what of it single examples explain; `rest` is [runs, examples]."""
    count = rest.shape[1]
    means = rest.mean(axis=1, keepdims=True)
    flips = float(((rest - means) ** 2).sum()) / (freedom * max(count - 1, 1) * count)
    return Component(float((means**2).sum()) / freedom, flips + explained, freedom)


def draw_seed_noise(
    noise: SeedNoise, paired: TaskScores, resamples: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw what new seeds would do to each set's mean, [resamples] each; nothing for the base.

    Sets of a resample share their deviations, which are one estimate. Nothing is drawn where the
    noise is unknown.
    """
    if math.isnan(noise.own.observed):
        return {}
    names = [name for name in sorted(paired.scores) if name != BASE]
    common = noise.shared.draw(resamples, rng) * rng.standard_normal(resamples)
    own = noise.own.draw(resamples, rng) * rng.standard_normal((len(names), resamples))
    return {
        name: (common + own[index]) / math.sqrt(len(paired.seeds[name]))
        for index, name in enumerate(names)
    }
