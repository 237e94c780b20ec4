"""conf/task: one file a task, with exactly the keys that loading takes."""

import itertools
from pathlib import Path

import pytest
import yaml

from tasks import TASKS

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "task"
KEYS = [
    "name", "source", "path", "dataset", "revision", "train_examples", "test_examples",
    "max_prompt_tokens", "max_completion_tokens", "on_bad_row", "data_seed",
]  # fmt: skip


def test_every_task_has_a_file() -> None:
    assert set(TASKS) <= {path.stem for path in FOLDER.rglob("*.yaml")}


@pytest.mark.parametrize("name", TASKS)
def test_files_hold_the_keys_and_offline_defaults(name: str) -> None:
    values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert list(values) == KEYS
    assert values["name"] == TASKS[name].name == name
    assert values["source"] == "embedded"
    assert values["on_bad_row"] == "fail"


@pytest.mark.parametrize("name", TASKS)
def test_every_key_has_a_comment_above_it(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        assert line.startswith("#") or before.startswith("#"), line
