"""How much another seed would move a set's mean score over some tasks.

A seed is a block: what it does to a set may be alike on all tasks. Where that shows, variances are
those of means over the tasks; else each task tells of them by itself. They have two parts, by the
classical estimates of a two-way layout (Searle, Casella and McCulloch, Variance Components, 1992,
ch. 4): what a seed does to every set alike, such as by the order of its data, and what is a set's
own. Two to five seeds say little of one set's own variance, so it is shrunk to the sets' pooled one
(Smyth, Statistical Applications in Genetics and Molecular Biology 3:3, 2004). Both are of seeds
beyond what the scored examples explain: a run's mean also varies because a seed flips single
examples, which the variance over examples counts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from harness.analysis.pairing import TaskScores
from harness.records.record import BASE

ASSUMED_DEVIATION = 0.01
"""Standard deviation of a set's own mean score from seed to seed, where no set has two seeds."""
ASSUMED_FREEDOM = 2.0
"""Degrees of freedom of that assumption: little is known."""


ALIKE_LEVEL = 0.1
"""P value of the F test below which what a seed does is taken to be alike on several tasks."""


@dataclass(frozen=True)
class Component:
    """A variance of one seed's effect on a mean score."""

    variance: float
    error: float
    """Of its estimate: what was observed, before anything was taken off, over the root of its
    degrees of freedom. A variance of 0 may have one."""


NOTHING = Component(0.0, 0.0)


@dataclass(frozen=True)
class SeedNoise:
    shared: Component
    """Of what all sets have in common at a seed."""
    own: Mapping[str, Component]
    """Of what is a set's own, by set."""
    seeds: Mapping[str, tuple[int, ...]]
    """The seeds of each set that all tasks have."""

    def list_parts(self, one: str, other: str | None = None) -> list[Component]:
        """Return the components of a set's mean, or of the difference of two; the base has none."""
        names = [name for name in (one, other) if name is not None]
        counts = {name: len(self.seeds[name]) for name in names if name in self.seeds}
        own = _add([_scale(self.own[name], 1 / count) for name, count in counts.items()])
        share = sum(1 / count for count in counts.values())
        if len(counts) == 2:
            # What a seed does to both of them cancels where both have it.
            both = len(set(self.seeds[one]) & set(self.seeds[str(other)]))
            share -= 2 * both / math.prod(counts.values())
        return [own, _scale(self.shared, max(0.0, share))]


def _scale(part: Component, share: float) -> Component:
    return Component(part.variance * share, part.error * share)


def _add(parts: Sequence[Component]) -> Component:
    """Add variances that are, as far as they are pooled, one estimate: their errors add up."""
    return Component(sum(part.variance for part in parts), sum(part.error for part in parts))


def estimate_seed_noise(tasks: Sequence[TaskScores]) -> SeedNoise:
    """Estimate what seeds do to the means over `tasks` of the sets that all of them have."""
    names = [name for name in tasks[0].scores if all(name in task.scores for task in tasks)]
    seeds = {name: _find_common_seeds(tasks, name) for name in names if name != BASE}
    seeds = {name: own for name, own in seeds.items() if own}
    blocks: dict[tuple[int, ...], list[str]] = {}
    for name, own in seeds.items():
        if len(own) > 1:
            blocks.setdefault(own, []).append(name)
    if not blocks:
        variance = ASSUMED_DEVIATION**2
        assumed = Component(variance, variance / math.sqrt(ASSUMED_FREEDOM))
        return SeedNoise(NOTHING, dict.fromkeys(seeds, assumed), seeds)
    whole = _measure_squares([tasks], blocks)
    apart = _measure_squares([[task] for task in tasks], blocks)
    # Tasks tell more of a seed's effect each by itself, unless it is alike on all of them.
    ratio = whole.total / apart.total if apart.total > 0 else math.inf
    is_alike = stats.f.sf(ratio, whole.freedom, apart.freedom) < ALIKE_LEVEL
    found = whole if is_alike or len(tasks) == 1 else apart
    freedoms = {name: found.runs * (len(seeds[name]) - 1) for name in found.squares}
    variances = {name: found.squares[name] / (len(seeds[name]) - 1) for name in found.squares}
    pooled = found.total / sum(len(seeds[name]) - 1 for name in found.squares)
    prior = find_prior_freedom(
        np.array(list(variances.values())), np.array(list(freedoms.values()))
    )
    flips = {name: _measure_flips(tasks, name, seeds[name]) for name in found.squares}
    usual_flips = float(np.mean(list(flips.values())))
    components: dict[str, Component] = {}
    for name in seeds:
        freedom = freedoms.get(name, 0)
        observed = _shrink(pooled, prior, variances.get(name, pooled), freedom)
        left = max(0.0, observed - flips.get(name, usual_flips))
        components[name] = Component(
            left, observed / math.sqrt(min(found.freedom, prior + freedom))
        )
    return SeedNoise(found.shared, components, seeds)


@dataclass(frozen=True)
class _Squares:
    """Squared deviations of runs from what their set and their seed have in common."""

    squares: Mapping[str, float]
    """By set; divided by its seeds less one, the variance of its mean over the tasks."""
    freedom: int
    """Degrees of freedom of all sets together."""
    runs: int
    """Groups of tasks, each with runs of its own."""
    shared: Component

    @property
    def total(self) -> float:
        return sum(self.squares.values())


def _measure_squares(
    groups: Sequence[Sequence[TaskScores]], blocks: Mapping[tuple[int, ...], Sequence[str]]
) -> _Squares:
    """Measure each group of tasks by itself; `blocks` are seeds and the sets that have them."""
    squares: dict[str, float] = {}
    shared, freedom = NOTHING, 0
    tasks = sum(len(group) for group in groups)
    for numbers, members in sorted(blocks.items(), key=lambda block: len(block[1])):
        count, own_freedom = len(members), len(numbers) - 1
        scale = count / (count - 1) if count > 1 else 1.0
        parts = []
        for group in groups:
            share = len(group) / tasks
            means = share * np.array([_average_runs(group, name, numbers) for name in members])
            rest = means - means.mean(axis=1, keepdims=True)
            common = rest.mean(axis=0) if count > 1 else np.zeros(len(numbers))
            own = scale * ((rest - common) ** 2).sum(axis=1)
            for name, square in zip(members, own, strict=True):
                squares[name] = squares.get(name, 0.0) + float(square)
            freedom += own_freedom * max(1, count - 1)
            # The mean over sets still holds a share of what is each set's own.
            explained = float(own.sum()) / own_freedom / count**2
            observed = float((common**2).sum()) / own_freedom
            parts.append((observed - explained, observed / math.sqrt(own_freedom)))
        # Of the block with the most sets, which tells it best from what is a set's own.
        left, errors = zip(*parts, strict=True)
        shared = Component(max(0.0, sum(left)), math.hypot(*errors))
    return _Squares(squares, freedom, len(groups), shared)


def _shrink(pooled: float, prior: float, variance: float, freedom: int) -> float:
    """A set's variance: its own and the pooled one, weighed by their degrees of freedom."""
    if math.isinf(prior):
        return pooled
    return (prior * pooled + freedom * variance) / (prior + freedom)


def find_prior_freedom(variances: np.ndarray, freedoms: np.ndarray) -> float:
    """Return how many degrees of freedom the pooled variance is worth beside a set's own.

    From the spread of the logarithms (Smyth, section 6.2); infinite where the variances differ by
    no more than chance.
    """
    known = variances > 0
    if known.sum() < 2:
        return math.inf
    half = freedoms[known] / 2
    logs = np.log(variances[known]) - special.digamma(half) + np.log(half)
    spread = float(logs.var(ddof=1) - special.polygamma(1, half).mean())

    def exceed(freedom: float) -> float:
        return float(special.polygamma(1, freedom / 2)) - spread

    lowest, highest = 0.1, 1e4
    if exceed(highest) >= 0:
        return math.inf
    return lowest if exceed(lowest) <= 0 else float(optimize.brentq(exceed, lowest, highest))


def _find_common_seeds(tasks: Sequence[TaskScores], name: str) -> tuple[int, ...]:
    return tuple(sorted(set.intersection(*(set(task.seeds[name]) for task in tasks))))


def _pick_runs(task: TaskScores, name: str, seeds: Sequence[int]) -> np.ndarray:
    """Scores [seeds, examples] of these seeds, of the examples that all of them have."""
    rows = task.scores[name][[task.seeds[name].index(seed) for seed in seeds]]
    picked: np.ndarray = rows[:, ~np.isnan(rows).any(axis=0)]
    return picked


def _average_runs(tasks: Sequence[TaskScores], name: str, seeds: Sequence[int]) -> np.ndarray:
    """Mean over tasks of each seed's run."""
    means: np.ndarray = np.mean([_pick_runs(t, name, seeds).mean(axis=1) for t in tasks], axis=0)
    return means


def _measure_flips(tasks: Sequence[TaskScores], name: str, seeds: Sequence[int]) -> float:
    """Variance between runs' means over tasks that flips of single examples make."""
    total = 0.0
    for task in tasks:
        scores = _pick_runs(task, name, seeds)
        rest = scores - scores.mean(axis=0)
        rest = rest - rest.mean(axis=1, keepdims=True)
        count = scores.shape[1]
        total += float((rest**2).sum()) / ((len(seeds) - 1) * max(count - 1, 1) * count)
    return total / len(tasks) ** 2
