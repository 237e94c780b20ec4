"""The evidence for each claim of `published_claims.py`: numbers that must be above 0, a sentence.

Intervals come from the comparison's resamples, so they cover new examples and new seeds of these
tasks, not other tasks. Several intervals of one claim hold at 95% together (Bonferroni).
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.analysis.comparison import Comparison
from harness.analysis.latency.ratios import geometric_mean
from harness.analysis.ranking import average_tasks
from harness.analysis.regret import TaskDraws
from harness.formatting import (
    format_chance,
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
"""Share of the resamples beyond each end of a 95% interval."""

DIGITS = 12
"""Equal scores that were summed in another order do not differ."""


@dataclass(frozen=True)
class Finding:
    text: str
    """The numbers in words."""
    margins: Sequence[Interval]
    """Intervals of what has to be above 0."""


def average_scores(comparison: Comparison) -> dict[str, np.ndarray]:
    """Return the mean over tasks of every set that has them all: as observed, then by resample."""
    means, draws = average_tasks(comparison.drawn)
    return {name: np.concatenate([[means[name]], draws[name]]) for name in means}


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
    overall = comparison.overall.set_index("variant")
    columns = ["end_to_end_ratio", "end_to_end_ratio_low", "end_to_end_ratio_high"]
    own, own_low, own_high = (float(value) for value in overall.loc[alone, columns])
    other, other_low, other_high = (float(value) for value in overall.loc[combined, columns])
    # A ratio of ratios is the square of the geometric mean of the one and the other's inverse.
    root = geometric_mean([own, 1 / other], [own_low, 1 / other_high], [own_high, 1 / other_low])
    ratio, low, high = root.estimate**2, root.low**2, root.high**2
    limit = 1 / (1 + SPEEDUP)
    text = (
        f"{alone} takes {format_ratio_interval(ratio, low, high)} the end-to-end time of "
        f"{combined}; {SPEEDUP:.1%} faster would be at most {limit:.3f}x."
    )
    return Finding(text, [(limit - high, limit - low)])


def judge_failures(comparison: Comparison, alone: str) -> Finding:
    """Gain over the base on each task."""
    parts, margins = [], []
    for task, each in comparison.drawn.items():
        gain = _stack(each, alone) - _stack(each, BASE)
        margins.append(_bound(gain, tests=len(comparison.drawn)))
        parts.append(f"{task} {format_difference_interval(gain[0], *margins[-1])}")
    return Finding(f"Gain of {alone} over the base: {', '.join(parts)}.", margins)


def judge_stability(comparison: Comparison, own: str) -> Finding:
    """Standard deviation of the set's gains, less that of the other sets' on average."""
    tasks = list(comparison.drawn.values())
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
    """Covariance, over tasks, of their difficulty and the variance between the sets."""
    names = list(average_scores(comparison))
    tasks = sorted(comparison.drawn.values(), key=lambda each: each.means[BASE])
    difficulty = 1 - np.array([_stack(each, BASE) for each in tasks])
    variance = np.array([_find_variance(each, names) for each in tasks])
    covariance = ((difficulty - difficulty.mean(axis=0)) * variance).mean(axis=0)
    parts = [
        f"{each.paired.task} (base {format_score(each.means[BASE])}, between sets "
        f"{format_score(math.sqrt(max(between, 0.0)))})"
        for each, between in zip(tasks, variance[:, 0], strict=True)
    ]
    text = (
        "Tasks from hardest to easiest, with the base's score and the standard deviation between "
        f"the sets' means after subtracting noise: {', '.join(parts)}. Harder tasks separate the "
        f"sets more in {format_chance(float((covariance[1:] > 0).mean()))} of the resamples."
    )
    return Finding(text, [_bound(covariance)])


def _stack(each: TaskDraws, variant: str) -> np.ndarray:
    """A variant's mean score on a task: as observed, then by resample."""
    return np.concatenate([[each.means[variant]], each.draws[variant]])


def _bound(values: np.ndarray, tests: int = 1) -> Interval:
    """The interval of a number, given as observed, then by resample; one of `tests`."""
    tail = TAIL / tests
    low, high = np.quantile(values[1:].round(DIGITS), [tail, 1 - tail])
    return float(low), float(high)


def _spread_gains(tasks: Sequence[TaskDraws], variant: str) -> np.ndarray:
    """Standard deviation of a run's gain over base: as observed, then by resample.

    Its square is the variance of the gains over tasks plus that over the seeds of a task. Of the
    second there is but one estimate, of few degrees of freedom: it scatters by its chi-square
    distribution.
    """
    gains = np.array([_stack(each, variant) - _stack(each, BASE) for each in tasks])
    runs = [each.paired.scores[variant].mean(axis=1) for each in tasks]
    freedom = max(sum(len(means) - 1 for means in runs), 1)
    within = sum(float(((means - means.mean()) ** 2).sum()) for means in runs) / freedom
    # Seeded by the set's name, so that one more set changes no other's numbers.
    rng = np.random.default_rng(zlib.crc32(variant.encode()))
    chance = freedom / rng.chisquare(freedom, (gains.shape[1],))
    chance[0] = 1.0
    spread: np.ndarray = np.sqrt(gains.var(axis=0, ddof=1) + within * chance)
    return spread


def _find_variance(each: TaskDraws, names: Sequence[str]) -> np.ndarray:
    """Variance between sets' means less what noise adds: as observed, then by resample.

    Noise alone makes the means of equal sets differ, the more so the noisier a task's scores are.
    """
    scores = np.array([_stack(each, name) for name in names])
    contrasts = scores[:, 1:] - scores[:, 1:].mean(axis=0)
    # By quartiles, because resamples follow Student's t, which may have no variance.
    spreads = stats.iqr(contrasts, axis=1, scale="normal")
    noise = float((spreads**2).sum()) / (len(names) - 1)
    # Resamples scatter about means that have the noise already, so they have it twice.
    times = np.full(scores.shape[1], 2.0)
    times[0] = 1.0
    variance: np.ndarray = scores.var(axis=0, ddof=1) - times * noise
    return variance
