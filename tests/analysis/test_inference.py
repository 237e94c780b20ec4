"""Holm's correction and MOVER's bounds, against values computed by hand and published ones."""

import math

import numpy as np
import pytest
from scipy import stats

from harness.analysis.inference import correct_holm, find_mover_widths


def test_holm_multiplies_the_smallest_most_and_never_steps_down() -> None:
    p = np.array([0.01, 0.04, math.nan, 0.03, 0.005])
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04 raised to the one before.
    np.testing.assert_allclose(correct_holm(p), [0.03, 0.06, math.nan, 0.06, 0.02])
    assert correct_holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert len(correct_holm(np.array([]))) == 0


def test_tests_that_are_alike_count_once() -> None:
    p = np.array([0.01, 0.01, math.nan, 0.03, 0.5])
    # Three tests: 3 x 0.01, 2 x 0.03 and 0.5.
    expected = [0.03, 0.03, math.nan, 0.06, 0.5]
    np.testing.assert_allclose(correct_holm(p, [0, 0, 2, 3, 4]), expected)


def test_a_difference_takes_the_bounds_that_lie_apart() -> None:
    # 10 (7 to 15) less 4 (-8 to 8): 3 and 4 below, 5 and 12 above.
    below, above = find_mover_widths([10, 4], [7, -8], [15, 8], weights=(1, -1))
    assert (below, above) == (5, 13)


def test_weights_scale_the_distances_of_each_column() -> None:
    estimates, lows, highs = [[1, 0], [1, 0]], [[0, -3], [0, math.nan]], [[2, 4], [2, 4]]
    below, above = find_mover_widths(estimates, lows, highs, weights=(3, 4))
    np.testing.assert_allclose(below, [5, math.nan])
    np.testing.assert_allclose(above, [5, 20])


def test_of_wilson_intervals_it_is_newcombes_interval() -> None:
    """56/70 against 48/80, method 10 of Newcombe, Statistics in Medicine 17:873, 1998, table II."""
    counts = ((56, 70), (48, 80))
    intervals = [stats.binomtest(*each).proportion_ci(method="wilson") for each in counts]
    below, above = find_mover_widths(
        [56 / 70, 48 / 80], [i.low for i in intervals], [i.high for i in intervals], (1, -1)
    )
    assert (0.2 - below, 0.2 + above) == pytest.approx((0.0524, 0.3339), abs=5e-5)
