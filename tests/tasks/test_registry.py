"""Tasks of installed packages, through real entry points of a package on the path."""

import sys
from pathlib import Path

import pytest

from tasks import TASKS, DataError, find_task

MODULE = """
from tasks.base import Example, TaskSpec

TASK = TaskSpec(
    name="contracts",
    columns=(("text", "label"),),
    to_example=lambda row: Example("", row["text"], "", "", row["label"], row["label"]),
    score=lambda example, prediction: {"accuracy": float(prediction == example.reference)},
    split_key=lambda row: row["text"],
    metric="accuracy",
)
NO_TASK = {"name": "contracts"}
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "contract_tasks.py").write_text(MODULE)
    folder = tmp_path / "contract_tasks-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: contract-tasks\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[harness.tasks]\n"
        "contracts = contract_tasks:TASK\n"
        "broken = contract_tasks:MISSING\n"
        "wrong = contract_tasks:NO_TASK\n"
        "medmcqa = contract_tasks:TASK\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "contract_tasks", raising=False)


def test_a_task_of_an_installed_package_is_found() -> None:
    assert find_task("contracts").name == "contracts"


def test_a_task_that_comes_along_is_not_replaced() -> None:
    assert find_task("medmcqa") is TASKS["medmcqa"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unknown", "task.name is 'unknown'; expected one of medmcqa, .*, contracts"),
        ("broken", "entry point broken = contract_tasks:MISSING .*cannot be loaded"),
        ("wrong", r"is a dict, expected a tasks.base.TaskSpec"),
    ],
)
def test_errors_are_one_line(name: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        find_task(name)
    assert "\n" not in str(caught.value)
