"""Two variants compared inside the rounds that both were timed in, against the median by hand."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.analysis.latency.shared_rounds import SharedRounds, find_shared_rounds
from harness.records.files import write_table

Times = Mapping[str, Sequence[float]]
"""Variant -> its end-to-end seconds by round."""


def write_session(folder: Path, times: Times, task: str = "t") -> dict[tuple[str, str], Path]:
    """A file a variant, as a sweep's session leaves them; NaN where a round lacks it."""
    files = {}
    for name, seconds in times.items():
        rows = [
            {
                "round": number,
                "arm": arm,
                "ttft_seconds": each / 2,
                "tpot_seconds": each**2,
                "end_to_end_seconds": each,
            }
            for number, own in enumerate(seconds)
            for arm, each in (("base", 1.0), ("unmerged", own), ("merged", 9.0))
            if not math.isnan(each)
        ]
        files[task, name] = folder / name / "latency.parquet"
        write_table(files[task, name], rows)
    return files


def share(*sessions: Mapping[tuple[str, str], Path]) -> SharedRounds:
    named: dict[tuple[str, str], dict[str, Path]] = {}
    for number, files in enumerate(sessions):
        for key, path in files.items():
            named.setdefault(key, {})[f"session {number}"] = path
    return SharedRounds(named)


def drift(count: int = 25) -> np.ndarray:
    """A machine that is up to twice as slow from round to round."""
    return 1 + np.random.default_rng(0).random(count)


def test_a_pair_is_compared_inside_its_rounds(tmp_path: Path) -> None:
    noise = np.exp(np.random.default_rng(1).normal(0, 0.01, 25))
    slow = 1.1 * drift() * noise
    rounds = share(write_session(tmp_path, {"a": list(drift()), "b": list(slow)}))
    ratio = rounds.compare("b", "a", "end_to_end", ["t"])
    assert ratio.estimate == pytest.approx(float(np.median(slow / drift())))
    assert 1.09 < ratio.low < ratio.estimate < ratio.high < 1.11
    # The order statistics of a median of 25, at 95%: the 8th smallest and the 8th largest.
    ordered = np.sort(slow / drift())
    assert (ratio.low, ratio.high) == (pytest.approx(ordered[7]), pytest.approx(ordered[17]))
    back = rounds.compare("a", "b", "end_to_end", ["t"])
    assert back.estimate == pytest.approx(1 / ratio.estimate)
    assert (back.low, back.high) == (pytest.approx(1 / ratio.high), pytest.approx(1 / ratio.low))
    squared = rounds.compare("b", "a", "tpot", ["t"])
    assert squared.estimate == pytest.approx(ratio.estimate**2)


def test_a_round_that_lacks_one_of_them_is_left_out(tmp_path: Path) -> None:
    fast, slow = drift(), 1.1 * drift()
    fast[3] = slow[5] = math.nan
    rounds = share(write_session(tmp_path, {"a": list(fast), "b": list(slow)}))
    ratio = rounds.compare("b", "a", "end_to_end", ["t"])
    assert (ratio.rounds, ratio.estimate) == (23, pytest.approx(1.1))


def test_tasks_of_one_session_count_once_and_sessions_are_averaged(tmp_path: Path) -> None:
    one = write_session(tmp_path / "one", {"a": [1.0] * 10, "b": [1.2] * 10})
    again = {("u", name): path for (_, name), path in one.items()}
    other = write_session(tmp_path / "other", {"a": [1.0] * 10, "b": [1.5] * 10}, task="v")
    rounds = share(one | again, other)
    assert rounds.compare("b", "a", "end_to_end", ["t", "u"]).estimate == pytest.approx(1.2)
    both = rounds.compare("b", "a", "end_to_end", ["t", "u", "v"])
    assert both.estimate == pytest.approx(math.sqrt(1.2 * 1.5))


def test_what_was_never_timed_together_is_unknown(tmp_path: Path) -> None:
    one = write_session(tmp_path / "one", {"a": [1.0] * 10})
    other = write_session(tmp_path / "other", {"b": [1.2] * 10})
    rounds = share(one, other)
    assert math.isnan(rounds.compare("a", "b", "end_to_end", ["t"]).estimate)
    assert math.isnan(rounds.compare("a", "b", "end_to_end", []).estimate)
    # On one of two tasks only.
    both = write_session(tmp_path / "both", {"a": [1.0] * 10, "b": [1.2] * 10}, task="u")
    rounds = share(one, other, both)
    assert math.isnan(rounds.compare("a", "b", "end_to_end", ["t", "u"]).estimate)
    assert rounds.compare("b", "a", "end_to_end", ["u"]).estimate == pytest.approx(1.2)


def test_a_file_that_is_gone_leaves_the_pair_unknown(tmp_path: Path) -> None:
    files = write_session(tmp_path, {"a": [1.0] * 10, "b": [1.2] * 10})
    files["t", "a"].unlink()
    assert math.isnan(share(files).compare("a", "b", "end_to_end", ["t"]).estimate)


def test_tables_without_folders_have_no_rounds() -> None:
    rounds = find_shared_rounds(pd.DataFrame({"variant": ["a", "b"], "end_to_end_ratio": [1, 2]}))
    assert math.isnan(rounds.compare("a", "b", "end_to_end", ["t"]).estimate)
