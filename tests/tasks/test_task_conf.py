"""conf/task: one file a task, with exactly the keys that loading takes."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import yaml

from harness.config.schema import TaskConfig
from tasks import TASKS

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "task"
KEYS = [
    "name", "source", "path", "encoding", "id_column", "dataset", "subset", "revision", "test",
    "train_examples", "test_examples", "max_prompt_tokens", "max_completion_tokens", "truncation",
    "on_bad_row", "data_seed",
]  # fmt: skip
OWN_KEYS = {
    "medmcqa": {"choose_by"},
    "medreason": {"choose_by"},
    "invoice_ocr": {"schema_in_prompt", "constrained_decoding"},
    "cocohd": {"constrained_decoding"},
}


def test_every_task_has_a_file() -> None:
    assert {path.stem for path in FOLDER.rglob("*.yaml")} == {*TASKS, "custom"}


@pytest.mark.parametrize("name", TASKS)
def test_files_hold_the_keys_and_offline_defaults(name: str) -> None:
    values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert [key for key in values if key not in OWN_KEYS.get(name, ())] == KEYS
    assert OWN_KEYS.get(name, set()) <= set(values)
    assert values["name"] == TASKS[name].name == name
    assert values["source"] == "auto"
    assert values["on_bad_row"] == "fail"


def test_a_task_of_ones_own_can_set_every_key() -> None:
    values = yaml.safe_load((FOLDER / "custom.yaml").read_text())
    # Filled in by the search for a learning rate and by a race, and never set.
    filled_in = {"tuning_examples", "extra_test_examples"}
    settable = {field.name for field in dataclasses.fields(TaskConfig)} - filled_in
    assert set(values) == settable


@pytest.mark.parametrize("name", [*TASKS, "custom"])
def test_every_key_has_a_comment_above_it(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        assert line.startswith("#") or before.startswith("#"), line
