"""Hub loading: which set, split, configuration and commit is read, and one line where it fails."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks import TASKS, DataError, Source, load_examples
from tasks.base import HubSource, TaskSpec

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write_split(folder: Path, split: str, rows: list[dict[str, Any]]) -> None:
    (folder / "data").mkdir(exist_ok=True, parents=True)
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def make_reports(*numbers: int) -> list[dict[str, Any]]:
    return [{"report": f"Report {n}.", "summary": f"Summary {n}."} for n in numbers]


def load(
    task: str | TaskSpec, split: Any, folder: Path, subset: str | None = None, **options: Any
) -> Any:
    spec = TASKS[task] if isinstance(task, str) else task
    return load_examples(spec, split, Source("hub", dataset=str(folder), subset=subset), **options)


def catch_line(task: str | TaskSpec, split: Any, folder: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(task, split, folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load_bodies(folder: Path, split: Any, **options: Any) -> set[str]:
    return {example.body for example in load("govreport", split, folder, **options).examples}


def test_a_copy_of_the_public_set_is_read_like_it(tmp_path: Path) -> None:
    # MedMCQA's own test split has no labels, so that its validation split is the test.
    row = {"question": "Q?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 0}
    for split, label in (("train", 0), ("validation", 1), ("test", -1)):
        write_split(tmp_path, split, [row | {"cop": label}])
    assert load("medmcqa", "test", tmp_path).examples[0].reference == "B"


@pytest.mark.parametrize("name", ["valid", "dev", "val"])
def test_other_split_names_are_found(tmp_path: Path, name: str) -> None:
    # The library itself knows these names by the files, and calls all of them validation.
    write_split(tmp_path, "train", make_reports(1))
    write_split(tmp_path, name, make_reports(2))
    assert load_bodies(tmp_path, "train") == {"Report 1."}
    assert load_bodies(tmp_path, "validation") == {"Report 2."}
    assert load_bodies(tmp_path, "test") == {"Report 2."}


def test_split_names_of_the_set_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load_dataset(path: str, split: str, **_: Any) -> Any:
        asked.append(split)
        return datasets.Dataset.from_list(make_reports(1))

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr(
        "datasets.get_dataset_split_names", lambda *_, **__: ["train", "dev", "eval", "extra"]
    )
    for split in ("train", "validation", "test"):
        load("govreport", split, Path("someone/reports"))
    assert asked == ["train", "dev", "eval"]


def test_a_train_split_alone_is_cut(tmp_path: Path) -> None:
    write_split(tmp_path, "train", make_reports(*range(60)))
    parts = [load_bodies(tmp_path, split) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60
    assert all(parts)
    loaded = load("govreport", "test", tmp_path)
    assert loaded.dataset.endswith("(train, test part by content hash)")


def test_a_task_of_ones_own_has_no_public_set(tmp_path: Path) -> None:
    task = replace(TASKS["govreport"], name="mine", hub=(), embedded=None)
    write_split(tmp_path, "train", make_reports(1))
    write_split(tmp_path, "test", make_reports(2))
    assert load(task, "test", tmp_path).examples[0].body == "Report 2."
    assert "has no validation split (it has train, test)" in catch_line(
        task, "validation", tmp_path
    )


def test_a_source_without_named_splits(tmp_path: Path) -> None:
    source = HubSource(str(tmp_path), splits={})
    task = replace(TASKS["govreport"], hub=(source,))
    write_split(tmp_path, "train", make_reports(1))
    write_split(tmp_path, "validation", make_reports(2))
    assert load_examples(task, "test", Source("hub")).examples[0].body == "Report 2."


def test_a_subset_is_read_by_its_name(tmp_path: Path) -> None:
    blocks = []
    for number, name in enumerate(("short", "long")):
        write_split(tmp_path / name, "train", make_reports(number))
        write_split(tmp_path / name, "test", make_reports(number + 10))
        files = "".join(
            f"  - split: {split}\n    path: {name}/data/{split}-*\n" for split in ("train", "test")
        )
        blocks.append(f"- config_name: {name}\n  data_files:\n{files}")
    (tmp_path / "README.md").write_text("---\nconfigs:\n" + "".join(blocks) + "---\n")
    assert load_bodies(tmp_path, "test", subset="long") == {"Report 11."}
    assert load_bodies(tmp_path, "test", subset="short") == {"Report 10."}
    line = catch_line("govreport", "test", tmp_path)
    assert "Config name is missing. Please pick one" in line
    assert "['short', 'long']" in line
    assert "task.subset" in line


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [{"text": "x", "summary": "y"}])
    line = catch_line("govreport", "train", tmp_path)
    assert "train: has no column 'report' (it has text, summary)" in line
    assert line.endswith("task govreport needs report, summary, or document, summary")


def test_a_bad_row_is_named_where_it_is_drawn(tmp_path: Path) -> None:
    rows = [*make_reports(*range(30)), {"report": "x", "summary": None}]
    write_split(tmp_path, "train", rows)
    write_split(tmp_path, "test", rows[:1])
    place = f"{tmp_path}, train row 31: column 'summary' is null"
    assert catch_line("govreport", "train", tmp_path).startswith(place)
    assert load("govreport", "train", tmp_path, on_bad_row="skip").skipped_rows == 1
    assert load("govreport", "train", tmp_path, limit=2).skipped_rows == 0


def test_repeated_ids_name_both_rows(tmp_path: Path) -> None:
    rows = [row | {"id": "7"} for row in make_reports(1, 2)]
    write_split(tmp_path, "train", rows)
    write_split(tmp_path, "test", rows[:1])
    line = catch_line("govreport", "train", tmp_path)
    assert f"train row 2: column 'id' is '7' (str), already used by {tmp_path}, train row 1" in line


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ConnectionError("no route"), "the hub cannot be reached; use task.source=local"),
        (ValueError("first\nsecond"), r"cannot be loaded \(first second\)"),
        (ValueError("long " * 1000), r"cannot be loaded \(long .{,300}\)"),
        (RuntimeError(""), r"cannot be loaded \(RuntimeError\)"),
    ],
)
@pytest.mark.parametrize("call", ["load_dataset", "get_dataset_split_names"])
def test_failures_of_the_hub_are_one_line(
    failure: Exception, expected: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(f"datasets.{call}", fail)
    dataset = None if call == "load_dataset" else "some/other"
    with pytest.raises(DataError, match=expected) as caught:
        load_examples(TASKS["medmcqa"], "test", Source("hub", dataset=dataset))
    assert "\n" not in str(caught.value)


def test_a_missing_data_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise datasets.exceptions.DatasetNotFoundError("long story")

    monkeypatch.setattr("datasets.get_dataset_split_names", fail)
    with pytest.raises(DataError, match="nobody/nothing: no such data set on the hub"):
        load_examples(TASKS["medmcqa"], "test", Source("hub", dataset="nobody/nothing"))


def test_a_gated_set_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        # As in datasets 4.
        raise datasets.exceptions.DatasetNotFoundError(
            "Dataset 'TheFinAI/FinCoT' is a gated dataset on the Hub. You must be authenticated."
        )

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(DataError) as caught:
        load_examples(TASKS["fincot"], "test", Source("hub"))
    for part in ("CC BY-NC-SA 4.0", "datasets/TheFinAI/FinCoT", "HF_TOKEN", "task.source=local"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("task", "source"), [(name, source) for name in TASKS for source in TASKS[name].hub]
)
def test_the_pinned_commit_is_asked_for_and_the_resolved_one_recorded(
    task: str, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    commit = "0123456789abcdef0123456789abcdef01234567"

    def load_dataset(path: str, **options: Any) -> Any:
        calls.append({"path": path, **options})
        key = [source.joined.key] if source.joined else []
        table = datasets.Dataset.from_list([dict.fromkeys([*TASKS[task].columns[0], *key])])
        table.info.download_checksums = {f"hf://datasets/{path}@{commit}/data/x.parquet": {}}
        return table

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    names = list(source.splits.values())
    monkeypatch.setattr("datasets.get_dataset_split_names", lambda *_, **__: names)
    for dataset, revision in (
        (source.dataset, None),
        (source.dataset, "abc"),
        ("some/other", None),
    ):
        with pytest.raises(DataError, match="null"):
            load_examples(TASKS[task], "train", Source("hub", dataset=dataset, revision=revision))
    assert [call["revision"] for call in calls] == [source.revision, "abc", None]
    # On the branch that the hub converts to, a configuration is a folder.
    key = "data_dir" if source.revision == "refs/convert/parquet" else "name"
    assert calls[0][key] == calls[1]["name"] == source.config
    assert calls[2]["name"] is None
    assert not any("trust_remote_code" in call for call in calls)
    with pytest.raises(DataError, match=f"@{commit}"):
        load_examples(
            TASKS[task], "train", Source("hub", dataset=source.dataset), on_bad_row="skip"
        )


def test_the_first_public_set_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load_dataset(path: str, **_: Any) -> Any:
        asked.append(path)
        return datasets.Dataset.from_list(make_reports(1))

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    load_examples(TASKS["govreport"], "test", Source("hub"))
    assert asked == ["ccdv/govreport-summarization"]
