"""How far mean scores lie apart, and how certain that is: the one engine of uncertainty.

    scores = Scores(tasks)
    scores.compare("o_proj", "base").bound()      # 95% interval of the gain
    scores.draw()["o_proj"]                       # what its mean score may be

Every interval, test and chance of a comparison comes from here. Two variants are compared on what
both have: tasks, examples and seeds. The variance of a difference of means has two parts, whose
degrees of freedom are put together by Satterthwaite's rule (Biometrics Bulletin 2:110, 1946).

Examples: paired differences over independent clusters of examples, such as the questions about one
document (Miller, arXiv:2411.00640, 2024). Two pseudo-examples are added, one won and one lost by as
much as any two variants differ on an example of the task: what a pair never did may happen (Bonett
and Price, Journal of Educational and Behavioral Statistics 37:479, 2012).

Seeds: `analysis.seed_noise`.
"""

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy import stats

from harness.analysis.inference import find_root
from harness.analysis.pairing import TaskScores
from harness.analysis.seed_noise import SeedNoise, estimate_seed_noise
from harness.records.record import BASE

DRAWS = 10_000
NOTHING = 1e-12
"""Equal scores that were summed in another order still differ by nothing."""


@dataclass(frozen=True)
class Estimate:
    """A mean score, or a difference of two, in score units."""

    value: float
    of_examples: float
    """Its variance that comes of examples; it shrinks as their number grows."""
    of_seeds: float
    """Its variance that comes of seeds."""
    freedom: float
    """Degrees of freedom of the whole; NaN where one example says nothing."""
    examples: int
    """Over all tasks."""
    limit: float = math.inf
    """Most that it can be, either way: 1 where all scores are shares."""

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(self.of_examples + self.of_seeds)

    @property
    def seed_share(self) -> float:
        """Share of the variance that comes of seeds."""
        whole = self.of_examples + self.of_seeds
        return self.of_seeds / whole if whole > 0 else math.nan

    def reach(self, tail: float, least_freedom: float = 0.0) -> float:
        """How far a bound that leaves `tail` beyond it lies from the value."""
        if not self.freedom > 0:
            return math.nan
        return float(stats.t.isf(tail, max(self.freedom, least_freedom))) * self.error

    def bound(self, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided interval, of what is possible; NaN where one example says nothing."""
        reach = self.reach((1 - confidence) / 2)
        low, high = np.clip([self.value - reach, self.value + reach], -self.limit, self.limit)
        return float(low), float(high)

    def test(self) -> float:
        """P value of the two-sided t test of no difference; NaN where one example says nothing."""
        if not self.freedom > 0:
            return math.nan
        return float(2 * stats.t.sf(abs(self.value) / max(self.error, NOTHING), self.freedom))

    def bound_share(self, confidence: float = 0.95) -> tuple[float, float]:
        """Interval of a mean of scores in [0, 1], which stays inside.

        Wilson's score interval (JASA 22:209, 1927) at the number of examples of which a share of
        0 or 1 scores would have this variance (Franco et al., Journal of Survey Statistics and
        Methodology 7:334, 2019); at the examples themselves where all are alike.
        """
        if not 0 <= self.value <= 1 or not self.freedom > 0:
            return self.bound(confidence)
        spread = self.value * (1 - self.value)
        variance = self.of_examples + self.of_seeds
        count = spread / variance if min(variance, spread) > NOTHING else self.examples
        wide = float(stats.t.ppf((1 + confidence) / 2, self.freedom)) ** 2 / count
        center = (self.value + wide / 2) / (1 + wide)
        reach = math.sqrt(wide * spread + wide**2 / 4) / (1 + wide)
        return max(0.0, center - reach), min(1.0, center + reach)


class Scores:
    """The scores of a study's tasks."""

    def __init__(self, tasks: Iterable[TaskScores]) -> None:
        self.tasks = {task.task: task for task in tasks}
        self._noise: dict[tuple[str, ...], SeedNoise] = {}
        self._known: dict[tuple[str, str | None, tuple[str, ...]], Estimate] = {}
        self._tails: dict[float, dict[str, float]] = {}
        self._parts: dict[tuple[str, ...], Scores] = {}

    def restrict(self, tasks: Iterable[str]) -> "Scores":
        """Return the scores of some of the tasks."""
        wanted = set(tasks)
        names = tuple(name for name in self.tasks if name in wanted)
        if names not in self._parts:
            self._parts[names] = Scores(self.tasks[name] for name in names)
        return self._parts[names]

    @cached_property
    def names(self) -> list[str]:
        """All variants, by name."""
        return sorted({name for task in self.tasks.values() for name in task.scores})

    @cached_property
    def complete(self) -> list[str]:
        """The variants that every task has, by name."""
        return [n for n in self.names if all(n in task.scores for task in self.tasks.values())]

    @cached_property
    def is_one_seed(self) -> bool:
        """Whether no set has two seeds, so that seed noise is an assumption."""
        return all(
            len(own) < 2
            for task in self.tasks.values()
            for name, own in task.seeds.items()
            if name != BASE
        )

    def measure(self, variant: str) -> Estimate | None:
        """Return the mean score over the tasks that a variant has; None where it has none."""
        return self._estimate(variant, None)

    def compare(self, one: str, other: str) -> Estimate | None:
        """Return `one` minus `other` over the tasks that both have; None where there is none."""
        return self._estimate(one, other)

    def _estimate(self, one: str, other: str | None) -> Estimate | None:
        needed = {one} if other is None else {one, other}
        having = tuple(name for name, task in self.tasks.items() if needed <= task.scores.keys())
        tasks = [self.tasks[name] for name in having]
        if not tasks or not all(_count_examples(task, needed) for task in tasks):
            return None
        if (one, other, having) not in self._known:
            self._known[one, other, having] = self._combine(tasks, having, one, other)
        return self._known[one, other, having]

    def _combine(
        self, tasks: Sequence[TaskScores], names: tuple[str, ...], one: str, other: str | None
    ) -> Estimate:
        if names not in self._noise:
            self._noise[names] = estimate_seed_noise(tasks)
        parts = [_average(task, one, other) for task in tasks]
        size = len(parts)
        of_examples = sum(each.variance for each in parts) / size**2
        uncertainty = sum((each.variance / size**2) ** 2 / each.freedom for each in parts)
        seeds = self._noise[names].list_parts(one, other)
        of_seeds = sum(part.variance for part in seeds)
        uncertainty += sum(part.error**2 for part in seeds)
        whole = of_examples + of_seeds
        least = min(each.freedom for each in parts)
        freedom = whole**2 / uncertainty if uncertainty > 0 else least
        if math.isnan(of_examples):
            freedom = math.nan
        return Estimate(
            value=float(np.mean([each.mean for each in parts])),
            of_examples=of_examples,
            of_seeds=of_seeds,
            freedom=freedom,
            examples=sum(each.examples for each in parts),
            limit=1.0 if all(task.is_share for task in tasks) else math.inf,
        )

    def seeds_of(self, *variants: str) -> list[tuple[int, ...]]:
        """Return the seeds of some variants on each task that has them; the base has none."""
        return [
            task.seeds[name]
            for task in self.tasks.values()
            for name in variants
            if name in task.seeds and name != BASE
        ]

    def draw(self) -> dict[str, np.ndarray]:
        """Draw what the mean scores of the complete variants may be, jointly, [DRAWS] each.

        Multivariate t draws about the means, with the variances of all pairs. NaN where one
        example says nothing. The same scores give the same draws.
        """
        return {
            name: self._demand(name).value + own * self._wider
            for name, own in zip(self.complete, self._noise_draws, strict=True)
        }

    @cached_property
    def usual_freedom(self) -> float:
        """Median degrees of freedom of the complete variants' means and their differences."""
        singles = [self._demand(name).freedom for name in self.complete]
        pairs = [self._demand(*pair).freedom for pair in combinations(self.complete, 2)]
        return float(np.median([*singles, *pairs])) if singles else math.nan

    def find_tails(self, level: float) -> dict[str, float]:
        """Return what each one-sided bound against a complete variant may leave beyond it.

        If that variant is the best, the bounds of what all others lose against it, each with this
        tail, hold together with the error `level` (Dunnett, Journal of the American Statistical
        Association 50:1096, 1955, for any covariance). Bounds with it have the degrees of freedom
        of their pair, or `usual_freedom` where that is more. Between Bonferroni's tail and
        `level`; NaN where unknown.
        """
        if level not in self._tails:
            self._tails[level] = {
                best: self._find_tail(place, level) for place, best in enumerate(self.complete)
            }
        return self._tails[level]

    def _find_tail(self, place: int, level: float) -> float:
        freedom = self.usual_freedom
        others = np.delete(self.complete, place)
        if not len(others) or math.isnan(freedom):
            return math.nan if len(others) else level
        errors = [self._demand(self.complete[place], name).error for name in others]
        lower = np.delete(self._noise_draws, place, axis=0)
        beyond = (self._noise_draws[place] - lower) / np.maximum(errors, NOTHING)[:, None]
        largest = beyond.max(axis=0) * self._wider
        tail = stats.t.sf(np.quantile(largest, 1 - level), freedom)
        return float(np.clip(tail, level / len(others), level))

    @cached_property
    def _noise_draws(self) -> np.ndarray:
        """Normal draws of the complete variants' means about 0: [names, DRAWS]."""
        names = self.complete
        single = [self._demand(name) for name in names]
        between = np.zeros((len(names), len(names)))
        for i, j in combinations(range(len(names)), 2):
            between[i, j] = between[j, i] = self._demand(names[i], names[j]).error ** 2
        variances = np.array([each.error**2 for each in single])
        if not (np.isfinite(variances).all() and np.isfinite(between).all()):
            return np.full((len(names), DRAWS), math.nan)
        root = find_root((variances[:, None] + variances - between) / 2)
        noise: np.ndarray = root @ self._rng("normal").standard_normal((len(names), DRAWS))
        return noise

    @cached_property
    def _wider(self) -> np.ndarray:
        """What makes t draws of normal ones: [DRAWS]."""
        freedom = self.usual_freedom
        if not freedom > 0:
            return np.full(DRAWS, math.nan)
        return np.sqrt(freedom / self._rng("wider").chisquare(freedom, DRAWS))

    def _rng(self, use: str) -> np.random.Generator:
        # Seeded by the tasks' names, so that one more task changes no other's draws.
        return np.random.default_rng(zlib.crc32("\n".join([use, *self.tasks]).encode()))

    def _demand(self, one: str, other: str | None = None) -> Estimate:
        found = self._estimate(one, other)
        assert found is not None
        return found


@dataclass(frozen=True)
class _Average:
    """A mean over a task's examples."""

    mean: float
    variance: float
    freedom: float
    examples: int


def _count_examples(task: TaskScores, names: Iterable[str]) -> int:
    return int(np.logical_and.reduce([task.has_example(name) for name in names]).sum())


def _average(task: TaskScores, one: str, other: str | None) -> _Average:
    """Mean over examples, and its variance, of a variant's scores or of a paired difference."""
    used = task.has_example(one)
    values = task.example_means(one)
    if other is not None:
        used = used & task.has_example(other)
        values = values - task.example_means(other)
    values = values[used]
    mean, count = float(values.mean()), len(values)
    _, cluster = np.unique(task.clusters[used], return_inverse=True)
    sums = np.bincount(cluster, values - mean)
    freedom = len(sums) - 1
    if freedom < 1:
        return _Average(mean, math.nan, math.nan, count)
    scatter = float((sums**2).sum()) * len(sums) / freedom
    if other is not None:
        # Pseudo-examples come in clusters, too.
        size = count / len(sums)
        scatter += 2 * (size * task.largest_difference) ** 2
        return _Average(mean, scatter / (count + 2 * size) ** 2, freedom, count)
    return _Average(mean, scatter / count**2, freedom, count)


def find_front(costs: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """Mark the points that no other beats: none costs less at no less value, or the reverse."""
    cost, value = np.asarray(costs, float), np.asarray(values, float)
    known = np.isfinite(cost) & np.isfinite(value)
    no_worse = (cost[:, None] <= cost) & (value[:, None] >= value)
    better = (cost[:, None] < cost) | (value[:, None] > value)
    marks: np.ndarray = known & ~(no_worse & better & known[:, None]).any(axis=0)
    return marks
