"""A study that is looked at again with more in it: what counts as a look, and that all agree."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from synthetic_study import write_study

from harness.analysis.results import load_examples, load_results
from harness.analysis.studies.study_comparison import compare_studies
from harness.analysis.verdict.recommendation import Recommendation, recommend
from harness.records.record import BASE
from harness.reporting.study_report import build_report

pytestmark = pytest.mark.usefixtures("blank_plots")


def read_bounds(verdict: Recommendation) -> dict[str, float]:
    return {each.variant: each.mean_regret_high for each in verdict.inputs}


def write_seeds(folder: Path, *seeds: int) -> None:
    shape: dict[str, Any] = {"tasks": ("fincot",), "rounds": 0}
    write_study(folder, ("qkv", "all"), seeds=seeds, **shape)


def test_a_later_look_at_a_study_has_wider_bounds_and_the_same_look_the_same(
    tmp_path: Path,
) -> None:
    """Each report with new runs in it counts; the same runs again do not."""
    folder = tmp_path / "study"
    write_seeds(folder, 0, 1)
    build_report(folder)
    write_seeds(folder, 2)
    first = build_report(folder)
    names = ("report.md", "report.html", "summary.csv", "recommendation.json", "looks.json")
    before = {name: (folder / name).read_bytes() for name in names}
    build_report(folder)
    assert {name: (folder / name).read_bytes() for name in names} == before
    copy = tmp_path / "copy" / "study"
    shutil.copytree(folder / "runs", copy / "runs")
    fresh = build_report(copy)
    assert len(json.loads((folder / "looks.json").read_text())["looks"]) == 2
    second, only = (read_bounds(report.recommendations[0]) for report in (first, fresh))
    assert all(second[name] > only[name] for name in (BASE, "qkv", "all"))
    assert any("This is look 2" in each for each in first.recommendations[0].caveats)


def test_python_and_side_by_side_take_the_look_that_the_report_takes(tmp_path: Path) -> None:
    folder, other = tmp_path / "study", tmp_path / "other"
    write_seeds(folder, 0, 1)
    build_report(folder)
    write_seeds(folder, 2)
    # Before the report of the third seed, and after it.
    early = recommend(load_results(folder), load_examples(folder))
    reported = build_report(folder).recommendations[0]
    kept = (folder / "looks.json").read_bytes()
    late = recommend(load_results(folder), load_examples(folder))
    assert read_bounds(early) == read_bounds(late) == read_bounds(reported)
    assert load_results(folder)["look"].unique().tolist() == [2]
    shutil.copytree(folder / "runs", other / "runs")
    for record in other.glob("runs/*/record.json"):
        record.write_text(record.read_text().replace('"seconds": 12.0', '"seconds": 13.0'))
    table = compare_studies([folder, other]).table.query("task == '(all)'")
    highs = table.set_index(["study", "variant"])["regret_high"]
    assert all(highs["study"] > highs["other"])
    assert (folder / "looks.json").read_bytes() == kept


def test_one_seed_is_no_look_since_it_never_chooses(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_seeds(folder, 0)
    build_report(folder)
    assert not (folder / "looks.json").exists()
    write_seeds(folder, 1)
    build_report(folder)
    assert len(json.loads((folder / "looks.json").read_text())["looks"]) == 1
    assert load_results(folder)["look"].unique().tolist() == [1]


def test_a_lost_count_of_looks_is_said_and_is_no_first_look(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_seeds(folder, 0, 1)
    whole = build_report(folder)
    (folder / "looks.json").write_text('{"looks": ["0836b')
    with pytest.warns(UserWarning, match=r"looks.json was damaged or deleted"):
        assert load_results(folder)["look"].unique().tolist() == [2]
    other = tmp_path / "other"
    write_study(other, ("qkv", "all"), tasks=("fincot",), seeds=(3,), rounds=0)
    assert any("looks.json was damaged" in each for each in compare_studies([folder, other]).notes)
    report = build_report(folder)
    line = f"{folder / 'looks.json'} was damaged or deleted"
    assert f"warning: {line}" in report.text
    assert report.recommendations[0].caveats[0].startswith(line)
    assert "was damaged" in report.markdown.read_text()
    wide, narrow = (read_bounds(each.recommendations[0]) for each in (report, whole))
    assert wide["all"] > narrow["all"]
    assert len(json.loads((folder / "looks.json").read_text())["looks"]) == 2
