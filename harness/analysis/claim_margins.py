"""The evidence for each claim of `published_claims.py`: numbers that must be above 0, a sentence.

Intervals are of draws of the mean scores (analysis.differences), so they cover new examples and new
seeds of these tasks, not other tasks. Several intervals of one claim hold at 95% together
(Bonferroni).
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from harness.analysis.comparison import Comparison
from harness.analysis.pairing import TaskScores
from harness.analysis.ranking import average_tasks, draw_tasks
from harness.analysis.seed_noise import estimate_seed_noise
from harness.formatting import (
    format_difference_interval,
    format_ratio_interval,
    format_score,
)
from harness.records.record import BASE

Interval = tuple[float, float]

SHORTFALL = 0.02
"""Share of the combination's mean score that `o_proj` may lack."""

SPEEDUP = 0.226
"""How much faster than the combination `o_proj` is said to be."""

GAINS = (0.01, 0.03)
"""Least and most score that combinations are said to gain."""

TAIL = 0.025
"""Share of the draws beyond each end of a 95% interval."""

MOST_PERMUTED = 7
"""Tasks whose orders are all looked at; of more, so many at random:"""
PERMUTATIONS = 5000

DIGITS = 12
"""Equal scores that were summed in another order do not differ."""


@dataclass(frozen=True)
class Finding:
    text: str
    """The numbers in words."""
    margins: Sequence[Interval]
    """Intervals of what has to be above 0."""


def average_scores(comparison: Comparison) -> dict[str, np.ndarray]:
    """Return the mean over tasks of every set that has them all: as observed, then by draw."""
    scores = comparison.scores
    means, draws = average_tasks(scores), scores.draw()
    # Means of shares are shares.
    most = 1.0 if all(task.is_share for task in scores.tasks.values()) else math.inf
    sets = [name for name in means if name != BASE]
    return {
        name: np.concatenate([[means[name]], np.clip(draws[name], 1 - most, most)]) for name in sets
    }


def stack_tasks(comparison: Comparison) -> list[tuple[TaskScores, dict[str, np.ndarray]]]:
    """Return each task with the mean of every complete variant: as observed, then by draw."""
    tasks = comparison.scores.tasks.values()
    return [
        (task, {name: np.concatenate([[task.mean(name)], own]) for name, own in drawn.items()})
        for task, drawn in zip(tasks, draw_tasks(comparison.scores), strict=True)
    ]


def judge_accuracy(comparison: Comparison, alone: str, combined: str) -> Finding:
    """Mean score of the one, less the share of the other's that it may not fall below."""
    scores, share = average_scores(comparison), 1 - SHORTFALL
    margin = scores[alone] - share * scores[combined]
    bounds = _bound(margin)
    text = (
        f"The mean score is {format_score(scores[alone][0])} for {alone} and "
        f"{format_score(scores[combined][0])} for {combined}; the first minus {share:.0%} of the "
        "second is "
        f"{format_difference_interval(margin[0], *bounds)}."
    )
    return Finding(text, [bounds])


def judge_speed(comparison: Comparison, alone: str, combined: str) -> Finding:
    """What the ratio of the one's time to the other's stays below the claimed one."""
    ratio = comparison.compare_times(alone, combined)
    limit = 1 / (1 + SPEEDUP)
    text = (
        f"{alone} takes {format_ratio_interval(ratio.estimate, ratio.low, ratio.high)} the "
        f"end-to-end time of {combined}; {SPEEDUP:.1%} faster would be at most {limit:.3f}x."
    )
    return Finding(text, [(limit - ratio.high, limit - ratio.low)])


def judge_failures(comparison: Comparison, alone: str) -> Finding:
    """Gain over the base on each task."""
    parts, margins = [], []
    for task in comparison.tasks:
        gain = comparison.scores.restrict([task]).compare(alone, BASE)
        assert gain is not None
        margins.append(gain.bound(1 - 2 * TAIL / len(comparison.tasks)))
        parts.append(f"{task} {format_difference_interval(gain.value, *margins[-1])}")
    return Finding(f"Gain of {alone} over the base: {', '.join(parts)}.", margins)


def judge_stability(comparison: Comparison, own: str) -> Finding:
    """Standard deviation of the set's gains, less that of the other sets' on average."""
    tasks = stack_tasks(comparison)
    spreads = {name: _spread_gains(tasks, name) for name in average_scores(comparison)}
    spread = spreads.pop(own)
    others = np.mean(list(spreads.values()), axis=0)
    bounds = _bound(spread - others)
    text = (
        "The standard deviation of a run's gain, over tasks and seeds, is "
        f"{format_score(spread[0])} for {own} and {format_score(others[0])} on average for the "
        "other sets; the difference is "
        f"{format_difference_interval(spread[0] - others[0], *bounds)}."
    )
    return Finding(text, [bounds])


def judge_gains(comparison: Comparison, alone: str, *combined: str) -> Finding:
    """What each combination gains beyond the least, and what it stays below the most."""
    scores = average_scores(comparison)
    parts, margins = [], []
    for name in combined:
        gain = scores[name] - scores[alone]
        low, high = _bound(gain, tests=len(combined))
        margins += [(low - GAINS[0], high - GAINS[0]), (GAINS[1] - high, GAINS[1] - low)]
        parts.append(f"{name} {format_difference_interval(gain[0], low, high)}")
    return Finding(f"Gain in mean score over {alone}: {', '.join(parts)}.", margins)


def judge_separation(comparison: Comparison) -> Finding:
    """Rank correlation, over tasks, of their difficulty and the variance between the sets.

    Only pairs of tasks whose variances are told apart count: what noise leaves is skewed, and
    larger where scores are noisier. The interval is as wide as the largest correlation that chance
    makes in 95% of all orders of the tasks, for the claim is about tasks.
    """
    names = list(average_scores(comparison))
    tasks = sorted(stack_tasks(comparison), key=lambda each: each[0].mean(BASE))
    difficulty = np.array([1 - task.mean(BASE) for task, _ in tasks]).round(DIGITS)
    variances = np.array([_draw_separation(task, drawn, names) for task, drawn in tasks])
    parts = [
        f"{task.task} (base {format_score(task.mean(BASE))}, between sets "
        f"{format_score(math.sqrt(max(left, 0.0)))})"
        for (task, _), left in zip(tasks, variances[:, 0], strict=True)
    ]
    text = (
        "Tasks from hardest to easiest, with the base's score and the standard deviation between "
        f"the sets' means after subtracting noise: {', '.join(parts)}."
    )
    if len(set(difficulty)) == 1:
        return Finding(f"{text} All of them are equally hard.", [(math.nan, math.nan)])
    order = _tell_apart(variances)
    pairs, told = len(tasks) * (len(tasks) - 1) // 2, int(np.abs(order).sum()) // 2
    found, reach = correlate_orders(difficulty, order)
    text += (
        f" Of {pairs} pairs of tasks, {told} are told apart by these deviations. Over all pairs, "
        f"difficulty and separation have a rank correlation (Kendall's) of {found:+.2f}; chance "
        "makes up to "
    )
    return Finding(f"{text}{reach:.2f}.", [(found - reach, found + reach)])


def correlate_orders(values: np.ndarray, order: np.ndarray) -> tuple[float, float]:
    """Return Kendall's correlation of values, [n], with an order that may be partly unknown.

    `order` is [n, n]: 1 where the first of two is higher, -1 where it is lower, 0 where that is
    unknown. With the correlation comes what it stays within in 95% of the orders of `values`.
    """
    count = len(values)
    if count <= MOST_PERMUTED:
        orders = np.array(list(permutations(range(count))))
    else:
        numbers = np.tile(np.arange(count), (PERMUTATIONS, 1))
        orders = np.random.default_rng(0).permuted(numbers, axis=1)
    one, other = np.triu_indices(count, 1)
    permuted = values[orders]
    signs = np.sign(permuted[:, one] - permuted[:, other])
    chance = np.abs((signs * order[one, other]).mean(axis=1))
    found = float((np.sign(values[one] - values[other]) * order[one, other]).mean())
    return found, float(np.quantile(chance, 0.95, method="higher"))


def _tell_apart(values: np.ndarray) -> np.ndarray:
    """Which of two is higher by the 95% interval of their difference: 1, -1, or 0 where open.

    `values`, [n, draws], are as observed, then by draw.
    """
    differences = values[:, None] - values[None]
    low, high = np.quantile(differences[:, :, 1:], [TAIL, 1 - TAIL], axis=2)
    order: np.ndarray = (low > 0).astype(int) - (high < 0).astype(int)
    return order


def _bound(values: np.ndarray, tests: int = 1) -> Interval:
    """The interval of a number, given as observed, then by draw; one of `tests`."""
    tail = TAIL / tests
    low, high = np.quantile(values[1:].round(DIGITS), [tail, 1 - tail])
    return float(low), float(high)


def _spread_gains(
    tasks: Sequence[tuple[TaskScores, dict[str, np.ndarray]]], variant: str
) -> np.ndarray:
    """Standard deviation of a run's gain over base: as observed, then by draw.

    Its square is the variance of the gains over tasks plus that over the seeds of a task. Of the
    second there is but one estimate, of few degrees of freedom: it scatters by its chi-square
    distribution.
    """
    gains = np.array([means[variant] - means[BASE] for _, means in tasks])
    runs = [np.nanmean(task.scores[variant], axis=1) for task, _ in tasks]
    freedom = max(sum(len(means) - 1 for means in runs), 1)
    within = sum(float(((means - means.mean()) ** 2).sum()) for means in runs) / freedom
    # Seeded by the set's name, so that one more set changes no other's numbers.
    rng = np.random.default_rng(zlib.crc32(variant.encode()))
    chance = freedom / rng.chisquare(freedom, (gains.shape[1],))
    chance[0] = 1.0
    spread: np.ndarray = np.sqrt(gains.var(axis=0, ddof=1) + within * chance)
    return spread


def _draw_separation(
    task: TaskScores, drawn: Mapping[str, np.ndarray], names: Sequence[str]
) -> np.ndarray:
    """Variance between the sets' means on a task less that of noise: as observed, then by draw.

    Noise alone makes the means of equal sets differ, the more so the noisier a task's scores are;
    and draws about those means differ by as much again.
    """
    means = np.array([task.example_means(name) for name in names])
    means = means[:, ~np.isnan(means).any(axis=0)]
    contrasts = means - means.mean(axis=0)
    count = means.shape[1]
    noise: float = float(contrasts.var(axis=1, ddof=1).sum()) / count / (len(names) - 1)
    seeds = estimate_seed_noise([task])
    noise += float(np.mean([seeds.own[name].variance / len(task.seeds[name]) for name in names]))
    observed = float(np.var(means.mean(axis=1), ddof=1)) - noise
    scattered = np.var([drawn[name][1:] for name in names], axis=0, ddof=1)
    return np.concatenate([[observed], scattered - scattered.mean() + observed])
