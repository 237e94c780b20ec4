"""`task.test`: where its rows are found, and that none of them is trained on."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks import TASKS, DataError, Source, load_examples
from tasks.test_rows import find_test_file

MEDMCQA = TASKS["medmcqa"]


def make_row(number: int, question: str | None = None) -> dict[str, Any]:
    return {
        "id": f"row-{number}",
        "question": question or f"Which is number {number}?",
        **{f"op{letter}": f"{letter} of {number}" for letter in "abcd"},
        "cop": number % 4,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_all_rows_of_the_file_are_tested_on_and_none_is_trained_on(tmp_path: Path) -> None:
    train = write(tmp_path / "rows.jsonl", [make_row(number) for number in range(100)])
    again = [make_row(1000 + n, f" which is NUMBER {n} ") for n in range(30)]
    test = write(tmp_path / "other.jsonl", [*again, make_row(2000)])
    source = Source("local", str(train), test=str(test))
    tested = load_examples(MEDMCQA, "test", source)
    assert len(tested.examples) == 31
    assert tested.dataset.startswith(f"{test}@")
    assert tested.dataset.endswith(tested.dataset.partition("@")[2])
    assert "part" not in tested.dataset.partition("@")[2]
    trained = load_examples(MEDMCQA, "train", source)
    numbers = {int(example.id.removeprefix("row-")) for example in trained.examples}
    assert numbers.isdisjoint(range(30))
    # Of the rest only the validation part is kept back.
    held = load_examples(MEDMCQA, "validation", source)
    kept_back = {int(example.id.removeprefix("row-")) for example in held.examples}
    assert numbers == set(range(30, 100)) - kept_back
    assert trained.left_out_rows == 30 - len(kept_back & set(range(30)))
    assert f"{trained.left_out_rows} rows of {train}@" in trained.notes[0]


def test_without_it_nothing_is_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [make_row(number) for number in range(100)])
    loaded = load_examples(MEDMCQA, "train", Source("local", str(file)))
    assert (loaded.left_out_rows, loaded.notes) == (0, ())


def test_a_folder_gives_its_test_file(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [make_row(number) for number in range(9)])
    write(tmp_path / "other" / "train.jsonl", [make_row(8)])
    write(tmp_path / "other" / "test.jsonl", [make_row(20)])
    source = Source("local", str(tmp_path / "train.jsonl"), test=str(tmp_path / "other"))
    (example,) = load_examples(MEDMCQA, "test", source).examples
    assert example.id == "row-20"


@pytest.mark.parametrize(
    ("name", "file"), [("hle_biomed", "HLE_biomed.jsonl"), ("medqa", "medqa_test.csv")]
)
def test_a_name_is_that_of_a_file_beside_the_rows(tmp_path: Path, name: str, file: str) -> None:
    (tmp_path / file).write_text("x")
    rows = write(tmp_path / "rows.jsonl", [make_row(1)])
    assert find_test_file(name, str(rows)) == tmp_path / file
    assert find_test_file(name, str(tmp_path)) == tmp_path / file
    assert find_test_file(name, None) is None
    assert find_test_file("other", str(tmp_path)) is None


def test_a_place_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [make_row(1)])
    for test in ("nowhere.jsonl", "a/nowhere.jsonl", "medqa"):
        for split in ("train", "test"):
            with pytest.raises(DataError, match=f"task.test is {test}: no such file or folder"):
                load_examples(MEDMCQA, split, Source("local", str(file), test=test))  # type: ignore[arg-type]


def test_a_hub_id_is_read_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read(task: Any, split: Any, source: Source) -> Any:
        asked.append((split, source))
        raise DataError("asked")

    monkeypatch.setattr("tasks.test_rows.read_hub", read)
    with pytest.raises(DataError, match="asked"):
        load_examples(MEDMCQA, "test", Source("embedded", test="org/name"))
    assert asked == [("test", Source("hub", dataset="org/name"))]
