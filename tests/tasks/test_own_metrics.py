"""Metrics from outside: files, installed packages, modules of `evaluate`."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tasks import CustomTask, DataError, make_custom_task
from tasks.base import TaskSpec
from tasks.custom import own_metrics
from tasks.custom.own_metrics import digest_metric
from tasks.evaluate_metrics import score_examples

METRIC = """
def closeness(prediction, answer):
    return 1 / (1 + abs(float(prediction) - float(answer)))

def several(prediction, answer):
    return {"several": float(prediction == answer), "length": len(prediction) / 100}

def far(prediction, answer):
    return 7

def fails(prediction, answer):
    raise KeyError("no such word")

def headless(prediction, answer):
    return {"other": 1}

text = "no function"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_metrics.py").write_text(METRIC)
    (tmp_path / "rows.jsonl").write_text("{}")
    return tmp_path


def make(folder: Path, metric: str, **more: str) -> TaskSpec:
    path = str(folder / "rows.jsonl")
    return make_custom_task(CustomTask("own", "{{ q }}", "a", metric, path=path, **more))  # type: ignore[arg-type]


def score(spec: TaskSpec, prediction: str, answer: str = "4") -> dict[str, float]:
    return score_examples(spec, [(spec.to_example({"q": "?", "a": answer}), prediction)])[0]


def test_a_function_of_a_file_beside_the_data(folder: Path) -> None:
    spec = make(folder, "my_metrics.py:closeness")
    assert spec.metric == "closeness"
    assert score(spec, "3") == {"closeness": 0.5}
    assert score(make(folder, "my_metrics.py:several"), "4") == {"several": 1.0, "length": 0.01}
    assert spec.describe_scoring is not None
    digest = digest_metric("my_metrics.py:closeness", str(folder / "rows.jsonl"))
    assert digest is not None
    assert digest in str(spec.describe_scoring([]))


def test_a_file_may_define_dataclasses(folder: Path) -> None:
    (folder / "my_metrics.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Found:\n    value: float\n"
        "def score(prediction, answer):\n    return Found(0.5).value\n"
    )
    assert score(make(folder, "my_metrics.py:score"), "3") == {"score": 0.5}


def test_a_file_that_ends_the_program_is_an_error(folder: Path) -> None:
    (folder / "my_metrics.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(DataError, match=r"my_metrics\.py: cannot be run"):
        make(folder, "my_metrics.py:score")


def test_a_folder_of_evaluate_has_a_digest(folder: Path) -> None:
    module = folder / "module"
    module.mkdir()
    digests = set()
    for text in ("one", "two"):
        (module / "module.py").write_text(f"# {text}")
        digests.add(digest_metric(f"evaluate:{module}:key", None))
    assert len(digests) == 2
    assert None not in digests
    assert digest_metric("evaluate:meteor", None) is None


def test_an_edit_is_another_metric(folder: Path) -> None:
    path = str(folder)
    before = digest_metric("my_metrics.py:closeness", path)
    (folder / "my_metrics.py").write_text("def closeness(prediction, answer):\n    return 0.25\n")
    assert digest_metric("my_metrics.py:closeness", path) != before
    assert score(make(folder, "my_metrics.py:closeness"), "3") == {"closeness": 0.25}


def test_it_reads_what_follows_a_reasoning(folder: Path) -> None:
    spec = make(folder, "my_metrics.py:closeness", reasoning="why")
    example = spec.to_example({"q": "?", "a": "4", "why": "2 + 2"})
    assert example.completion == "2 + 2\nAnswer: 4"
    found = score_examples(spec, [(example, "3 + 3 is 6.\nAnswer: 5"), (example, "4")])
    assert found == [{"closeness": 0.5}, {"closeness": 1.0}]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("my_metrics.py:far", "far returns 7, expected a number from 0 to 1"),
        ("my_metrics.py:fails", "fails fails for '3' (str) against '4' (str) ('no such word')"),
        ("my_metrics.py:headless", "headless returns ['other'], expected headless among them"),
        ("my_metrics.py:text", "is a str, expected a function"),
        ("my_metrics.py:nothing", "has no function nothing (it has closeness, several, far"),
        ("absent.py:score", "there is no file absent.py, here or beside"),
        ("nosuch", "expected one of choice, exact, numeric, rouge, json_fields, labels"),
        ("evaluate:someone/metric", "a module of another author"),
        ("evaluate:./nope", "there is no such file or folder"),
        ("evaluate:", "there is no such file or folder"),
    ],
)
def test_what_is_wrong_with_a_metric_is_one_line(folder: Path, metric: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        score(make(folder, metric), "3")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_run(folder: Path) -> None:
    (folder / "my_metrics.py").write_text("import nothing_of_the_kind\n")
    with pytest.raises(DataError, match=r"my_metrics\.py: cannot be run \(No module named"):
        make(folder, "my_metrics.py:closeness")


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("judge", "builtins:len", own_metrics.GROUP)
    monkeypatch.setattr(own_metrics, "entry_points", lambda group: [point])


def test_an_installed_package_may_bring_one(judge: None, folder: Path) -> None:
    with pytest.raises(DataError, match=r"judge fails for .* takes exactly one argument"):
        score(make(folder, "judge"), "3")


def test_a_module_of_evaluate_by_name(folder: Path) -> None:
    """Offline, one of a folder of one's own stands for those that are kept on the hub."""
    module = Path(__file__).resolve().parents[2] / "tasks" / "metrics" / "exact_answer.py"
    with pytest.raises(DataError, match="evaluate:no_such_metric_here: cannot be loaded"):
        make(folder, "evaluate:no_such_metric_here")
    spec = make(folder, f"evaluate:{module}:token_f1")
    assert spec.metric == "token_f1"
    assert score(spec, "red bus", "red car") == {"token_f1": 0.5}
    with pytest.raises(DataError, match="expected zz among them"):
        score(make(folder, f"evaluate:{module}:zz"), "red bus", "red car")
