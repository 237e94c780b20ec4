"""Ratios of times that were taken in the same round: estimates and exact intervals.

Two arms timed in one round met the same machine state, so their ratio is taken inside the round
and only then summarised. The median needs no assumption about how times scatter.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class Interval:
    estimate: float
    low: float
    high: float
    coverage: float
    """Actual probability that low..high covers the true value; NaN where unknown."""
    rounds: int
    """Rounds behind the estimate."""


UNKNOWN = Interval(math.nan, math.nan, math.nan, math.nan, 0)


def median_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """Return the median with its exact distribution-free interval between two order statistics.

    The k-th smallest and k-th largest of n values enclose the true median with probability
    1 - 2 * P(Binomial(n, 1/2) < k), whatever the (continuous) distribution; the largest k that
    keeps `confidence` is used (David and Nagaraja, Order Statistics, 3rd ed., section 7.1).
    With fewer than 6 values no 95% interval exists: low..high is then min..max, and `coverage` says
    how much less than 95% that is.
    """
    kept = np.sort(np.asarray(values, dtype=float))
    kept = kept[np.isfinite(kept)]
    count = len(kept)
    if count == 0:
        return UNKNOWN
    rank, coverage = _choose_rank(count, confidence)
    low, high = float(kept[rank - 1]), float(kept[count - rank])
    return Interval(float(np.median(kept)), low, high, coverage, count)


def paired_ratio(calls: pd.DataFrame, column: str, arm: str, reference: str = "base") -> Interval:
    """Return the median over rounds of `arm` / `reference` in `column`, each taken in its round.

    `calls` has the rows of one `latency.parquet`. Several calls of an arm in a round count as their
    median. Rounds that lack either arm, and times that are not positive, are left out.
    """
    own, base = _take_medians(calls, column, arm), _take_medians(calls, column, reference)
    logs = [math.log(own[number] / base[number]) for number in own.keys() & base.keys()]
    return _exponentiate(median_interval(logs)) if logs else UNKNOWN


def geometric_mean(
    ratios: Sequence[float], lows: Sequence[float], highs: Sequence[float]
) -> Interval:
    """Return the geometric mean of independent ratios, with an interval made from theirs.

    The log bounds are combined by MOVER, the method of variance estimates recovery: the distance
    from estimate to bound of a mean is the root of the sum of squared distances, over n (Zou and
    Donner, Statistics in Medicine 27:1693, 2008). NaN where any ratio is NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        middle, low, high = (np.log(np.asarray(part, float)) for part in (ratios, lows, highs))
    count = len(middle)
    if count == 0 or not np.isfinite(middle).all():
        return UNKNOWN
    centre = middle.mean()
    below = math.sqrt(float(((middle - low) ** 2).sum())) / count
    above = math.sqrt(float(((high - middle) ** 2).sum())) / count
    return _exponentiate(Interval(centre, centre - below, centre + above, math.nan, 0))


@functools.cache
def _choose_rank(count: int, confidence: float) -> tuple[int, float]:
    """Return the largest rank k that keeps `confidence`, at least 1, and its actual coverage."""
    # ppf gives the smallest k with P(X <= k) >= tail, so k - 1 is the last that stays in the tail.
    rank = max(int(stats.binom.ppf((1 - confidence) / 2, count, 0.5)), 1)
    return rank, max(1 - 2 * float(stats.binom.cdf(rank - 1, count, 0.5)), 0.0)


def _take_medians(calls: pd.DataFrame, column: str, arm: str) -> dict[int, float]:
    """Round -> median of an arm's usable times in it."""
    rows = calls[calls["arm"] == arm]
    times: dict[int, list[float]] = {}
    for number, seconds in zip(rows["round"], pd.to_numeric(rows[column], "coerce"), strict=True):
        if 0 < seconds < math.inf:
            times.setdefault(number, []).append(float(seconds))
    return {number: median(values) for number, values in times.items()}


def _exponentiate(logs: Interval) -> Interval:
    return Interval(
        math.exp(logs.estimate), math.exp(logs.low), math.exp(logs.high), logs.coverage, logs.rounds
    )
