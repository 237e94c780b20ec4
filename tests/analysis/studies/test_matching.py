"""What may stand side by side, and what is said to differ."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from several_studies import edit_records, write_side
from synthetic_study import write_run

from harness.analysis.studies.matching import find_common_sets, find_common_tasks, list_differences
from harness.analysis.studies.study_sides import Side, load_sides
from harness.errors import UserError
from harness.records.record import ErrorRecord


def load(*folders: Path) -> list[Side]:
    return load_sides(folders, [])


def refuse(*folders: Path) -> str:
    """The one line by which studies without a common task are refused."""
    with pytest.raises(UserError, match="no task can be compared") as caught:
        find_common_tasks(load(*folders), [])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"scored": {"source": "hub"}}, "source: embedded in a; hub in b"),
        ({"scored": {"dataset": "org/set@1"}}, "data set: fincot (embedded) in a; org/set@1 in b"),
        ({"scored": {"split": "validation"}}, "split: test in a; validation in b"),
        ({"scored": {"scoring": "likelihood"}}, "scoring: not recorded in a; likelihood"),
        ({"scored": {"metric": "parsed"}}, "metric: accuracy in a; parsed in b"),
        ({"examples": 30}, "number of examples: 60 in a; 30 in b"),
        ({"ids": [f"x{number}" for number in range(60)]}, "examples or their references differ"),
    ],
)
def test_a_task_of_other_data_is_not_put_side_by_side(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    one = write_side(tmp_path / "a")
    two = write_side(tmp_path / "b", tasks=("fincot",), seconds=13.0, **options)
    assert reason in refuse(one, two)
    write_side(two, tasks=("medmcqa",), seconds=13.0)
    notes: list[str] = []
    assert find_common_tasks(load(one, two), notes) == ["medmcqa"]
    (note,) = notes
    assert note.startswith("fincot is not compared: ")
    assert reason in note


def test_other_right_answers_under_the_same_ids_are_other_data(tmp_path: Path) -> None:
    one, two = write_side(tmp_path / "a"), write_side(tmp_path / "b", seconds=13.0)
    for path in two.glob("runs/*--fincot--*/examples.parquet"):
        pd.read_parquet(path).assign(reference="c").to_parquet(path, index=False)
    notes: list[str] = []
    assert find_common_tasks(load(one, two), notes) == ["medmcqa"]
    assert "differ under the same data set name" in notes[0]


def test_a_study_that_mixes_data_in_a_task_says_so(tmp_path: Path) -> None:
    """Refused even where both mix alike: which part is compared would be chance."""
    folders = [write_side(tmp_path / name, seconds=s) for name, s in (("a", 12.0), ("b", 13.0))]
    for folder in folders:
        write_run(folder, "fc1", "fincot", scored={"dataset": "other"})
    notes: list[str] = []
    assert find_common_tasks(load(*folders), notes) == ["medmcqa"]
    assert "a mixes data within the study (data set fincot (embedded) and other)" in notes[0]


def test_a_local_file_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    def write(name: str, dataset: str, seconds: float) -> Path:
        scored = {"source": "local", "dataset": dataset}
        return write_side(tmp_path / name, tasks=("fincot",), seconds=seconds, scored=scored)

    here = write("here", "/home/me/rows.jsonl@0123456789ab", 12.0)
    there = write("there", "/data/rows.jsonl@0123456789ab", 13.0)
    assert find_common_tasks(load(here, there), []) == ["fincot"]
    edited = write("edited", "/data/rows.jsonl@ba9876543210", 14.0)
    assert "rows.jsonl@0123456789ab in here; rows.jsonl@ba9876543210" in refuse(here, edited)


def test_tasks_and_sets_of_some_studies_are_named_with_their_studies(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a", {"qkv": 0.1, "all": 0.2}, ("fincot", "govreport"))
    two = write_side(tmp_path / "b", {"qkv": 0.1, "fc1": 0.2, "fc2": 0.2}, ("fincot",), seconds=1.0)
    notes: list[str] = []
    sides = load(one, two)
    assert find_common_tasks(sides, notes) == ["fincot"]
    assert find_common_sets(sides, notes) == ["qkv"]
    assert notes == [
        "tasks not in every study are left out: govreport (only in a)",
        "target sets not in every study are left out: all (only in a); fc1 and fc2 (only in b)",
    ]


def test_nothing_in_common_is_refused_with_what_each_has(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a", {"qkv": 0.1, "all": 0.2}, ("fincot",))
    two = write_side(tmp_path / "b", {"fc1": 0.1, "fc2": 0.2}, ("fincot",))
    with pytest.raises(
        UserError, match=r"no target set .* all and qkv \(only in a\); .* \(only in b\)"
    ):
        find_common_sets(load(one, two), [])
    three = write_side(tmp_path / "c", tasks=("medmcqa",))
    assert "left out: fincot (only in a); medmcqa (only in c)" in refuse(one, three)


def test_what_differs_is_named_once(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a", seed=0)
    two = write_side(tmp_path / "b", seed=1, rank=16, learning_rate=1e-3)
    edit_records(two, torch="2.10.0", peft="0.20.0")
    assert list(list_differences(load(one, two))) == [
        "torch differs: 2.9.0 in a; 2.10.0 in b",
        "peft differs: not recorded in a; 0.20.0 in b",
        "adapter.alpha differs: 16.0 in a; 32.0 in b",
        "adapter.rank differs: 8 in a; 16 in b",
        "train.learning_rate differs: 0.0002 in a; 0.001 in b",
        "seed differs: 0 in a; 1 in b",
    ]


def test_a_study_done_again_differs_in_nothing(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a", tasks=("fincot",), rounds=3)
    two = write_side(tmp_path / "b", tasks=("fincot",), rounds=3, seconds=13.0)
    assert list(list_differences(load(one, two))) == []


def test_a_setting_that_differs_on_one_task_names_it(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a")
    two = write_side(tmp_path / "b", tasks=("fincot",), seconds=13.0)
    write_side(two, tasks=("medmcqa",), learning_rate=1e-3)
    assert list(list_differences(load(one, two))) == [
        "train.learning_rate differs on medmcqa: 0.0002 in a; 0.001 in b"
    ]


def test_studies_that_agree_share_a_place_in_the_line(tmp_path: Path) -> None:
    folders = [
        write_side(tmp_path / name, tasks=("fincot",), seconds=seconds, model=model)
        for name, seconds, model in (("a", 12.0, "one"), ("b", 13.0, "two"), ("c", 14.0, "one"))
    ]
    assert list(list_differences(load(*folders))) == ["model differs: one in a and c; two in b"]


def test_a_run_that_failed_before_it_recorded_versions_differs_in_none(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a", tasks=("fincot",))
    two = write_side(tmp_path / "b", tasks=("fincot",), seconds=13.0)
    path = write_run(two, "fc1", "fincot", error=ErrorRecord("E", "boom", "t")) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"environment": {}}))
    assert not [line for line in list_differences(load(one, two)) if "2.9.0" in line]


def test_machines_that_differ_keep_ratios_apart(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a", tasks=("fincot",), rounds=3)
    two = write_side(tmp_path / "b", tasks=("fincot",), rounds=3, seconds=13.0)
    edit_records(one, cpu_count=2)
    edit_records(two, cpu_count=4)
    (line,) = list_differences(load(one, two))
    assert line.startswith("a and b were timed on different machines (")
    assert "2 and 4" in line
    assert "do not compare their latency ratios" in line
    edit_records(two, cpu=None)
    unnamed, *_ = list_differences(load(one, two))
    assert unnamed.startswith("b records neither the CPU nor the GPU")


def test_a_machine_that_timed_nothing_is_no_matter_between_studies(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a", tasks=("fincot",), rounds=3)
    two = write_side(tmp_path / "b", tasks=("fincot",), seconds=13.0)
    edit_records(two, cpu="another cpu")
    assert list(list_differences(load(one, two))) == [
        "timed call differs: batch 1, 256 + 32 tokens in a; none in b"
    ]
