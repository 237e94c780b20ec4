"""The majority line: its interval by the published formula, and what counts as skill."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_study import write_run, write_study

from harness.analysis.comparison import Comparison, compare
from harness.analysis.majority import LONGEST_ANSWER, make_majority_line
from harness.analysis.results import load_examples, load_results
from harness.analysis.verdict.recommendation import Recommendation, decide
from harness.records.record import BASE, read_record, write_record

Z = 1.959963984540054
"""97.5% point of the normal distribution, from a table."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's interval, written out from JASA 22:209 (1927)."""
    share, squared = hits / count, Z * Z
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    spread = share * (1 - share) / count + squared / (4 * count * count)
    half = Z / (1 + squared / count) * math.sqrt(spread)
    return middle - half, middle + half


def answer(share: float, prediction: str = "A") -> dict[str, Any]:
    return {"majority_prediction": prediction, "majority_score": share}


def load_row(study: Path) -> pd.Series:
    return load_results(study).iloc[0]


def compare_study(study: Path) -> Comparison:
    return compare(load_results(study), load_examples(study, texts=False))


@pytest.mark.parametrize(
    ("hits", "count"), [(1347, 4183), (19, 60), (1, 3), (1, 1), (0, 7), (5, 5)]
)
def test_the_interval_is_wilsons(hits: int, count: int) -> None:
    line = make_majority_line("A", hits / count, count)
    assert line is not None
    np.testing.assert_allclose((line.low, line.high), wilson(hits, count), atol=1e-12)


def test_medmcqas_validation_line() -> None:
    """Always A is right 1,348 times in 4,183 rows: 32.2%."""
    line = make_majority_line("A", 0.322, 4183)
    assert line is not None
    assert (round(line.low, 3), round(line.high, 3)) == (0.308, 0.336)


@pytest.mark.parametrize(
    ("prediction", "score", "examples"),
    [(None, 0.3, 60), ("A", math.nan, 60), ("A", 0.3, 0), ("A", 1.7, 60), ("A", -0.1, 60)],
)
def test_what_is_no_share_of_examples_makes_no_line(
    prediction: str | None, score: float, examples: int
) -> None:
    assert make_majority_line(prediction, score, examples) is None


@pytest.mark.parametrize("text", ["two\nlines", "x" * 500, ""])
def test_a_name_is_short_and_on_one_line(text: str) -> None:
    line = make_majority_line(text, 0.5, 10)
    assert line is not None
    assert "\n" not in line.name
    assert len(line.name) <= len("always ") + LONGEST_ANSWER


@pytest.mark.parametrize(("offset", "expected"), [(-1, False), (0, False), (1, True)])
def test_a_score_on_the_bound_is_no_skill(tmp_path: Path, offset: int, expected: bool) -> None:
    bound = make_majority_line("A", 0.3, 40)
    assert bound is not None
    score = bound.high
    for _ in range(abs(offset)):
        score = math.nextafter(score, math.inf if offset > 0 else -math.inf)
    write_run(
        tmp_path / "s",
        "qkv",
        "medmcqa",
        examples=40,
        scored={"scores": {"accuracy": score}} | answer(0.3),
    )
    row = load_row(tmp_path / "s")
    assert row["majority_score_high"] == bound.high
    assert bool(row["has_skill"]) is expected


def test_below_the_interval_is_no_skill_either(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "qkv", "medmcqa", scores=[0.0] * 60, scored=answer(0.5))
    assert not load_row(tmp_path / "s")["has_skill"]


def test_where_the_line_is_at_the_top_nothing_is_above_it(tmp_path: Path) -> None:
    for number, count in enumerate((1, 30)):
        study = tmp_path / str(number)
        write_run(study, "qkv", "medmcqa", scores=[1.0] * count, scored=answer(1.0))
        row = load_row(study)
        assert row["majority_score_high"] == 1.0
        assert not row["has_skill"]


def test_without_a_line_skill_is_unknown(tmp_path: Path) -> None:
    study = tmp_path / "s"
    write_run(study, "qkv", "fincot")
    write_run(study, "all", "medmcqa", scores=[math.nan] * 60, scored=answer(0.3))
    write_run(study, "o_proj", "medmcqa", scored=answer(math.nan))
    results = load_results(study).set_index("target_set")
    assert results["has_skill"].dtype == "boolean"
    assert results["has_skill"].isna().all()
    assert results["majority_score"].isna().to_dict() == {"qkv": True, "all": False, "o_proj": True}
    assert compare_study(study).majority.keys() <= {"medmcqa"}


def test_two_studies_keep_their_own_lines(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "qkv", "medmcqa", scores=[0.5] * 60, scored=answer(0.2, "A"))
    write_run(tmp_path / "b", "qkv", "medmcqa", scores=[0.5] * 60, scored=answer(0.6, "C"))
    results = load_results(tmp_path).set_index("study")
    assert results["majority_prediction"].to_dict() == {"a": "A", "b": "C"}
    assert results["has_skill"].to_dict() == {"a": True, "b": False}


def test_a_comparison_holds_every_set_against_the_line_of_its_task(tmp_path: Path) -> None:
    study = tmp_path / "s"
    for target_set, right in ((BASE, 18), ("qkv", 22), ("all", 50)):
        write_run(
            study,
            target_set,
            "medmcqa",
            scores=[1.0] * right + [0.0] * (60 - right),
            scored=answer(0.3),
        )
        write_run(study, target_set, "fincot")
    comparison = compare_study(study)
    assert list(comparison.majority) == ["medmcqa"]
    rows = comparison.by_task.set_index(["task", "variant"])["has_skill"]
    assert rows["medmcqa"].to_dict() == {BASE: False, "qkv": False, "all": True}
    assert rows["fincot"].isna().all()
    assert comparison.notes == ()
    assert "always A" not in set(comparison.overall["variant"])


def test_lines_that_differ_are_named_and_the_commonest_counts(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "s", ("qkv", "all"), ("medmcqa",), scored={"medmcqa": answer(0.3)}
    )
    write_run(study, "o_proj", "medmcqa", scored=answer(0.4, "B"))
    comparison = compare_study(study)
    assert comparison.majority["medmcqa"].prediction == "A"
    (note,) = comparison.notes
    assert "compared with always A (0.300" in note
    assert "not with always B (0.400" in note


def judge(study: Path, share: float) -> tuple[Comparison, Recommendation]:
    """The verdict where always A scores `share`: two good sets, one that is not much above base."""
    write_study(
        study,
        ("qkv", "all", "o_proj"),
        ("medmcqa",),
        gains={"qkv": 0.3, "all": 0.3, "o_proj": 0.1},
        ratios={"qkv": 1.02, "all": 1.5, "o_proj": 1.01},
        seeds=(0, 1),
        examples=400,
    )
    for folder in (study / "runs").iterdir():
        record = read_record(folder)
        assert record.eval is not None
        changed = dataclasses.replace(record.eval, **answer(share))
        write_record(folder, dataclasses.replace(record, eval=changed))
    comparison = compare_study(study)
    return comparison, decide(comparison, load_results(study))


def test_a_line_that_some_set_is_above_takes_no_part_in_the_verdict(tmp_path: Path) -> None:
    _, without = judge(tmp_path / "without", math.nan)
    comparison, with_line = judge(tmp_path / "with", 0.55)
    assert comparison.uncounted == {}
    assert with_line.choice == without.choice == "qkv"
    # Unknown numbers are NaN, and equal nothing.
    assert repr(with_line.inputs) == repr(without.inputs)
    (added,) = set(with_line.caveats) - set(without.caveats)
    assert added.startswith("Not above the majority-class baseline on medmcqa: o_proj.")


def test_a_task_where_nothing_is_above_the_line_tells_nothing_of_the_sets(tmp_path: Path) -> None:
    _, without = judge(tmp_path / "without", math.nan)
    comparison, found = judge(tmp_path / "with", 0.95)
    assert comparison.uncounted == {"medmcqa": "no variant is above the majority-class baseline"}
    assert (without.verdict, without.choice) == ("chosen", "qkv")
    assert (found.verdict, found.choice) == ("undecided", None)
    # The numbers are shown all the same, but for the chance that they would give.
    assert all(math.isnan(each.near_probability) for each in found.inputs)
    shown, counted = (
        [dataclasses.replace(each, near_probability=0.0) for each in verdict.inputs]
        for verdict in (found, without)
    )
    assert repr(shown) == repr(counted)
    (added,) = set(found.caveats) - set(without.caveats)
    assert added.startswith("On medmcqa, no target set is above the majority-class baseline")
    assert added.endswith("does not separate the sets.")


def test_a_task_where_nothing_is_above_the_line_is_left_out_of_the_means(tmp_path: Path) -> None:
    scored = {"medmcqa": answer(0.95), "fincot": answer(0.55)}
    study = write_study(
        tmp_path / "s", ("qkv", "all"), tuple(scored), gains={"qkv": 0.3, "all": 0.3}, scored=scored
    )
    comparison = compare_study(study)
    assert set(comparison.uncounted) == {"medmcqa"}
    assert comparison.tasks == ("fincot",)
    by_task = comparison.by_task.set_index(["task", "variant"])["score"]
    overall = comparison.overall.set_index("variant")["score"]
    assert overall.to_dict() == pytest.approx(by_task["fincot"].to_dict())
    assert by_task["medmcqa"].notna().all()
