"""Hub loading, through the same `datasets` call, from folders with the hub's columns and splits."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks import TASKS, DataError, load_examples

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write_split(folder: Path, split: str, rows: list[dict[str, Any]], features: Any) -> None:
    (folder / "data").mkdir(exist_ok=True, parents=True)
    table = datasets.Dataset.from_list(rows, features=features)
    table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def text_features(*names: str, **others: Any) -> Any:
    return datasets.Features({name: datasets.Value("string") for name in names} | others)


def load(task: str, split: Any, folder: Path, **options: Any) -> Any:
    return load_examples(TASKS[task], split, source="hub", dataset=str(folder), **options)


def write_medmcqa(folder: Path) -> None:
    names = ("id", "question", "opa", "opb", "opc", "opd", "choice_type", "exp")
    label = datasets.ClassLabel(names=["a", "b", "c", "d"])
    features = text_features(*names, "subject_name", "topic_name", cop=label)
    rows = [
        dict.fromkeys(features, None)
        | dict(zip(names[:6], (f"id{i}", f"Question {i}?", "w", "x", "y", "z"), strict=True))
        | {"cop": i % 4}
        for i in range(20)
    ]
    write_split(folder, "train", rows, features)
    write_split(folder, "validation", rows[:5], features)
    write_split(folder, "test", [row | {"cop": -1} for row in rows[:3]], features)


def test_medmcqa_is_tested_on_its_validation_split(tmp_path: Path) -> None:
    write_medmcqa(tmp_path)
    assert len(load("medmcqa", "train", tmp_path, limit=8).examples) == 8
    loaded = load("medmcqa", "test", tmp_path)
    assert {example.id for example in loaded.examples} == {f"id{i}" for i in range(5)}
    assert loaded.dataset == f"{tmp_path}@unknown revision"
    assert loaded.stand_in is None


def test_govreport(tmp_path: Path) -> None:
    rows = [{"report": f"Report {i}. Long.", "summary": f"Summary {i}."} for i in range(4)]
    for split in ("train", "validation", "test"):
        write_split(tmp_path, split, rows, text_features("report", "summary"))
    example = load("govreport", "test", tmp_path, limit=1).examples[0]
    assert example.body.startswith("Report")
    assert example.reference.startswith("Summary")


def test_fincot_parts_are_cut_from_sft_and_share_no_context(tmp_path: Path) -> None:
    names = ("Question", "Reasoning_process", "Final_response")
    features = text_features(*names, "Negative_reasoning_process", "Negative_response")
    rows = [
        dict.fromkeys(features, "no")
        | {"Question": f"Context: table {i // 3}\nQuestion: what is {i}?\nAnswer:"}
        | {"Reasoning_process": "1 + 1", "Final_response": "2"}
        for i in range(300)
    ]
    write_split(tmp_path, "SFT", rows, features)
    write_split(tmp_path, "RL", rows[:10], features)
    parts = {split: load("fincot", split, tmp_path) for split in ("train", "validation", "test")}
    contexts = [{example.body for example in part.examples} for part in parts.values()]
    assert sum(len(part.examples) for part in parts.values()) == 300
    assert sum(map(len, contexts)) == len(set.union(*contexts)) == 100
    assert "SFT, test part by content hash" in parts["test"].dataset


def test_invoices_are_read_from_the_public_columns_without_the_image(tmp_path: Path) -> None:
    features = text_features("id", "parsed_data", "raw_data", image=datasets.Value("binary"))
    fields = {"header": {"invoice_no": "7"}, "items": [{"item_desc": "Pen"}]}
    row = {
        "id": "3",
        "image": b"no image",
        "parsed_data": json.dumps({"xml": "", "json": str(fields), "kie": ""}),
        "raw_data": json.dumps({"ocr_words": str(["Invoice no: 7", "1 Pen"]), "ocr_boxes": "[]"}),
    }
    for split in ("train", "valid", "test"):
        write_split(tmp_path, split, [row], features)
    for split in ("train", "validation", "test"):
        example = load("invoice_ocr", split, tmp_path).examples[0]
        assert example.id == "3"
        assert example.body == "Invoice no: 7\n1 Pen"
        assert json.loads(example.completion) == fields


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = [{"document": "x", "summary": "y"}]
    write_split(tmp_path, "train", rows, text_features("document", "summary"))
    with pytest.raises(DataError, match=r"has no column 'report' \(it has document, summary\)"):
        load("govreport", "train", tmp_path)


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    rows = [{"report": "x", "summary": None}]
    write_split(tmp_path, "train", rows, text_features("report", "summary"))
    with pytest.raises(DataError, match="train row 1: column 'summary' is null"):
        load("govreport", "train", tmp_path)


def test_an_unknown_split_is_one_line(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [{"report": "x"}], text_features("report"))
    with pytest.raises(DataError, match="split test: cannot be loaded") as caught:
        load("govreport", "test", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ConnectionError("no route"), "the hub cannot be reached; use task.source=local"),
        (ValueError("first\nsecond"), r"cannot be loaded \(first\)"),
        (RuntimeError(""), r"cannot be loaded \(RuntimeError\)"),
    ],
)
def test_failures_of_the_hub_are_one_line(
    failure: Exception, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(DataError, match=expected) as caught:
        load_examples(TASKS["medmcqa"], "test", source="hub")
    assert "\n" not in str(caught.value)


def test_a_missing_data_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise datasets.exceptions.DatasetNotFoundError("long story")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(DataError, match="nobody/nothing: no such data set on the hub"):
        load_examples(TASKS["medmcqa"], "test", source="hub", dataset="nobody/nothing")


@pytest.mark.parametrize("task", TASKS)
def test_the_pinned_commit_is_asked_for_and_the_resolved_one_recorded(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    commit = "0123456789abcdef0123456789abcdef01234567"

    def load_dataset(path: str, **options: Any) -> Any:
        calls.append({"path": path, **options})
        hub = TASKS[task].hub
        table = datasets.Dataset.from_list([dict.fromkeys(hub.columns or TASKS[task].columns)])
        table.info.download_checksums = {f"hf://datasets/{path}@{commit}/data/x.parquet": {}}
        return table

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    for dataset, revision in ((None, None), (None, "abc"), ("some/other", None)):
        with pytest.raises(DataError, match="null"):
            load_examples(TASKS[task], "train", source="hub", dataset=dataset, revision=revision)
    assert [call["revision"] for call in calls] == [TASKS[task].hub.revision, "abc", None]
    assert [call["name"] for call in calls] == [TASKS[task].hub.config] * 2 + [None]
    assert not any("trust_remote_code" in call for call in calls)
    with pytest.raises(DataError, match=f"@{commit}"):
        load_examples(TASKS[task], "train", source="hub", on_bad_row="skip")
