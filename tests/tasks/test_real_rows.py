"""Real rows in the hub's columns, through every task from load to score."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tasks import TASKS, CustomTask, DataError, Source, load_examples, make_custom_task
from tasks.evaluate_metrics import score_examples

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the folder of real rows, ../shared/data, is not on this machine"
)
FOLDERS = [
    ("medmcqa", "medmcqa", 2683, 750),
    ("govreport", "govreport", 9, 2),
    ("fincot", "fincot", 872, 200),
    ("invoice_ocr", "invoice_ocr/wildreceipt", 177, 59),
]


@pytest.mark.parametrize(("name", "folder", "train", "test"), FOLDERS)
def test_from_load_to_score(name: str, folder: str, train: int, test: int) -> None:
    task = TASKS[name]
    for split, count in (("train", train), ("test", test)):
        loaded = load_examples(task, split, Source("local", str(SHARED / folder)))  # type: ignore[arg-type]
        assert len(loaded.examples) == len({example.id for example in loaded.examples}) == count
        assert loaded.stand_in is None
        for example in loaded.examples[: 2 if name == "govreport" else None]:
            assert task.score(example, example.completion)[task.metric] == 1
            wrong = task.score(example, "I do not know {")
            assert wrong[task.metric] < 0.2


def test_real_invoices_of_many_shapes() -> None:
    folder = str(SHARED / "invoice_ocr" / "invoice2data")
    loaded = load_examples(TASKS["invoice_ocr"], "test", Source("local", folder))
    assert len(loaded.examples) == 12
    for example in loaded.examples:
        assert TASKS["invoice_ocr"].score(example, f"```json\n{example.reference}\n```")[
            "exact_match"
        ]
    with pytest.raises(DataError, match=r"has no train file"):
        load_examples(TASKS["invoice_ocr"], "train", Source("local", folder))


def test_rows_with_a_withheld_label_are_refused(tmp_path: Path) -> None:
    lines = (SHARED / "medmcqa" / "test_unlabelled.jsonl").read_text()
    (tmp_path / "test.jsonl").write_text(lines)
    with pytest.raises(DataError, match="label is withheld"):
        load_examples(TASKS["medmcqa"], "test", Source("local", str(tmp_path)))


def test_the_given_parts_of_fincot_share_contexts_or_not_as_they_are() -> None:
    loaded = [
        load_examples(TASKS["fincot"], split, Source("local", str(SHARED / "fincot")))
        for split in ("train", "test")
    ]
    contexts = [{example.body for example in part.examples} for part in loaded]
    assert not contexts[0] & contexts[1]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("medmcqa", "medmcqa/train.jsonl"),
        ("govreport", "govreport/train.jsonl"),
        ("fincot", "fincot/test.jsonl"),
        ("invoice_ocr", "invoice_ocr/wildreceipt/train.jsonl"),
        ("medreason", "medreason/medbullets_op4.jsonl"),
        ("medreason", "medreason/medqa_test.jsonl"),
    ],
)
def test_every_file_format_gives_the_same_examples(name: str, file: str, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (SHARED / file).read_text().splitlines() if line]
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    expected = load_examples(TASKS[name], "train", Source("local", str(SHARED / file)))
    for other in ("rows.parquet", "rows.csv"):
        path = str(tmp_path / other)
        loaded = load_examples(TASKS[name], "train", Source("local", path))
        assert loaded.examples == expected.examples


def test_a_set_of_one_file_is_cut_without_a_shared_context() -> None:
    path = str(SHARED / "fincot" / "train.jsonl")
    parts = [
        load_examples(TASKS["fincot"], split, Source("local", path)).examples  # type: ignore[arg-type]
        for split in ("train", "validation", "test")
    ]
    contexts = [{re.sub(r"[^0-9a-z]+", "", e.body.lower()) for e in part} for part in parts]
    assert sum(map(len, parts)) == 872
    assert sum(map(len, contexts)) == len(set.union(*contexts))
    assert 0.6 < len(parts[0]) / 872 < 0.8


CASES = SHARED.parent / "cases" / "data"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")


@needs_cases
@pytest.mark.parametrize(
    ("name", "answer", "metric", "more"),
    [
        ("array.json", "label", "exact", {}),
        ("array.jsonl", "label", "exact", {}),
        ("sep.csv", "label", "exact", {}),
        ("cp1252.csv", "label", "exact", {"encoding": "cp1252"}),
        ("mixed.jsonl", "label", "exact", {}),
        ("zh.jsonl", "summary", "rouge", {}),
        ("hi.jsonl", "summary", "rouge", {}),
        ("inv.jsonl", "answer", "json_fields", {}),
    ],
)
def test_files_that_could_not_be_read_once(
    name: str, answer: str, metric: str, more: dict[str, str]
) -> None:
    task = make_custom_task(CustomTask("own", "{{ text }}", answer, metric))
    source = Source("local", path=str(CASES / name), **more)
    parts = [load_examples(task, part, source) for part in ("train", "test")]
    for part in parts:
        pairs = [(example, example.completion) for example in part.examples]
        assert {scores[task.metric] for scores in score_examples(task, pairs)} == {1.0}
    assert not any(part.skipped_rows for part in parts)


@needs_cases
def test_the_encoding_of_a_whole_file_is_named() -> None:
    task = make_custom_task(CustomTask("own", "{{ text }}", "label", "exact"))
    with pytest.raises(DataError, match=r"24 of 24 rows are not UTF-8, .*task\.encoding=cp1252"):
        load_examples(task, "train", Source("local", path=str(CASES / "cp1252.csv")))
