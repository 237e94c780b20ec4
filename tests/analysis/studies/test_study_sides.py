"""Studies read for a comparison: which count, what they are called, and which are one."""

import shutil
from pathlib import Path

import pytest
from several_studies import GAINS, TASKS, TURNED, write_side
from synthetic_study import write_run

from harness.analysis.studies.study_sides import load_sides
from harness.errors import UserError
from harness.records.record import BASE, ErrorRecord


def test_the_same_study_twice_is_no_comparison(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a")
    with pytest.raises(UserError, match=r"fewer than two .* given more than once") as caught:
        load_sides([one, one / ".." / "a"], [])
    assert "\n" not in str(caught.value)
    with pytest.raises(
        UserError, match="fewer than two studies to compare: a; pass the folders of two or more"
    ):
        load_sides([one], [])
    notes: list[str] = []
    other = write_side(tmp_path / "b", seconds=13.0)
    assert [side.name for side in load_sides([one, other, one], notes)] == ["a", "b"]
    assert notes == [f"{one}: given more than once; read once"]


@pytest.mark.parametrize("is_part", [False, True])
def test_a_copy_of_a_study_is_left_out(tmp_path: Path, is_part: bool) -> None:
    one = write_side(tmp_path / "a")
    shutil.copytree(one, tmp_path / "copy")
    if is_part:
        shutil.rmtree(next((tmp_path / "copy").glob("runs/*--qkv--*")))
    other = write_side(tmp_path / "b", seconds=13.0)
    notes: list[str] = []
    sides = load_sides([one, tmp_path / "copy", other], notes)
    assert [side.name for side in sides] == ["a", "b"]
    (note,) = notes
    assert note.startswith("copy is left out: it has the same runs as a, or one contains")
    with pytest.raises(UserError, match="copy is left out"):
        load_sides([one, tmp_path / "copy"], [])


def test_runs_that_were_copied_into_another_study_are_counted(tmp_path: Path) -> None:
    one, two = write_side(tmp_path / "a"), write_side(tmp_path / "b", seconds=13.0)
    for folder in one.glob("runs/*--base--*"):
        shutil.rmtree(two / "runs" / folder.name)
        shutil.copytree(folder, two / "runs" / folder.name)
    notes: list[str] = []
    assert len(load_sides([one, two], notes)) == 2
    (note,) = notes
    assert note.startswith("2 of the 8 runs of b are copies of runs of a")


def test_a_study_without_scores_is_left_out(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a")
    failed = tmp_path / "failed"
    write_run(failed, BASE, "fincot")
    write_run(failed, "qkv", "fincot", error=ErrorRecord("E", "boom", "t"))
    with pytest.raises(UserError, match="failed is left out: no target set has a score"):
        load_sides([one, failed], [])


def test_each_model_of_a_folder_is_a_side(tmp_path: Path) -> None:
    folder = write_side(tmp_path / "both", model="small")
    write_side(folder, TURNED, model="org/large")
    sides = load_sides(folder, [])
    assert [side.name for side in sides] == ["both (org/large)", "both (small)"]
    for side in sides:
        assert set(side.results["model"]) == {run.model for run in side.runs} == {side.model}
        assert set(side.examples["run_id"]) == set(side.results["run_id"])
        assert len(side.runs) == len(side.results) == len(TASKS) * (len(GAINS) + 1)


def test_folders_of_one_name_stay_apart_though_their_runs_have_one_id(tmp_path: Path) -> None:
    one = write_side(tmp_path / "first" / "quickstart")
    two = write_side(tmp_path / "second" / "quickstart", seconds=13.0)
    sides = load_sides([one, two], [])
    assert [side.name for side in sides] == ["first/quickstart", "second/quickstart"]
    assert [set(side.results["eval_seconds"]) for side in sides] == [{12.0}, {13.0}]
    assert [side.sets for side in sides] == [set(GAINS), set(GAINS)]


def test_a_folder_of_studies_is_all_of_them(tmp_path: Path) -> None:
    for number, name in enumerate("cab"):
        write_side(tmp_path / name, tasks=("fincot",), seconds=12.0 + number)
    assert [side.name for side in load_sides(tmp_path, [])] == ["a", "b", "c"]
    given = [tmp_path / name for name in "cab"]
    assert [side.name for side in load_sides(given, [])] == ["c", "a", "b"]


def test_what_cannot_be_read_is_noted(tmp_path: Path) -> None:
    one, two = write_side(tmp_path / "a"), write_side(tmp_path / "b", seconds=13.0)
    broken = next(two.glob("runs/*--qkv--*"))
    (broken / "record.json").write_text("{")
    notes: list[str] = []
    load_sides([one, two], notes)
    (note,) = notes
    assert broken.name in note


def test_sets_of_two_ranks_are_told_apart_in_a_study_of_one_rank_too(tmp_path: Path) -> None:
    one, two = write_side(tmp_path / "a", rank=8), write_side(tmp_path / "b", rank=8, seconds=13.0)
    write_side(two, rank=16)
    sides = load_sides([one, two], [])
    assert sides[0].sets == {f"{name}, rank 8" for name in GAINS}
    assert sides[0].sets < sides[1].sets


def test_a_latency_study_is_sent_to_its_own_comparison(tmp_path: Path) -> None:
    (tmp_path / "latency").mkdir()
    (tmp_path / "latency" / "latency.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no runs; .*harness\.compare_latency"):
        load_sides([write_side(tmp_path / "a"), tmp_path / "latency"], [])
