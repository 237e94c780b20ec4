"""Whether sets of several terms cost what the sum of their terms says, tested on all at once.

A table of many sets shows departures by chance alone: the p-values here are adjusted for looking at
every set. Used by `harness.analysis.latency.cost_model`, which makes the terms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.analysis.latency.resampling import SPENT, Bounds
from harness.formatting import join_words

LEVEL = 0.05
"""Chance, at most, of naming any set as departing where all terms add up."""

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
    alternatives: tuple[tuple[str, ...], ...]
    """Departing sets of which the data do not say which one departs, group by group."""
    sentence: str


def find_p_values(
    difference: np.ndarray, standard_error: np.ndarray, degrees_of_freedom: np.ndarray
) -> np.ndarray:
    """Return the two-sided p-value of each difference from 0, [sets]; NaN where unknown.

    `difference` is [sets]; the others are [parts, sets], as those of `resampling.Bounds`, and the
    part that doubts the difference most decides. Divided by the share of the error that intervals
    spend, so that a p-value under 0.05 goes with a 95% interval that excludes 0.
    """
    seen = np.abs(difference) / np.maximum(standard_error, SMALLEST_ERROR)
    chances = 2 * stats.t.sf(seen, degrees_of_freedom)
    return np.asarray(np.minimum(chances.max(axis=0) / SPENT, 1))


def judge_additivity(
    tested: Sequence[str],
    excess: Bounds,
    adjusted: np.ndarray,
    alike: Sequence[int] | np.ndarray,
    untimed: Sequence[str] = (),
) -> Additivity:
    """Judge whether the role costs add up.

    `excess` (measured - predicted, in shares of the base's time), `adjusted` p-values and `alike`
    (sets of one number depart together or not at all) are of the `tested` sets; `untimed` ones
    could be timed for a test where there was none.
    """
    if not tested:
        advice = f"; time another set, such as {untimed[0]}" if untimed else ""
        return Additivity((), None, None, (), (), f"Not tested: the fit used every set{advice}.")
    if np.isnan(adjusted).any():
        sentence = "Not tested: too few rounds or processes for standard errors."
        return Additivity(tuple(tested), None, None, (), (), sentence)
    groups: dict[int, list[str]] = {}
    for label, chance, number in zip(tested, adjusted, alike, strict=True):
        if chance < LEVEL:
            groups.setdefault(int(number), []).append(label)
    found = dict(zip(tested, excess.estimate.tolist(), strict=True))
    p_value = float(adjusted.min())
    return Additivity(
        sets=tuple(tested),
        p_value=p_value,
        holds=not groups,
        departing=tuple(
            label for label in tested if any(label in each for each in groups.values())
        ),
        alternatives=tuple(tuple(each) for each in groups.values() if len(each) > 1),
        sentence=_word(found, [*groups.values()], p_value, excess),
    )


def _word(
    found: dict[str, float], departing: Sequence[Sequence[str]], p_value: float, excess: Bounds
) -> str:
    chance = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    if departing:
        tested = "the one set tested" if len(found) == 1 else f"{len(found)} sets tested"
        return (
            f"The role costs do not add up ({chance}). Of {tested}, these depart from the sum of "
            "their roles, as a share of the base's time: "
            f"{'; '.join(_name_departures(found, departing))}."
        )
    room = float(np.abs([excess.low, excess.high]).max())
    return (
        f"No departure from the sum of the role costs was found in {join_words([*found])} "
        f"({chance}). The intervals allow a departure of up to {room:.1%} of the base's time."
    )


def _name_departures(found: dict[str, float], departing: Sequence[Sequence[str]]) -> Iterator[str]:
    for group in departing:
        *others, last = [f"{label} {found[label]:+.1%}" for label in group]
        if others:
            yield f"{', '.join(others)} or {last} (the data cannot tell which)"
        else:
            yield last
