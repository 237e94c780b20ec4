"""How wide a difference of two mean scores is, and what of it comes of examples, what of seeds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy import stats

from harness.analysis.regret import TaskDraws
from harness.analysis.seed_noise import Component
from harness.records.record import BASE

NOTHING = 1e-12
"""Equal scores that were summed in another order still differ by nothing."""


@dataclass(frozen=True)
class Spread:
    """Of the difference of two sets' means over tasks."""

    of_examples: float
    """Its variance that comes of examples; it shrinks as their number grows."""
    of_seeds: float
    """Its variance that comes of seeds; NaN where they are too few to tell."""
    freedom: float
    """Degrees of freedom of the whole (Satterthwaite, Biometrics Bulletin 2:110, 1946)."""

    @property
    def error(self) -> float:
        """Standard error, of what is known."""
        return math.sqrt(self.of_examples + (0.0 if math.isnan(self.of_seeds) else self.of_seeds))

    @property
    def seed_share(self) -> float:
        """Share of the variance that comes of seeds."""
        whole = self.of_examples + self.of_seeds
        return self.of_seeds / whole if whole > 0 else math.nan

    def bound(self, difference: float, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided interval around an observed difference; NaN where nothing is known."""
        if not self.freedom > 0:
            return math.nan, math.nan
        width = float(stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return difference - width, difference + width

    def test(self, difference: float) -> float:
        """P value of a two-sided t test of an observed difference; NaN where nothing is known."""
        if not self.freedom > 0:
            return math.nan
        if self.error < NOTHING:
            return 1.0 if abs(difference) < NOTHING else 0.0
        return float(2 * stats.t.sf(abs(difference) / self.error, self.freedom))


def measure_spread(tasks: Sequence[TaskDraws], one: str, other: str) -> Spread:
    """Return the spread of `one` minus `other`, which all `tasks` have.

    Where `other` is the base, which no seed moves, what a seed does to every set counts as well.
    """
    of_examples = of_seeds = uncertainty = 0.0
    least = math.inf
    for each in tasks:
        scores, count = each.paired.scores, each.paired.example_count
        if count < 2:
            return Spread(math.nan, math.nan, math.nan)
        difference = scores[one].mean(axis=0) - scores[other].mean(axis=0)
        variance = float(difference.var(ddof=1)) / count
        of_examples += variance
        uncertainty += variance**2 / (count - 1)
        least = min(least, count - 1)
        for part, share in _list_components(each, one, other):
            of_seeds += part.variance * share
            if part.variance > 0:
                uncertainty += (part.variance * share) ** 2 / part.freedom
    whole = of_examples + (0.0 if math.isnan(of_seeds) else of_seeds)
    freedom = whole**2 / uncertainty if uncertainty > 0 else least
    size = len(tasks) ** 2
    return Spread(of_examples / size, of_seeds / size, freedom)


def _list_components(task: TaskDraws, one: str, other: str) -> Iterator[tuple[Component, float]]:
    """Yield what seeds do to the difference, and what share of its variance for one seed counts."""
    per_seed = {name: 1 / len(task.paired.seeds[name]) for name in (one, other) if name != BASE}
    yield task.noise.own, sum(per_seed.values())
    if len(per_seed) == 1:
        yield task.noise.shared, sum(per_seed.values())
