"""Which of two sets is faster: by the rounds that both were timed in, not by the base's scatter."""

import math
from pathlib import Path
from typing import Any

import pytest
from synthetic_study import time_session, write_run, write_study

from harness.analysis.comparison import Comparison, compare
from harness.analysis.published_claims import check_claims
from harness.analysis.ranking import find_front_probability
from harness.analysis.regret import find_chances
from harness.analysis.results import load_examples, load_results
from harness.analysis.verdict.recommendation import Recommendation, recommend
from harness.records.record import BASE
from harness.reporting.report_tables import make_pair_table

SHAPE: dict[str, Any] = {"seeds": (0, 1), "examples": 300, "rounds": 0}


def write_timed(study: Path, ratios: dict[str, float], **options: Any) -> Path:
    """Sets of equal scores, timed together beside a base whose own calls scatter by 15%."""
    gains = dict.fromkeys(ratios, 0.2)
    write_study(study, tuple(ratios), ("fincot", "medmcqa"), gains=gains, **SHAPE)
    time_session(study, ratios, **{"base_noise": 0.15} | options)
    return study


def analyse(study: Path) -> tuple[Comparison, Recommendation]:
    tables = load_results(study), load_examples(study, texts=False)
    return compare(*tables), recommend(*tables)


def test_the_faster_of_two_is_known_though_their_intervals_to_the_base_overlap(
    tmp_path: Path,
) -> None:
    """By the overlap it was a tie, and went to `all`, which is smaller and 5% slower."""
    ratios = {"o_proj+fc2": 1.10, "all": 1.155}
    study = write_timed(tmp_path / "study", ratios)
    comparison, verdict = analyse(study)
    rows = comparison.overall.set_index("variant")
    assert rows.loc["all", "end_to_end_ratio_low"] < rows.loc["o_proj+fc2", "end_to_end_ratio_high"]
    assert rows.loc["all", "trainable_parameters"] < rows.loc["o_proj+fc2", "trainable_parameters"]
    paired = comparison.compare_times("all", "o_proj+fc2")
    assert paired.estimate == pytest.approx(1.05, abs=0.004)
    assert 1.04 < paired.low < 1.05 < paired.high < 1.06
    assert verdict.choice == "o_proj+fc2"
    (reason,) = (each for each in verdict.reasons if "the fastest of these" in each)
    assert f"all, the next, takes {paired.estimate:.3f}x (" in reason
    # Where they were not timed together, the base's scatter counts twice.
    results = load_results(study).drop(columns="folder")
    alone = compare(results, load_examples(study, texts=False))
    apart = alone.compare_times("all", "o_proj+fc2")
    assert apart.low < 1 < apart.high
    assert recommend(results, load_examples(study, texts=False)).choice == "all"


def test_sets_that_are_alike_in_their_rounds_are_a_tie(tmp_path: Path) -> None:
    study = write_timed(tmp_path / "study", {"o_proj+fc2": 1.10, "all": 1.101}, noise=0.02)
    comparison, verdict = analyse(study)
    paired = comparison.compare_times("o_proj+fc2", "all")
    assert paired.low < 1 < paired.high
    assert verdict.choice == "all"
    (reason,) = (each for each in verdict.reasons if "does not separate" in each)
    shown = f"o_proj+fc2 {paired.estimate:.3f}x ({paired.low:.3f} to {paired.high:.3f})"
    assert f"(time relative to all): {shown}" in reason


def test_a_set_slower_than_any_that_qualifies_is_no_tie(tmp_path: Path) -> None:
    """The third has the lowest ratio, timed apart and badly; `all` is 5% slower than the first."""
    study = write_timed(tmp_path / "study", {"o_proj+fc2": 1.10, "all": 1.155})
    third = "o_proj+fc1+fc2"
    for task in ("fincot", "medmcqa"):
        for seed in (0, 1):
            write_run(study, third, task, seed=seed, gain=0.2, examples=300, rounds=0)
    time_session(study, {third: 1.08}, base_seconds=2.0, base_noise=0.5, session="another")
    comparison, verdict = analyse(study)
    ratios = comparison.overall.set_index("variant")["end_to_end_ratio"]
    assert ratios.idxmin() == third
    assert not comparison.compare_times(third, "all").high < 1
    assert verdict.choice == "o_proj+fc2"


def test_a_base_that_qualifies_is_taken_though_a_set_seems_faster(tmp_path: Path) -> None:
    """An adapter adds work; that it measured 3% faster is no reason to train one."""
    gains = dict.fromkeys(("qkv", "all"), 0.0)
    study = write_study(
        tmp_path / "study", tuple(gains), ("fincot", "medmcqa"), gains=gains, **SHAPE
    )
    time_session(study, {"qkv": 0.97, "all": 1.1}, noise=0.001)
    comparison, verdict = analyse(study)
    assert comparison.compare_times("qkv", BASE).high < 1
    assert (verdict.verdict, verdict.choice) == ("train nothing", BASE)


def test_speed_against_the_base_is_the_ratio_itself(tmp_path: Path) -> None:
    comparison, _ = analyse(write_timed(tmp_path / "study", {"qkv": 1.1, "all": 1.2}))
    own = comparison.overall.set_index("variant").loc["all"]
    ratio = comparison.compare_times("all", BASE)
    assert (ratio.estimate, ratio.low) == (own["end_to_end_ratio"], own["end_to_end_ratio_low"])
    back = comparison.compare_times(BASE, "all")
    assert back.low == pytest.approx(1 / own["end_to_end_ratio_high"])


def test_tables_claims_and_chances_go_by_the_rounds_too(tmp_path: Path) -> None:
    study = write_timed(tmp_path / "study", {"o_proj": 1.00, "o_proj+fc2": 1.26, "all": 1.3})
    comparison, _ = analyse(study)
    # 22.6% faster is at most 0.816; the truth is 0.794, which independent ratios cannot tell.
    speed = next(each for each in check_claims(comparison) if "22.6%" in each.name)
    assert speed.outcome == "holds"
    table = make_pair_table(comparison)
    for row in table.rows:
        better, worse = row[0].split(" over ")
        ratio = comparison.compare_times(better, worse)
        assert row[-1] == f"{ratio.estimate:.3f}x ({ratio.low:.3f} to {ratio.high:.3f})"
    # All scores are alike, so that a slower one is on the front where it happens to score more.
    chances = find_front_probability(comparison)
    assert chances["o_proj"] == 1.0
    assert not math.isnan(chances[BASE])


def test_the_slower_of_two_is_on_the_front_only_where_it_is_better(tmp_path: Path) -> None:
    """By 3%, which the base's scatter would hide."""
    comparison, _ = analyse(write_timed(tmp_path / "study", {"qkv": 1.26, "all": 1.3}))
    best = find_chances(comparison.scores)["all"]
    assert 0.3 < best < 0.7
    assert find_front_probability(comparison)["all"] == pytest.approx(best, abs=0.01)


def test_a_seed_that_was_timed_later_has_a_session_of_its_own(tmp_path: Path) -> None:
    """Its base is the same run, timed again on a machine that is three times slower now."""
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), **SHAPE)
    time_session(study, {"qkv": 1.1, "all": 1.2}, seeds=(0,), noise=0.0)
    time_session(study, {"qkv": 1.3, "all": 1.5}, seeds=(1,), noise=0.0, base_seconds=3.0)
    results = load_results(study)
    sets = results[results["target_set"] != BASE].set_index(["variant", "seed"])
    assert sets["end_to_end_ratio"].to_dict() == pytest.approx(
        {("qkv", 0): 1.1, ("all", 0): 1.2, ("qkv", 1): 1.3, ("all", 1): 1.5}
    )
    assert sets.groupby("seed")["latency_session"].nunique().to_dict() == {0: 1, 1: 1}
    assert sets["latency_session"].nunique() == 2
    assert sets["latency_session"].str.startswith("the base@").all()
    comparison = compare(results, load_examples(study, texts=False))
    ratios = comparison.overall.set_index("variant")["end_to_end_ratio"]
    assert ratios["qkv"] == pytest.approx(math.sqrt(1.1 * 1.3))
    assert ratios["all"] == pytest.approx(math.sqrt(1.2 * 1.5))
    paired = comparison.compare_times("all", "qkv")
    assert paired.estimate == pytest.approx(math.sqrt(1.2 / 1.1 * 1.5 / 1.3))
