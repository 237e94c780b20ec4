"""Textbook inference that scores and times share: Holm's correction, and MOVER's bounds."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def correct_holm(p: np.ndarray, alike: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Return p values corrected for looking at all of them, [tests]; NaN stays NaN, uncounted.

    Tests with one number in `alike`, [tests], count as one. Holm's step-down (Scandinavian Journal
    of Statistics 6:65, 1979) holds however the tests depend on each other.
    """
    numbers = range(len(p)) if alike is None else alike
    _, first, member = np.unique(numbers, return_index=True, return_inverse=True)
    distinct = p[first]
    known = np.flatnonzero(~np.isnan(distinct))
    order = known[np.argsort(distinct[known])]
    steps = distinct[order] * np.arange(len(order), 0, -1)
    corrected = np.full(len(distinct), math.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    result: np.ndarray = corrected[member]
    return result


def find_mover_widths(
    estimates: ArrayLike, lows: ArrayLike, highs: ArrayLike, weights: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the bounds of a weighted sum lie below and above it.

    The estimates, [terms, ...], are independent, and the sum's bounds are made from theirs by
    MOVER, the method of variance estimates recovery (Zou and Donner, Statistics in Medicine
    27:1693, 2008). NaN where a bound is NaN.
    """
    middle, low, high = (np.asarray(each, float) for each in (estimates, lows, highs))
    weight = np.reshape(weights, (-1, *[1] * (middle.ndim - 1)))
    # A term with a negative weight pulls the sum down by its upper bound.
    down = weight * (middle - np.where(weight > 0, low, high))
    up = weight * (np.where(weight > 0, high, low) - middle)
    return np.sqrt((down**2).sum(axis=0)), np.sqrt((up**2).sum(axis=0))


def find_root(covariance: np.ndarray) -> np.ndarray:
    """Return a matrix that makes standard normal draws have a covariance: [k, k] of [k, k].

    Variances of pairs that were estimated each by itself may make no covariance; the nearest will
    do.
    """
    values, vectors = np.linalg.eigh(covariance)
    root: np.ndarray = vectors * np.sqrt(np.clip(values, 0, None))
    return root
