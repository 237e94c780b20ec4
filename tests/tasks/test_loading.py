"""Loading: selection, order, ids, splits that a folder lacks, and one clear line for bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks import TASKS, DataError, load_examples

MEDMCQA = TASKS["medmcqa"]
Write = Callable[..., Path]


def make_row(number: int = 0, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"id": f"q{number}", "question": f"Which organ is number {number}?"}
    row |= {"opa": "Liver", "opb": "Heart", "opc": "Lung", "opd": "Skin", "cop": number % 4}
    return {key: value for key, value in (row | changes).items() if value != "DROP"}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_lines(name: str, *rows: Any) -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path

    return write_lines


def load(folder: Path | str | None, split: Any = "train", **options: Any) -> Any:
    path = None if folder is None else str(folder)
    return load_examples(MEDMCQA, split, source="local", path=path, **options)


def load_ids(folder: Path, split: str = "train", **options: Any) -> list[str]:
    return [example.id for example in load(folder, split, **options).examples]


def catch_line(folder: Path | str | None, split: Any = "train", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(folder, split, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_limit_takes_the_first_of_a_seeded_order(write: Write) -> None:
    folder = write("train.jsonl", *map(make_row, range(40)))
    write("test.jsonl", make_row(99))
    everything = load_ids(folder)
    assert sorted(everything) == sorted(f"q{number}" for number in range(40))
    assert everything != sorted(everything)
    assert load_ids(folder, limit=7) == everything[:7]
    assert load_ids(folder, limit=500) == everything
    assert load_ids(folder, seed=1) != everything


def test_parquet_reads_like_jsonl(write: Write, tmp_path: Path) -> None:
    rows = [make_row(number) for number in range(12)]
    folder = write("train.jsonl", *rows)
    write("test.jsonl", make_row(99))
    other = tmp_path / "parquet"
    other.mkdir()
    pd.DataFrame(rows).to_parquet(other / "train.parquet")
    pd.DataFrame(rows[:1]).to_parquet(other / "test.parquet")
    assert load(folder).examples == load(other).examples


def test_the_record_names_what_was_read(write: Write) -> None:
    folder = write("train.jsonl", make_row())
    write("test.jsonl", make_row(1))
    loaded = load(folder, "test")
    assert loaded.dataset == str(folder / "test.jsonl")
    assert loaded.stand_in is None
    assert loaded.skipped_rows == 0


def test_validation_stands_in_for_a_missing_test_file(write: Write) -> None:
    folder = write("train.jsonl", make_row(1))
    write("validation.jsonl", make_row(2))
    assert load_ids(folder, "test") == ["q2"]
    write("test.jsonl", make_row(3))
    assert load_ids(folder, "test") == ["q3"]


def test_the_hubs_split_names_are_understood(write: Write) -> None:
    row = {"Reasoning_process": "r", "Final_response": "1"}
    questions = [f"Context: {i}\nQuestion: y\nAnswer:" for i in range(40)]
    folder = write("SFT.jsonl", *({**row, "Question": question} for question in questions))
    loaded = load_examples(TASKS["fincot"], "train", source="local", path=str(folder))
    assert 15 < len(loaded.examples) < 40


def test_a_train_file_alone_is_cut_into_disjoint_parts(write: Write) -> None:
    rows = [make_row(number, question=f"Question {number // 2}?") for number in range(400)]
    folder = write("train.jsonl", *rows)
    parts = [load(folder, split) for split in ("train", "validation", "test")]
    questions = [{example.body for example in part.examples} for part in parts]
    assert sum(len(part.examples) for part in parts) == 400
    assert len(set.union(*questions)) == sum(map(len, questions)) == 200
    assert 0.1 < len(parts[2].examples) / 400 < 0.3
    assert "test part by content hash" in parts[2].dataset


def test_with_a_test_file_all_of_train_is_train(write: Write) -> None:
    folder = write("train.jsonl", *map(make_row, range(50)))
    write("test.jsonl", make_row(99))
    assert len(load_ids(folder)) == 50
    assert "has no validation.jsonl" in catch_line(folder, "validation")


def test_repeated_and_missing_ids_are_made_unique(write: Write) -> None:
    rows = [make_row(0, id=name) for name in ("a", "a", "a#2", "DROP", "", None, 7, "a")]
    folder = write("train.jsonl", *rows)
    write("test.jsonl", make_row())
    ids = load_ids(folder)
    expected = {"a", "a#2", "a#2#2", "train-000004", "train-000005", "train-000006", "7", "a#3"}
    assert set(ids) == expected
    assert load_ids(folder, limit=3) == ids[:3]


BAD_ROWS = [
    (make_row(question="DROP"), "column 'question' is missing"),
    (make_row(question=None), "column 'question' is null"),
    (make_row(question="  "), "column 'question' is empty"),
    (make_row(question=["x"]), "column 'question' is ['x'] (list), expected text"),
    (make_row(opb=3), "column 'opb' is 3 (int), expected text"),
    (make_row(opd=None), "column 'opd' is null"),
    (make_row(cop=None), "column 'cop' is null"),
    (make_row(cop="1"), "column 'cop' is '1' (str), expected a whole number"),
    (make_row(cop=True), "column 'cop' is True (bool)"),
    (make_row(cop=-1), "column 'cop' is -1, which means that the label is withheld"),
    (make_row(cop=4), "column 'cop' is 4, expected 0 to 3"),
    (make_row(question=[0] * 100_000), "column 'question' is [0, 0"),
    ('{"question": "x",', "not JSON"),
    ("not json", "column 1: not JSON (Expecting value)"),
    ("[1, 2]", "a JSON list, expected an object"),
    ("12", "a JSON int, expected an object"),
    ("[" * 100_000, "JSON that cannot be read"),
    ('{"id": ' + "9" * 5000 + "}", "JSON that cannot be read"),
]


@pytest.mark.parametrize(("row", "expected"), BAD_ROWS)
def test_a_bad_row_is_one_line_with_its_place(write: Write, row: Any, expected: str) -> None:
    folder = write("train.jsonl", make_row(1), "", row, make_row(2))
    write("test.jsonl", make_row(3))
    message = catch_line(folder)
    assert message.startswith(f"{folder / 'train.jsonl'}:3: ")
    assert expected in message
    assert message.endswith("correct the row, or leave such rows out with task.on_bad_row=skip")
    assert len(message) < 500 + len(str(folder))


@pytest.mark.parametrize(("row", "expected"), BAD_ROWS)
def test_skipping_counts_the_row(write: Write, row: Any, expected: str) -> None:
    folder = write("train.jsonl", make_row(1), row, make_row(2))
    write("test.jsonl", make_row(3))
    loaded = load(folder, on_bad_row="skip")
    assert sorted(example.id for example in loaded.examples) == ["q1", "q2"]
    assert loaded.skipped_rows == 1


def test_a_broken_line_is_found_whatever_the_limit(write: Write) -> None:
    folder = write("train.jsonl", *map(make_row, range(30)), "{")
    write("test.jsonl", make_row())
    assert "train.jsonl:31: column 2: not JSON" in catch_line(folder, limit=1)


def test_bad_rows_of_a_set_that_is_cut_are_reported_too(write: Write) -> None:
    folder = write("train.jsonl", *map(make_row, range(30)), make_row(question=None), "{")
    assert "train.jsonl:32:" in catch_line(folder, "test")
    assert load(folder, "test", on_bad_row="skip").skipped_rows == 2


def test_bytes_that_are_not_utf8_name_their_line(write: Write) -> None:
    folder = write("train.jsonl", make_row(1))
    write("test.jsonl", make_row())
    with (folder / "train.jsonl").open("ab") as file:
        file.write(b'{"question": "\xff"}\n')
    assert "train.jsonl:2: column 15: not UTF-8" in catch_line(folder)


def test_a_byte_order_mark_and_crlf_are_no_error(write: Write) -> None:
    folder = write("test.jsonl", make_row())
    lines = "\r\n".join(json.dumps(make_row(number)) for number in range(3))
    (folder / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    assert len(load_ids(folder)) == 3


def test_odd_characters_stay_as_they_are(write: Write) -> None:
    odd = "a\x00b\u2028c \u202e\u05d0\u05d1 \U0001f600" + "x" * 1_000_000
    folder = write("train.jsonl", json.dumps(make_row(question=odd), ensure_ascii=False))
    write("test.jsonl", make_row())
    assert load(folder).examples[0].body == odd


def test_folders_and_files_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    assert "task.path is not set" in catch_line(None)
    assert "no such folder" in catch_line(tmp_path / "absent")
    assert "has no train.jsonl or train.parquet (it has nothing)" in catch_line(tmp_path)
    write("train.jsonl")
    assert "train.jsonl: is empty" in catch_line(tmp_path)
    assert "is a file; task.path names the folder" in catch_line(tmp_path / "train.jsonl")
    (tmp_path / "test.parquet").write_text("nonsense")
    assert "test.parquet: not a Parquet file" in catch_line(tmp_path, "test")
    (tmp_path / "train.parquet").write_text("x")
    assert "has both train.jsonl and train.parquet" in catch_line(tmp_path)


def test_parquet_rows_are_named_by_number(tmp_path: Path) -> None:
    pd.DataFrame([make_row(1), make_row(2, cop=9)]).to_parquet(tmp_path / "train.parquet")
    pd.DataFrame([make_row(1)]).to_parquet(tmp_path / "test.parquet")
    assert f"{tmp_path / 'train.parquet'}, row 2: column 'cop' is 9" in catch_line(tmp_path)


def test_no_usable_row_is_an_error(write: Write) -> None:
    folder = write("train.jsonl", make_row(cop=-1), make_row(cop=-1))
    write("test.jsonl", make_row())
    assert "no usable row for train, 2 skipped" in catch_line(folder, on_bad_row="skip")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"source": "web"}, "task.source is 'web'; expected one of hub, local, embedded"),
        ({"on_bad_row": "warn"}, "task.on_bad_row is 'warn'; expected one of fail, skip"),
        ({"limit": 0}, "the number of train examples is 0; expected 1 or more"),
    ],
)
def test_unknown_options_name_the_allowed_ones(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected.replace("'", ".")):
        load_examples(MEDMCQA, "train", **({"source": "embedded"} | options))


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="split is 'dev'"):
        load_examples(MEDMCQA, "dev", source="embedded")  # type: ignore[arg-type]
