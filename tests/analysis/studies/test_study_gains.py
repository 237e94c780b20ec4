"""What moved between studies: bounds of a change, and which pairs count as told apart."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from harness.analysis.studies.study_gains import tabulate_changes


def make_table(*gains: tuple[str, float, float, float]) -> pd.DataFrame:
    columns = ["study", "gain", "gain_low", "gain_high"]
    return pd.DataFrame(gains, columns=columns).assign(variant="qkv", task="fincot")


def test_a_change_takes_the_bounds_that_lie_apart() -> None:
    """Lopsided intervals: the change is least where the old gain is high and the new one low."""
    table = make_table(("old", 0.1, 0.0, 0.3), ("new", 0.5, 0.4, 0.55))
    (row,) = tabulate_changes(table).to_dict("records")
    assert row["study"] == "new"
    assert row["change"] == pytest.approx(0.4)
    assert row["change_low"] == pytest.approx(0.4 - np.hypot(0.1, 0.2))
    assert row["change_high"] == pytest.approx(0.4 + np.hypot(0.05, 0.1))


@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_the_bounds_of_a_change_cover_it_in_19_of_20_cases(count: int) -> None:
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(count):
        gains = [
            (name, gain, gain - 1.96 * error, gain + 1.96 * error)
            for name, true, error in (("old", 0.1, 0.02), ("new", 0.3, 0.05))
            for gain in [rng.normal(true, error)]
        ]
        (row,) = tabulate_changes(make_table(*gains)).to_dict("records")
        hits.append(row["change_low"] <= 0.2 <= row["change_high"])
    low, high = binom.ppf([0.005, 0.995], count, 0.95) / count
    assert low <= np.mean(hits) <= high


def test_a_gain_that_is_unknown_leaves_its_change_unknown() -> None:
    table = make_table(("old", np.nan, np.nan, np.nan), ("new", 0.5, 0.4, 0.6))
    changes = tabulate_changes(table)
    assert changes[["change", "change_low", "change_high"]].isna().all(axis=None)
