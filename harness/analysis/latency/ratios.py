"""Ratios of times that were taken in the same round: estimates and intervals.

Two arms timed in one round met the same machine state, so their ratio is taken inside the round
and only then summarised. The median needs no assumption about how times scatter.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.inference import find_mover_widths
from harness.analysis.latency.resampling import interval_of


@dataclass(frozen=True)
class Interval:
    estimate: float
    low: float
    high: float
    coverage: float
    """Probability that low..high covers the true value; NaN where unknown."""
    rounds: int
    """Rounds behind the estimate."""
    processes: int = 1
    """Processes behind the estimate; an interval from one says nothing of how they differ."""

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


UNKNOWN = Interval(math.nan, math.nan, math.nan, math.nan, 0, 0)


Times = Mapping[tuple[int, int], float]
"""(process, round) -> seconds."""


@dataclass(frozen=True)
class Paired:
    """Rounds that have both arms, in order of time."""

    process: np.ndarray
    """Number of the process of each round, int [n]."""
    logs: np.ndarray
    """log(arm / reference) of each round, float [n]."""


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


def paired_ratio(
    calls: pd.DataFrame,
    column: str,
    arm: str,
    reference: str = "base",
    *,
    variant: str | None = None,
    reference_variant: str | None = None,
) -> Interval:
    """Return the median over rounds of `arm` / `reference` in `column`, each taken in its round.

    `calls` has the rows of one point; see `pair_rounds` for which rounds count, and
    `summarise_rounds` for the interval.
    """
    paired = pair_rounds(calls, column, arm, reference, variant, reference_variant)
    return summarise_rounds(paired)


def summarise_rounds(paired: Paired, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Return the median ratio of `paired` with its interval; UNKNOWN without rounds.

    With one process the interval is the exact one between order statistics (`median_interval`) and
    holds for that process only, and for rounds that err independently: where neighbours err alike
    (autocorrelation 0.6) it covers in 71% to 79% instead. With more it is `interval_of`'s, which
    has neither limit; of two processes it covers too but is very wide.
    """
    processes = len(np.unique(paired.process))
    if processes == 0:
        return UNKNOWN
    if processes == 1:
        return _exponentiate(median_interval(paired.logs, confidence))
    bounds = interval_of(
        lambda rounds: _take_row_medians(paired.logs[rounds]),
        paired.process,
        confidence=confidence,
        seed=seed,
    )
    low, high = float(bounds.low), float(bounds.high)
    coverage = math.nan if math.isnan(high - low) else confidence
    logs = Interval(float(bounds.estimate), low, high, coverage, len(paired.logs), processes)
    return _exponentiate(logs)


def pair_rounds(
    calls: pd.DataFrame,
    column: str,
    arm: str,
    reference: str,
    variant: str | None = None,
    reference_variant: str | None = None,
) -> Paired:
    """Return log(arm / reference) of each round, a round being one of (process, round).

    Several calls of an arm in a round count as their median. Rounds that lack either arm, and
    times that are not positive, are left out. A frame without `process` is of one process. The
    variants, where given, choose among an arm's rows.
    """
    own = take_medians(calls, column, arm, variant)
    return pair_times(own, take_medians(calls, column, reference, reference_variant))


def pair_times(own: Times, other: Times) -> Paired:
    """Return log(own / other) of each round that both have."""
    shared = sorted(own.keys() & other.keys())
    ratios = np.array([own[key] / other[key] for key in shared])
    return Paired(np.array([process for process, _ in shared], dtype=int), np.log(ratios))


def flag_outliers(logs: np.ndarray) -> np.ndarray:
    """Return which logs lie over 5 robust standard deviations from their median, bool [n]."""
    distance = np.abs(logs - np.median(logs)) if len(logs) else np.empty(0)
    # 1.4826 makes the median absolute deviation that of a normal distribution.
    return distance > 5 * 1.4826 * np.median(distance) if len(logs) else distance.astype(bool)


def geometric_mean(
    ratios: Sequence[float], lows: Sequence[float], highs: Sequence[float]
) -> Interval:
    """Return the geometric mean of independent ratios, with an interval made from theirs.

    The log bounds are combined by MOVER (`analysis.inference`). NaN where any ratio is NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        middle, low, high = (np.log(np.asarray(part, float)) for part in (ratios, lows, highs))
    count = len(middle)
    if count == 0 or not np.isfinite(middle).all():
        return UNKNOWN
    centre = middle.mean()
    below, above = find_mover_widths(middle, low, high, weights=[1] * count)
    bounds = centre - float(below) / count, centre + float(above) / count
    return _exponentiate(Interval(centre, *bounds, math.nan, 0))


def divide(one: Interval, other: Interval) -> Interval:
    """Return the ratio of two independent ratios, with bounds made from theirs (MOVER)."""
    # It is the square of the geometric mean of the one and the other's inverse.
    other = invert(other)
    root = geometric_mean(
        (one.estimate, other.estimate), (one.low, other.low), (one.high, other.high)
    )
    return replace(root, estimate=root.estimate**2, low=root.low**2, high=root.high**2)


def invert(ratio: Interval) -> Interval:
    """Return one over a ratio, its bounds turned round."""
    return replace(ratio, estimate=1 / ratio.estimate, low=1 / ratio.high, high=1 / ratio.low)


@functools.cache
def _choose_rank(count: int, confidence: float) -> tuple[int, float]:
    """Return the largest rank k that keeps `confidence`, at least 1, and its actual coverage."""
    # ppf gives the smallest k with P(X <= k) >= tail, so k - 1 is the last that stays in the tail.
    rank = max(int(stats.binom.ppf((1 - confidence) / 2, count, 0.5)), 1)
    return rank, max(1 - 2 * float(stats.binom.cdf(rank - 1, count, 0.5)), 0.0)


def take_medians(calls: pd.DataFrame, column: str, arm: str, variant: str | None = None) -> Times:
    """Return (process, round) -> median of an arm's usable times in it.

    Plain Python, since a large study has thousands of arms with a few dozen rounds each, on which
    pandas spends many times as long.
    """
    seconds = pd.to_numeric(calls[column], errors="coerce").to_numpy(dtype=float)
    is_used = (calls["arm"] == arm).to_numpy() & (seconds > 0) & (seconds < math.inf)
    if variant is not None and "variant" in calls:
        is_used &= (calls["variant"] == variant).to_numpy()
    rows = np.flatnonzero(is_used)
    process = calls["process"].fillna(0).to_numpy()[rows] if "process" in calls else 0 * rows
    found: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    keys = zip(process.tolist(), calls["round"].to_numpy()[rows].tolist(), strict=True)
    for key, value in zip(keys, seconds[rows].tolist(), strict=True):
        found[key].append(value)
    return {key: median(values) for key, values in found.items()}


def _take_row_medians(values: np.ndarray) -> np.ndarray:
    """As np.median(values, axis=1), several times faster for many short rows."""
    ordered = np.sort(values, axis=1)
    count = values.shape[1]
    medians: np.ndarray = (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2
    return medians


def _exponentiate(logs: Interval) -> Interval:
    middle, low, high = (_exp(each) for each in (logs.estimate, logs.low, logs.high))
    return replace(logs, estimate=middle, low=low, high=high)


def _exp(log: float) -> float:
    """e to the power of `log`; infinite where two wild processes left a bound beyond all floats."""
    with np.errstate(over="ignore"):
        return float(np.exp(log))
