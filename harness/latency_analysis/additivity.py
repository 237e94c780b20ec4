"""Whether sets of several terms cost what the sum of their terms says, tested on all at once.

A table of many sets shows departures by chance alone: the p-values here are adjusted for looking at
every set. Used by `harness.latency_analysis.cost_model`, which makes the terms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.formatting import join_words
from harness.resampling import Bounds

LEVEL = 0.05
"""Chance of naming any set as departing where all terms add up."""

DRAWS = 20_000
"""Of the largest departure by chance; puts a p-value of 0.05 right to within 0.003."""

SMALLEST_ERROR = 1e-9
"""Of the base's time: finer than any clock, and it keeps noise-free times from dividing by 0."""


@dataclass(frozen=True)
class Additivity:
    sets: tuple[str, ...]
    """Labels of the sets that the terms were tested on."""
    p_value: float | None
    """Of the largest departure among them if all terms add up; None where none was tested."""
    holds: bool | None
    """Whether no departure was found at the 5% level; None where none was tested."""
    departing: tuple[str, ...]
    """Sets whose own p-value, adjusted for testing all of them, is under 0.05."""
    sentence: str


def adjust_p_values(excess: Bounds, seed: int = 0) -> np.ndarray:
    """Return each excess's p-value, adjusted for looking at all of them, [sets].

    The single-step test (Westfall and Young, Resampling-Based Multiple Testing, 1993, section 2.3):
    a set's own p-value, from Student's t of its degrees of freedom, against the smallest one among
    as many sets that do not depart and are correlated as the resamples are. The smallest adjusted
    p-value is that of all sets together. NaN where a standard error is unknown.
    """
    if not excess.estimate.size or not np.isfinite(excess.standard_error).all():
        return np.full(excess.estimate.shape, math.nan)
    seen = np.abs(excess.estimate) / np.maximum(excess.standard_error, SMALLEST_ERROR)
    # As normal deviates, so that sets of unlike degrees of freedom are on one scale.
    deviates = stats.norm.isf(stats.t.sf(seen, excess.degrees_of_freedom))
    exceeding = (_draw_largest(excess.resampled, seed)[:, None] >= deviates).sum(axis=0)
    return np.asarray((1 + exceeding) / (1 + DRAWS))


def judge_additivity(
    tested: Sequence[str], excess: Bounds, adjusted: np.ndarray, untimed: Sequence[str] = ()
) -> Additivity:
    """Say whether the terms add up.

    `excess` (measured - predicted, in shares of the base's time) and `adjusted` p-values are of the
    `tested` sets; `untimed` ones could be timed for a test where there was none.
    """
    if not tested:
        advice = f"; time another, such as {untimed[0]}" if untimed else ""
        return Additivity((), None, None, (), f"Not tested: the fit needed every set{advice}.")
    if np.isnan(adjusted).any():
        sentence = "Not tested: too few rounds or processes for standard errors."
        return Additivity(tuple(tested), None, None, (), sentence)
    departing = tuple(
        label for label, chance in zip(tested, adjusted, strict=True) if chance < LEVEL
    )
    p_value = float(adjusted.min())
    sentence = _word(dict(zip(tested, excess.estimate, strict=True)), departing, p_value, excess)
    return Additivity(tuple(tested), p_value, not departing, departing, sentence)


def _draw_largest(resampled: np.ndarray, seed: int) -> np.ndarray:
    """The largest of normal deviates correlated as the columns of `resampled` are, [DRAWS]."""
    # A column whose resamples are all alike has no correlation.
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.nan_to_num(np.atleast_2d(np.corrcoef(resampled.T)))
    np.fill_diagonal(correlation, 1.0)
    rng = np.random.default_rng(seed)
    normal = rng.multivariate_normal(np.zeros(len(correlation)), correlation, DRAWS, method="eigh")
    return np.asarray(np.abs(normal).max(axis=1))


def _word(found: dict[str, float], departing: Sequence[str], p_value: float, excess: Bounds) -> str:
    chance = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    if departing:
        named = join_words([f"{label} {found[label]:+.1%}" for label in departing])
        return (
            f"The terms do not add up ({chance}). Of {len(found)} sets tested, these depart from "
            f"the sum of their terms, in shares of the base's time: {named}."
        )
    room = float(np.abs([excess.low, excess.high]).max())
    return (
        f"No departure from the sum of the terms found in {join_words([*found])} ({chance}); their "
        f"intervals leave room for one of up to {room:.1%} of the base's time."
    )
