"""Intervals over new processes and rounds for any statistic of paired rounds: a BCa bootstrap made
wide enough for few processes.

Rounds of one process share its luck (memory layout, page colours, core), so processes are resampled
as well as rounds; and three to eight of them are too few for a plain bootstrap.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

Statistic = Callable[[np.ndarray], np.ndarray]
"""Indices into the rounds, int [b, m], a row a sample of m rounds -> [b] or [b, k]."""

RESAMPLES = 2000

SPENT = 0.5
"""Share of the allowed error that an interval over processes spends: 97.5% where 95% is asked for.

A study adds processes until its intervals are narrow, and so stops early where they are narrow by
chance; the rest of the error is for that. In simulated studies that stop so, intervals cover in
95.6% or more on every kind of machine tried, and at most 3.9% call equal arms slower or faster;
they cover in 96.6% or more where the number of processes is set beforehand
(benchmarks/results/interval-coverage.json).
"""

LEAST_DEGREES = 0.9
"""Degrees of freedom of the processes with which there is an interval: one less than there are,
where they have equal rounds. Of two processes the second needs 5/8 of the first one's rounds."""


@dataclass(frozen=True)
class Bounds:
    """A statistic of k numbers with intervals; arrays are [k], or 0-d for a single number.

    Bounds are NaN where too few rounds or processes say nothing of the error.
    """

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    standard_error: np.ndarray
    """Of the estimate by rounds, and, where there are several processes, by processes, [parts, k].
    A verdict at any level takes the part that is wider at that level."""
    degrees_of_freedom: np.ndarray
    """Of `standard_error`: compare estimate / standard_error with Student's t of these."""


def interval_of(
    statistic: Statistic,
    process: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Bounds:
    """Return `statistic` of all rounds with intervals over new processes and rounds.

    `process` is the process of each round, [n]. `statistic` takes indices into the rounds, int
    [b, m], a row a sample of m <= n of them, and returns [b] or [b, k]. It is called with two-stage
    resamples, with all rounds, with each process alone, and with all but one process (but one
    round, where there is one process): so every process needs rounds that have all k numbers, and
    2 rounds are the least. Bounds are NaN where the processes leave under LEAST_DEGREES.

    The width is that of the wider of two Student's t intervals. One has the standard error among
    the statistics of the single processes, and a degree of freedom less than there are processes
    (Ibragimov and Mueller, Journal of Business & Economic Statistics 28:453, 2010): it holds
    whatever makes rounds of a process alike, autocorrelation included. The other has what is left
    of the resamples' variance without the processes', so that three processes that agree by chance
    do not make an interval narrower than their rounds allow. The BCa interval of the resamples
    (Efron, JASA 82:171, 1987) splits the width over the two sides. Its own width would not do: with
    P processes its variance among them is short by (P - 1) / P and normal quantiles are too small
    (Hesterberg, The American Statistician 69:371, 2015), while rounds vary in both stages.

    With one process the interval is of rounds only, and says nothing of how processes differ.
    `benchmarks/interval_coverage.py` measures the coverage.
    """
    rounds = np.arange(len(process))
    resampled = statistic(resample_rounds(process, resamples, seed))
    estimate = statistic(rounds[None])[0]
    tail = SPENT * (1 - confidence) / 2
    errors, degrees = _find_errors(statistic, process, resampled.var(axis=0, ddof=1))
    # The largest of them is NaN where one is.
    width = 2 * (stats.t.ppf(1 - tail, degrees) * errors).max(axis=0)
    low, high = _bound_bca(estimate, resampled, _jackknife(statistic, process), tail)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.where(high > low, np.clip((estimate - low) / (high - low), 0, 1), 0.5)
    return Bounds(
        estimate, estimate - width * below, estimate + width * (1 - below), errors, degrees
    )


def resample_rounds(process: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return indices into the rounds, [resamples, n], drawn in two stages: processes, then rounds.

    `process` is the process of each round, int [n]. One draw serves every arm of the rounds, so
    that what they share in a round stays shared. The array is shared too, and read-only.
    """
    return _draw(tuple(np.asarray(process).tolist()), resamples, seed)


# A study asks for dozens of intervals of the same rounds, one after another.
@functools.lru_cache(maxsize=4)
def _draw(process: tuple[int, ...], resamples: int, seed: int) -> np.ndarray:
    _, code, sizes = np.unique(process, return_inverse=True, return_counts=True)
    order = np.argsort(code, kind="stable")
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    # Each original process is a slot that keeps its number of rounds.
    drawn = rng.integers(len(sizes), size=(resamples, len(sizes)))[:, code]
    within = (rng.random((resamples, len(code))) * sizes[drawn]).astype(int)
    chosen: np.ndarray = order[starts[drawn] + within]
    chosen.flags.writeable = False
    return chosen


def _find_errors(
    statistic: Statistic, process: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard errors by rounds and by processes, and their degrees of freedom.

    `variance` is that of two-stage resamples: the rounds' plus (P - 1) / P of the processes'. P is
    Kish's effective number, so that a process of few rounds is not counted as a whole one. One
    process has the first part only.
    """
    numbers, sizes = np.unique(process, return_counts=True)
    parts, degrees = [variance], [float(len(process) - 1)]
    if len(numbers) > 1:
        shares = sizes / sizes.sum()
        effective = 1 / (shares**2).sum()
        alone = np.array([statistic(np.flatnonzero(process == each)[None])[0] for each in numbers])
        among = np.average((alone - np.average(alone, 0, shares)) ** 2, 0, shares) / (effective - 1)
        parts = [np.maximum(variance - (1 - 1 / effective) * among, 0), among]
        # An unknown part makes the whole unknown: left out, it would be taken for none.
        degrees.append(effective - 1 if effective - 1 >= LEAST_DEGREES else math.nan)
    errors = np.sqrt(np.stack(parts))
    return errors, np.stack([np.full_like(variance, each) for each in degrees])


def _jackknife(statistic: Statistic, process: np.ndarray) -> np.ndarray:
    """Return the statistic without each process, or of one process without each round."""
    rounds = np.arange(len(process))
    numbers = np.unique(process)
    if len(numbers) == 1:
        return statistic(np.array([np.delete(rounds, each) for each in rounds]))
    return np.array([statistic(rounds[process != each][None])[0] for each in numbers])


def _bound_bca(
    estimate: np.ndarray, resampled: np.ndarray, jackknifed: np.ndarray, tail: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bias-corrected and accelerated bounds (Efron and Tibshirani 1993, 14.3)."""
    below, equal = (resampled < estimate).mean(axis=0), (resampled == estimate).mean(axis=0)
    limit = 0.5 / len(resampled)
    bias = stats.norm.ppf(np.clip(below + equal / 2, limit, 1 - limit))
    deviations = jackknifed.mean(axis=0) - jackknifed
    spread = (deviations**2).sum(axis=0)
    cubes = (deviations**3).sum(axis=0)
    acceleration = cubes / (6 * np.where(spread > 0, spread, 1) ** 1.5)
    ordered = np.sort(resampled, axis=0)
    bounds = []
    for normal in stats.norm.ppf([tail, 1 - tail]):
        shifted = bias + normal
        level = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
        bounds.append(_read_quantile(ordered, level))
    return bounds[0], bounds[1]


def _read_quantile(ordered: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return each column's quantile at its own level, interpolated as numpy does."""
    place = level * (len(ordered) - 1)
    lower = np.floor(place).astype(int)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    first, second = (np.take_along_axis(ordered, each[None], axis=0)[0] for each in (lower, upper))
    between: np.ndarray = first + (place - lower) * (second - first)
    return between
