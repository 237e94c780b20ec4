"""Intervals over processes and rounds: against scipy's BCa, and where the right answer is known."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from harness.analysis.latency import resampling
from harness.analysis.latency.resampling import interval_of, resample_rounds


def take_means(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rounds: values[rounds].mean(axis=1)


@pytest.mark.parametrize("draw", ["exponential", "normal"])
def test_bca_agrees_with_scipy_on_the_same_resamples(draw: str) -> None:
    """Of one process both are defined; skewed data make bias and acceleration matter."""
    values = getattr(np.random.default_rng(2), draw)(size=25)
    process = np.zeros(25, int)
    resampled = take_means(values)(resample_rounds(process, 4000, 1))
    low, high = resampling._bound_bca(
        values.mean(), resampled, resampling._jackknife(take_means(values), process), 0.025
    )
    # scipy takes the resamples as they are where it adds none.
    given = stats.bootstrap((values,), np.mean, n_resamples=99, method="BCa", rng=0)
    given.bootstrap_distribution = resampled
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=0, bootstrap_result=given, method="BCa"
    ).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_few_processes_that_differ_give_the_t_interval_of_their_means() -> None:
    """With noise-free rounds only the processes vary, and Student's interval is exact."""
    means = np.array([0.1, 0.4, 0.2, 0.9])
    process = np.repeat(np.arange(4), 6)
    bounds = interval_of(take_means(means[process]), process)
    error = means.std(ddof=1) / 2
    assert bounds.standard_error[1] == pytest.approx(error)
    assert bounds.degrees_of_freedom == pytest.approx([23, 3])
    level = 1 - resampling.SPENT * 0.05 / 2
    assert bounds.high - bounds.low == pytest.approx(2 * stats.t.ppf(level, 3) * error)
    assert bounds.low < bounds.estimate < bounds.high


def test_skew_goes_to_the_side_that_it_is_on() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    bounds = interval_of(take_means(values), np.zeros(40, int))
    assert bounds.high - bounds.estimate > 1.1 * (bounds.estimate - bounds.low)


def test_the_wider_part_decides_at_every_level() -> None:
    """Three processes agree by chance: few degrees of freedom overtake rounds far out only."""
    rng = np.random.default_rng(8)
    values, process = rng.normal(size=30), np.repeat([0, 1, 2], 10)
    means = np.array([0.0, 0.15, -0.15])
    values += np.repeat(means - values.reshape(3, 10).mean(axis=1), 10)
    widths, parts = [], []
    for confidence in (0.8, 0.999):
        bounds = interval_of(take_means(values), process, confidence=confidence)
        quantile = stats.t.ppf(1 - resampling.SPENT * (1 - confidence) / 2, [29, 2])
        parts.append((quantile * bounds.standard_error).argmax())
        widths.append(bounds.high - bounds.low)
        assert widths[-1] == pytest.approx(2 * (quantile * bounds.standard_error).max())
    assert parts == [0, 1]


def test_a_process_barely_begun_narrows_nothing() -> None:
    rng = np.random.default_rng(4)
    values, process = rng.normal(size=41), np.repeat([0, 1, 2], [20, 20, 1])
    three = interval_of(take_means(values), process)
    assert three.degrees_of_freedom == pytest.approx([40, 1], abs=0.2)
    two = interval_of(take_means(values[:40]), process[:40])
    assert three.standard_error.max() > 0.5 * two.standard_error.max()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sizes", [[200, 1], [40, 1, 1], [20, 10]])
def test_under_one_degree_of_freedom_is_unknown_and_not_none(sizes: list[int]) -> None:
    """Student's t of hundredths of a degree is infinite or NaN; rounds alone would be narrow."""
    process = np.repeat(np.arange(len(sizes)), sizes)
    bounds = interval_of(take_means(np.random.default_rng(9).normal(size=len(process))), process)
    assert np.isnan([bounds.low, bounds.high]).all()
    assert np.isfinite(bounds.estimate)


def test_a_round_less_in_one_of_two_processes_is_no_matter() -> None:
    values = np.random.default_rng(9).normal(size=39)
    bounds = interval_of(take_means(values), np.repeat([0, 1], [20, 19]))
    assert np.isfinite([bounds.low, bounds.high]).all()


def test_columns_are_as_if_asked_for_alone() -> None:
    values = np.random.default_rng(5).normal(size=(30, 3)) * [1, 5, 0.1]
    process = np.repeat(np.arange(3), 10)
    together = interval_of(lambda rounds: np.median(values[rounds], axis=1), process)
    for column in range(3):
        alone = interval_of(
            lambda rounds, column=column: np.median(values[rounds][..., column], axis=1), process
        )
        assert together.low[column] == pytest.approx(alone.low, rel=1e-12)
        assert together.high[column] == pytest.approx(alone.high, rel=1e-12)


def test_no_noise_is_no_width() -> None:
    bounds = interval_of(take_means(np.full(12, 0.3)), np.repeat([0, 1, 2], 4))
    assert (bounds.low, bounds.high) == pytest.approx((0.3, 0.3))


def test_confidence_widens() -> None:
    values, process = np.random.default_rng(6).normal(size=30), np.repeat([0, 1, 2], 10)
    narrow, wide = (interval_of(take_means(values), process, confidence=c) for c in (0.9, 0.99))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_resamples_draw_processes_then_their_rounds() -> None:
    process = np.array([7, 7, 3, 7, 3, 7])
    drawn = resample_rounds(process, 4000, 0)
    slots = process[drawn]
    assert (slots[:, process == 7] == slots[:, [0]]).all()
    assert (slots[:, process == 3] == slots[:, [2]]).all()
    assert (slots[:, 0] == 3).mean() == pytest.approx(0.5, abs=0.03)
    counts = np.bincount(drawn[:, 0], minlength=6) / 4000
    assert counts == pytest.approx([1 / 8, 1 / 8, 1 / 4, 1 / 8, 1 / 4, 1 / 8], abs=0.03)
    # What is kept from one call to the next would hide draws that differ.
    resampling._draw.cache_clear()
    assert (resample_rounds(process, 4000, 0) == drawn).all()
    assert not (resample_rounds(process, 4000, 1) == drawn).all()


def test_two_single_rounds_have_an_interval_and_one_has_none() -> None:
    bounds = interval_of(take_means(np.array([0.0, 0.1])), np.array([0, 1]))
    assert np.isfinite([bounds.low, bounds.high]).all()
    assert bounds.low < 0 < 0.1 < bounds.high
    assert np.isfinite(bounds.standard_error).all()
