"""Loading: selection, order, ids, splits that a folder lacks, and one clear line for bad input."""

import dataclasses
import hashlib
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks import (
    TASKS,
    CustomTask,
    DataError,
    LoadedExamples,
    Source,
    TaskSpec,
    load_examples,
    make_custom_task,
    sources,
)
from tasks.base import Split
from tasks.custom.formats import FORMATS
from tasks.custom.templates import Renderer
from tasks.loading import _order, _Part, has_validation, load_parts
from tasks.sources import read_local
from tasks.splits import assign_split

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
    return load_examples(MEDMCQA, split, Source("local", path), **options)


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
    digest = hashlib.sha256((folder / "test.jsonl").read_bytes()).hexdigest()
    assert loaded.dataset == f"{folder / 'test.jsonl'}@{digest[:12]}"
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
    loaded = load_examples(TASKS["fincot"], "train", Source("local", str(folder)))
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
    assert "has no validation file" in catch_line(folder, "validation")


def test_rows_without_an_id_are_named_by_their_place(write: Write) -> None:
    rows = [make_row(0, id=name) for name in ("a", "DROP", "", None, 7, " b ", "7.0")]
    folder = write("train.jsonl", *rows)
    write("test.jsonl", make_row())
    ids = load_ids(folder)
    assert set(ids) == {"a", "train-000002", "train-000003", "train-000004", "7", "b", "7.0"}
    assert load_ids(folder, limit=3) == ids[:3]


@pytest.mark.parametrize(
    ("names", "holder"),
    [(("a", "a"), 1), (("a", " a\t"), 1), (("7", 7), 1), (("train-000002", None), 1)],
)
def test_no_two_rows_have_one_id(write: Write, names: tuple[Any, ...], holder: int) -> None:
    folder = write("train.jsonl", *(make_row(0, id=name) for name in names))
    write("test.jsonl", make_row())
    expected = f"(str), already used by {folder / 'train.jsonl'}:{holder}, expected unique ids"
    assert expected in catch_line(folder)
    assert len(load_ids(folder, on_bad_row="skip")) == 1


BAD_ROWS = [
    (make_row(question="DROP"), "column 'question' is missing"),
    (make_row(question=None), "column 'question' is null"),
    (make_row(question="  "), "column 'question' is empty"),
    (make_row(question=["x"]), "column 'question' is ['x'] (list), expected text"),
    (make_row(opb=3), "column 'opb' is 3 (int), expected text"),
    (make_row(opd=None), "column 'opd' is null"),
    (make_row(cop=None), "column 'cop' is null"),
    (make_row(cop="1st"), "column 'cop' is '1st' (str), expected a whole number"),
    (make_row(cop=True), "column 'cop' is True (bool)"),
    (make_row(cop=-1), "column 'cop' is -1, which means that the label is withheld"),
    (make_row(cop=4), "column 'cop' is 4, expected 0 to 3"),
    (make_row(question=[0] * 100_000), "column 'question' is [0, 0"),
    ('{"question": "x",', "not JSON"),
    ("not json", "column 1: not JSON (Expecting value)"),
    ("[1, 2]", "a JSON list ([1, 2] (list)), expected an object"),
    ("12", "a JSON int (12 (int)), expected an object"),
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
    assert "train.jsonl:31:" in catch_line(folder, "test")
    parts = ("train", "validation", "test")
    skipped = [load(folder, name, on_bad_row="skip").skipped_rows for name in parts]
    # They have no side of their own, so they are counted once.
    assert skipped == [2, 0, 0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_row_of_a_set_that_is_cut_is_checked_whichever_part_it_falls_to(
    write: Write, split: str
) -> None:
    for position in range(12):
        rows = [make_row(number, cop=9 if number == position else 0) for number in range(12)]
        folder = write("train.jsonl", *rows)
        assert f"train.jsonl:{position + 1}: column 'cop'" in catch_line(folder, split)


def test_a_bad_row_of_a_set_that_is_cut_is_counted_in_its_own_part(write: Write) -> None:
    rows = [make_row(number, cop=9 if number < 50 else 0) for number in range(100)]
    folder = write("train.jsonl", *rows)
    parts = [load(folder, name, on_bad_row="skip") for name in ("train", "validation", "test")]
    assert sum(part.skipped_rows for part in parts) == 50
    assert sum(len(part.examples) for part in parts) == 50


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
    odd = "a\u2028c \u202e\u05d0\u05d1 \U0001f600" + "x" * 1_000_000
    folder = write("train.jsonl", json.dumps(make_row(question=odd), ensure_ascii=False))
    write("test.jsonl", make_row())
    assert load(folder).examples[0].body == odd


def test_folders_and_files_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    assert "task.path is not set" in catch_line(None)
    assert "no such file or folder" in catch_line(tmp_path / "absent")
    assert "has no train file (it has nothing)" in catch_line(tmp_path)
    write("train.jsonl")
    assert "train.jsonl: is empty" in catch_line(tmp_path)
    write("notes.txt")
    assert "notes.txt: not a .jsonl, .json, .csv, .tsv, .parquet file" in catch_line(
        tmp_path / "notes.txt"
    )
    (tmp_path / "test.parquet").write_text("nonsense")
    assert "test.parquet: not a Parquet file" in catch_line(tmp_path, "test")
    (tmp_path / "train.parquet").write_text("x")
    assert "has both train.jsonl and train.parquet" in catch_line(tmp_path)


def test_a_single_file_is_a_whole_set(write: Write) -> None:
    folder = write("organs.jsonl", *map(make_row, range(60)))
    write("train.jsonl", make_row(99))
    write("test.jsonl", make_row(98))
    parts = [load_ids(folder / "organs.jsonl", name) for name in ("train", "validation", "test")]
    assert sorted(name for part in parts for name in part) == sorted(
        f"q{number}" for number in range(60)
    )
    assert all(parts)
    assert "test part by content hash" in load(folder / "organs.jsonl", "test").dataset


def test_a_folder_of_one_file_is_a_whole_set_whatever_its_name(write: Write) -> None:
    folder = write("organs.jsonl", *map(make_row, range(60)))
    assert set(load_ids(folder)).isdisjoint(load_ids(folder, "test"))


@pytest.mark.parametrize("name", ["validation", "valid", "dev", "val"])
def test_usual_names_of_the_validation_file(write: Write, name: str) -> None:
    folder = write("train.jsonl", make_row(1))
    write(f"{name}.jsonl", make_row(2))
    assert load_ids(folder, "validation") == load_ids(folder, "test") == ["q2"]
    write("eval.jsonl", make_row(3))
    assert load_ids(folder, "test") == ["q3"]


def test_formats_may_be_mixed(write: Write, tmp_path: Path) -> None:
    folder = write("train.jsonl", make_row(1))
    pd.DataFrame([make_row(2)]).to_csv(tmp_path / "test.CSV", index=False)
    assert load(folder, "test").examples[0].body == "Which organ is number 2?"


def test_parquet_rows_are_named_by_number(tmp_path: Path) -> None:
    pd.DataFrame([make_row(1), make_row(2, cop=9)]).to_parquet(tmp_path / "train.parquet")
    pd.DataFrame([make_row(1)]).to_parquet(tmp_path / "test.parquet")
    assert f"{tmp_path / 'train.parquet'}, row 2: column 'cop' is 9" in catch_line(tmp_path)


def test_no_usable_row_is_an_error(write: Write) -> None:
    folder = write("train.jsonl", make_row(cop=-1), make_row(cop=-1))
    write("test.jsonl", make_row())
    line = catch_line(folder, on_bad_row="skip")
    assert "no usable row for train, 2 skipped as bad, the first of them" in line
    assert "train.jsonl:1: column 'cop' is -1" in line


def test_a_part_to_which_no_row_falls_is_an_error(write: Write) -> None:
    folder = write("train.jsonl", make_row(1))
    side = assign_split(make_row(1)["question"], seed=0)
    assert load_ids(folder, side) == ["q1"]
    for other in {"train", "validation", "test"} - {side}:
        assert f"no row falls to {other}" in catch_line(folder, other)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"source": Source("web")}, "task.source is 'web'; expected one of hub, local, embedded"),
        ({"on_bad_row": "warn"}, "task.on_bad_row is 'warn'; expected one of fail, skip"),
        ({"limit": 0}, "the number of train examples is 0; expected 1 or more"),
    ],
)
def test_unknown_options_name_the_allowed_ones(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected.replace("'", ".")):
        load_examples(MEDMCQA, "train", **({"source": Source("embedded")} | options))


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="split is 'dev'"):
        load_examples(MEDMCQA, "dev", Source("embedded"))  # type: ignore[arg-type]


def test_a_task_without_embedded_data_says_so() -> None:
    task = dataclasses.replace(MEDMCQA, name="mine", embedded=None, hub=())
    with pytest.raises(DataError, match=r"task mine has no embedded data; set task\.source=local"):
        load_examples(task, "train", Source("embedded"))
    with pytest.raises(DataError, match=r"task mine has no public data set; set task\.dataset"):
        load_examples(task, "train", Source("hub"))


def test_a_row_whose_own_answer_would_not_be_right_is_a_bad_row(write: Write) -> None:
    """Whatever a metric makes of it: no model could score there."""
    folder = write("train.jsonl", *map(make_row, range(4)))
    write("test.jsonl", make_row(9))

    def score(example: Any, prediction: str) -> dict[str, float]:
        return {"accuracy": float(prediction == example.reference and example.id != "q2")}

    task = dataclasses.replace(MEDMCQA, score=score)
    with pytest.raises(
        DataError, match=r"jsonl:3: its own answer scores 0 on accuracy against 'C'"
    ):
        load_examples(task, "train", Source("local", str(folder)))
    loaded = load_examples(task, "train", Source("local", str(folder)), on_bad_row="skip")
    assert (len(loaded.examples), loaded.skipped_rows) == (3, 1)


@pytest.mark.parametrize(("summary", "is_good"), [("...", False), ("42", True), ("\u7532", True)])
def test_a_summary_without_a_word_is_a_bad_row(write: Write, summary: str, is_good: bool) -> None:
    task = make_custom_task(
        CustomTask("reports", prompt="{{ text }}", answer="summary", metric="rouge")
    )
    folder = write("train.jsonl", {"text": "A report.", "summary": summary})
    if is_good:
        assert load_examples(task, "train", Source("local", str(folder))).examples
        return
    with pytest.raises(DataError, match="its own answer scores 0 on rougeL"):
        load_examples(task, "train", Source("local", str(folder)))


def test_a_completion_that_thinks_first_is_judged_by_its_answer(write: Write) -> None:
    task = make_custom_task(
        CustomTask("sums", prompt="{{ q }}", answer="{{ t }}{{ a }}", metric="numeric")
    )
    folder = write("train.jsonl", {"q": "2 + 3?", "t": "<think>2 and 3.</think>", "a": "5"})
    (example,) = load_examples(task, "train", Source("local", str(folder))).examples
    assert task.score(example, "5")["answer_accuracy"] == 1


def write_tickets(folder: Path, order: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [{"text": f"Ticket {n}", "more": f"more {n % 7}", "label": "ab"[n % 2]} for n in order]
    lines = map(json.dumps, rows)
    (folder / "tickets.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "tickets.jsonl"


def make_sorting(prompt: str = "Sort: {{ text }}\n\nLabel:", **more: Any) -> TaskSpec:
    return make_custom_task(CustomTask("own", prompt, "label", "choice", ["a", "b"], **more))


def list_texts(part: LoadedExamples) -> list[str]:
    return [re.findall(r"Ticket (\d+)", example.prompt)[0] for example in part.examples]


def test_another_order_of_the_rows_changes_no_sample(tmp_path: Path) -> None:
    order = list(range(200))
    found = []
    for name in ("as_it_was", "shuffled"):
        path = write_tickets(tmp_path / name, order)
        parts = load_parts(
            make_sorting(), Source("local", path=str(path)), {"train": 30, "test": 20}
        )
        found.append([list_texts(part) for part in parts.values()])
        random.Random(1).shuffle(order)
    assert found[0] == found[1]


@pytest.mark.parametrize("form", ["alpaca", "image"])
def test_rows_that_differ_in_one_column_alone_are_drawn_by_hash_too(
    tmp_path: Path, form: str
) -> None:
    """An optional column counts; of an image its name, however the path to it is spelled."""
    rows = [{"instruction": "Translate.", "input": f"word {n}", "output": "x"} for n in range(100)]
    task = make_custom_task(CustomTask("own", None, None, "exact", format=FORMATS["alpaca"]))
    if form == "image":
        rows = [{"image": f"{n}.png", "ground_truth": "{}"} for n in range(100)]
        task = TASKS["invoice_ocr"]
    found = []
    for name in ("as_it_was", "shuffled"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "a.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        read = read_local(task, "train", Source("local", path=str(path)))
        order = _order(_Part(task, read, 0), range(100))
        found.append([json.dumps(rows[index]) for index in order])
        random.Random(1).shuffle(rows)
    assert found[0] == found[1]


def test_another_wording_of_the_prompt_changes_no_split(tmp_path: Path) -> None:
    source = Source("local", path=str(write_tickets(tmp_path, list(range(200)))))
    prompts = (
        *("Sort: {{ text }}\n\nLabel:", "{{ text }}. Which label, please?"),
        *("{{ text }} {{ more }}", "{{ more }} of {{ text }}"),
    )
    limits: dict[Split, int | None] = {"train": None, "test": 20}
    found = [
        [list_texts(part) for part in load_parts(make_sorting(prompt), source, limits).values()]
        for prompt in prompts
    ]
    assert found[0] == found[1]
    assert found[2] == found[3]


def test_columns_that_decide_a_split_are_there_in_every_row(tmp_path: Path) -> None:
    source = Source("local", path=str(write_tickets(tmp_path, list(range(20)))))
    with pytest.raises(DataError, match=r"has no column 'customer' \(it has text, more, label\)"):
        load_examples(make_sorting(split_columns=["customer"]), "train", source)
    with pytest.raises(DataError, match="optional_columns has 'zzz', which is no column"):
        make_sorting(optional_columns=["zzz"])


def test_one_shard_is_no_set(tmp_path: Path) -> None:
    path = write_tickets(tmp_path, list(range(20))).rename(tmp_path / "train-00000-of-00002.jsonl")
    with pytest.raises(DataError, match="is one of 2 shards; set the path to their folder"):
        load_examples(make_sorting(), "train", Source("local", path=str(path)))


def test_test_rows_that_are_all_there_is(tmp_path: Path) -> None:
    path = str(write_tickets(tmp_path, list(range(20))))
    with pytest.raises(DataError, match="all 16 rows for train are left out, because they are te"):
        load_examples(make_sorting(), "train", Source("local", path=path, test=path))


def test_a_file_alone_is_cut_in_two_where_nobody_needs_three(tmp_path: Path) -> None:
    source = Source("local", path=str(write_tickets(tmp_path, list(range(300)))))
    wanted: dict[Split, int | None] = {"train": None, "validation": None, "test": None}
    three = load_parts(make_sorting(), source, wanted)
    two = load_parts(make_sorting(), source, {"train": None, "test": None}, joins_validation=True)
    texts = {name: set(list_texts(part)) for name, part in three.items()}
    assert list_texts(two["test"]) == list_texts(three["test"])
    assert set(list_texts(two["train"])) == texts["train"] | texts["validation"]
    assert not texts["train"] & texts["validation"]
    # A part that a folder has of its own is not trained on.
    for name in ("train", "validation", "test"):
        rows = [{"text": f"{name} {n}", "label": "a"} for n in range(5)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "tickets.jsonl").unlink()
    folder = load_parts(
        make_sorting(), Source("local", path=str(tmp_path)), {"train": None}, joins_validation=True
    )
    assert len(folder["train"].examples) == 5


def test_whether_a_source_has_a_validation_part(tmp_path: Path) -> None:
    path = write_tickets(tmp_path, list(range(30)))
    assert has_validation(make_sorting(), Source("local", path=str(path)))
    folder = tmp_path / "parts"
    folder.mkdir()
    for name in ("train", "validation"):
        shutil.copy(path, folder / f"{name}.jsonl")
    # It is the test part, where there is no other.
    assert not has_validation(make_sorting(), Source("local", path=str(folder)))
    shutil.copy(path, folder / "test.jsonl")
    assert has_validation(make_sorting(), Source("local", path=str(folder)))
    assert has_validation(TASKS["fincot"], Source("embedded"))


def test_a_file_is_read_once_and_its_rows_are_rendered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50,000 rows would take minutes otherwise."""
    rendered, opened = Counter[str](), []
    render, read = Renderer.render, sources.read_file

    def count(self: Renderer, row: Any) -> str:
        rendered[row["text"]] += 1
        return render(self, row)

    monkeypatch.setattr(Renderer, "render", count)
    monkeypatch.setattr(sources, "read_file", lambda *a: opened.append(a) or read(*a))
    path = write_tickets(tmp_path, list(range(200)))
    load_parts(make_sorting(), Source("local", path=str(path)), {"train": 10, "test": 10})
    assert len(opened) == 1
    # Once to check it, and again for those that were drawn.
    assert sorted(rendered.values()) == [1] * 180 + [2] * 20


def test_ids_may_stand_in_another_column(tmp_path: Path) -> None:
    rows = [{"key": f"k{n}", "text": f"Ticket {n}", "label": "a"} for n in range(20)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    source = Source("local", path=str(path), id_column="key")
    assert {e.id[0] for e in load_examples(make_sorting(), "train", source).examples} == {"k"}
    path.write_text("\n".join(json.dumps(row | {"key": "same"}) for row in rows))
    with pytest.raises(DataError, match=r"column 'key' is 'same' .*, already used by"):
        load_examples(make_sorting(), "train", source)
    path.write_text(json.dumps(rows[0]) + '\n{"text": "Ticket", "label": "a"}')
    with pytest.raises(DataError, match=r"a.jsonl:2: column 'key' is missing .*task.id_column"):
        load_examples(make_sorting(), "train", source)
    (tmp_path / "b.csv").write_text("text,label\nTicket 1,a\n")
    other = Source("local", path=str(tmp_path / "b.csv"), id_column="key")
    with pytest.raises(DataError, match=r"has no column 'key' for ids .*correct task.id_column"):
        load_examples(make_sorting(), "train", other)
