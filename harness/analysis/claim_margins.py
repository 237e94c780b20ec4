"""The evidence for each claim of `published_claims.py`: numbers that must be above 0, a sentence.

Intervals are of draws of the mean scores (analysis.differences), so they cover new examples and new
seeds of these tasks, not other tasks. Several intervals of one claim hold at 95% together
(Bonferroni).
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy import stats

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

    Its interval is as wide as the largest correlation that chance makes in 95% of all orders of the
    tasks, for the claim is about tasks.
    """
    names = list(average_scores(comparison))
    tasks = sorted(comparison.scores.tasks.values(), key=lambda task: task.mean(BASE))
    difficulty = np.array([1 - task.mean(BASE) for task in tasks]).round(DIGITS)
    between, noise = np.array([_find_variances(task, names) for task in tasks]).T
    parts = [
        f"{task.task} (base {format_score(task.mean(BASE))}, between sets "
        f"{format_score(math.sqrt(max(left, 0.0)))})"
        for task, left in zip(tasks, between - noise, strict=True)
    ]
    text = (
        "Tasks from hardest to easiest, with the base's score and the standard deviation between "
        f"the sets' means after subtracting noise: {', '.join(parts)}."
    )
    if len(set(difficulty)) == 1:
        return Finding(f"{text} All of them are equally hard.", [(math.nan, math.nan)])
    found, reach = correlate_ranks(difficulty, between - noise)
    text += (
        f" Difficulty and separation have a rank correlation of {found:+.2f}; chance makes up to "
    )
    return Finding(f"{text}{reach:.2f}.", [(found - reach, found + reach)])


def correlate_ranks(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return Spearman's correlation, and what it stays within in 95% of the orders of `other`."""
    ranks, others = stats.rankdata(one), stats.rankdata(other)
    if len(one) <= MOST_PERMUTED:
        orders = np.array(list(permutations(others)))
    else:
        orders = np.random.default_rng(0).permuted(np.tile(others, (PERMUTATIONS, 1)), axis=1)
    centered = ranks - ranks.mean()
    scale = math.sqrt(float((centered**2).sum() * ((others - others.mean()) ** 2).sum()))
    chance = np.abs(orders @ centered) / scale
    return float(others @ centered / scale), float(np.quantile(chance, 0.95, method="higher"))


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


def _find_variances(task: TaskScores, names: Sequence[str]) -> tuple[float, float]:
    """Variance between the sets' means on a task, and what examples and seeds add to it.

    Noise alone makes the means of equal sets differ, the more so the noisier a task's scores are.
    """
    means = np.array([task.example_means(name) for name in names])
    means = means[:, ~np.isnan(means).any(axis=0)]
    contrasts = means - means.mean(axis=0)
    count = means.shape[1]
    noise: float = float(contrasts.var(axis=1, ddof=1).sum()) / count / (len(names) - 1)
    seeds = estimate_seed_noise([task])
    noise += float(np.mean([seeds.own[name].variance / len(task.seeds[name]) for name in names]))
    return float(np.var(means.mean(axis=1), ddof=1)), noise
