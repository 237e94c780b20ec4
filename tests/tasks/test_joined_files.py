"""Text files of a second data set joined to the rows of a first, with both folders local."""

from pathlib import Path
from typing import Any

import pytest

from tasks import DataError, Example, Source, TaskSpec, load_examples
from tasks.base import HubSource, JoinedFiles, SourceError
from tasks.readers.joined_files import read_joined

datasets = pytest.importorskip("datasets")
errors = pytest.importorskip("huggingface_hub.errors")

JOINED = JoinedFiles("org/texts", "key", lambda key: f"data/{key}.txt", "text", revision="0f0f")
TASK = TaskSpec(
    name="joined",
    columns=(("text", "label"),),
    to_example=lambda row: Example(row["id"], "", row["text"], "", row["label"], row["label"]),
    score=lambda example, prediction: {"accuracy": float(prediction == example.reference)},
    split_key=lambda row: row["label"],
    metric="accuracy",
    hub=(HubSource("org/labels", {"train": "train"}, joined=JOINED),),
)


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Serves tables and files from the temporary folder; the names of the files that were read."""
    datasets.disable_progress_bars()
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    load_dataset = datasets.load_dataset
    names: list[str] = []

    def load_from_folder(path: str, **options: Any) -> Any:
        return load_dataset(str(tmp_path / path), **(options | {"revision": None}))

    def fetch(dataset: str, path: str, *, repo_type: str, revision: str | None) -> str:
        assert (dataset, repo_type, revision) == ("org/texts", "dataset", "0f0f")
        names.append(path)
        if not (tmp_path / dataset / path).exists():
            raise errors.EntryNotFoundError("404")
        return str(tmp_path / dataset / path)

    monkeypatch.setattr("datasets.load_dataset", load_from_folder)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    return names


def write(folder: Path, keys: list[Any], *, without: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    table = {"key": keys, "label": [f"label {n}" for n in range(len(keys))], "other": keys}
    (folder / "org/labels/data").mkdir(parents=True)
    datasets.Dataset.from_dict(table).to_parquet(folder / "org/labels/data/train-0.parquet")
    (folder / "org/texts/data").mkdir(parents=True)
    for key in keys:
        if key not in without:
            (folder / f"org/texts/data/{key}.txt").write_text(f"Text of {key}.\n\nEnd é.")


def test_each_row_has_its_own_file_and_only_drawn_ones_are_fetched(
    tmp_path: Path, fetched: list[str]
) -> None:
    write(tmp_path, [f"k{n}" for n in range(60)])
    loaded = load_examples(TASK, "train", Source("hub"), limit=5)
    assert len(loaded.examples) == 5
    for example in loaded.examples:
        assert example.body == f"Text of {example.id}.\n\nEnd é."
        assert example.reference == f"label {example.id[1:]}"
    assert set(fetched) == {f"data/{example.id}.txt" for example in loaded.examples}
    assert "org/labels@" in loaded.dataset
    assert "with org/texts@0f0f" in loaded.dataset


def test_parts_of_the_joined_set_are_disjoint(tmp_path: Path, fetched: list[str]) -> None:
    write(tmp_path, [f"k{n}" for n in range(60)])
    parts = [
        {example.id for example in load_examples(TASK, split, Source("hub")).examples}
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60


def test_a_row_without_a_file_is_a_bad_row(tmp_path: Path, fetched: list[str]) -> None:
    write(tmp_path, [f"k{n}" for n in range(20)], without={f"k{n}" for n in range(10)})
    with pytest.raises(DataError, match=r"org/labels, train row \d+: column 'key' is 'k\d'") as bad:
        load_examples(TASK, "train", Source("hub"))
    assert "org/texts has no data/k" in str(bad.value)
    assert "task.on_bad_row=skip" in str(bad.value)
    parts = [
        load_examples(TASK, split, Source("hub"), on_bad_row="skip") for split in ("train", "test")
    ]
    assert all(int(example.id[1:]) >= 10 for part in parts for example in part.examples)
    assert all(part.skipped_rows for part in parts)


def test_a_row_without_a_key_is_a_bad_row() -> None:
    with pytest.raises(DataError, match=r"column 'key' is null, expected the name"):
        read_joined(JOINED, None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.LocalEntryNotFoundError("offline"), "the hub cannot be reached for data/k"),
        (OSError("disk full"), r"txt cannot be loaded \(disk full\)"),
    ],
)
@pytest.mark.parametrize("rule", ["fail", "skip"])
def test_what_is_no_rows_fault_stops_the_load(
    tmp_path: Path,
    fetched: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: str,
    rule: str,
) -> None:
    write(tmp_path, [f"k{n}" for n in range(20)])

    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(SourceError, match=expected):
        load_examples(TASK, "train", Source("hub"), on_bad_row=rule)


def test_a_file_that_is_no_utf8_is_a_bad_row(tmp_path: Path, fetched: list[str]) -> None:
    write(tmp_path, ["k"])
    (tmp_path / "org/texts/data/k.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"org/texts, k.txt: a text that is not UTF-8"):
        read_joined(JOINED, "k")


def test_a_first_set_without_the_key_is_refused(tmp_path: Path, fetched: list[str]) -> None:
    (tmp_path / "org/labels/data").mkdir(parents=True)
    table = datasets.Dataset.from_dict({"label": ["a"]})
    table.to_parquet(tmp_path / "org/labels/data/train-0.parquet")
    with pytest.raises(DataError, match=r"has no column 'key' \(it has label\)"):
        load_examples(TASK, "train", Source("hub"))
