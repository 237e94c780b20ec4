"""Malformed rows of every kind, in every task and file format: a line with the place, no crash."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from growth import assert_linear

from tasks import TASKS, DataError, Source, load_examples
from tasks.base import Example

FORMATS = ("jsonl", "parquet", "csv")
BAD_INDEX = 2
REMEDY = "; correct the row, or leave such rows out with task.on_bad_row=skip"


def make_row(task: str, number: int) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {
        "medmcqa": {
            "question": f"Which organ is number {number}?",
            **{f"op{letter}": f"organ {letter}" for letter in "abcd"},
            "cop": number % 4,
        },
        "govreport": {"report": f"Report {number}. Long.", "summary": f"Summary {number}."},
        "fincot": {
            "Question": f"Context: revenue {number}\nQuestion: what is it?\nAnswer:",
            "Reasoning_process": f"It says {number}.",
            "Final_response": str(number),
        },
        "invoice_ocr": {
            "ocr_text": f"Café {number}\nTea 2,00",
            "ground_truth": json.dumps({"gt_parse": {"number": str(number), "total": "2,00"}}),
        },
        "medreason": {
            "question": f"Which organ is number {number}?",
            "answer": "organ b. Explanation: it is.",
            "options": "Answer Choices:\nA. organ a\nB. organ b",
            "reasoning": f"Number {number} is organ b.",
        },
        "cocohd": {
            "transcript": f"HEARING {number}\nTHE FUTURE OF SOIL",
            "details": json.dumps({"title": f"The Future of Soil {number}", "congress": 117}),
        },
    }
    return {"id": f"row-{number}", **rows[task]}


REQUIRED_TEXTS = [
    (task, column)
    for task in TASKS
    for column in make_row(task, 0)
    # A question of medreason may be open, and its test sets have no reasoning.
    if column not in ("id", "cop", "opa", "opb", "opc", "opd", "options", "reasoning")
]


def encode_csv(rows: list[dict[str, Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    # A lone surrogate cannot be written as UTF-8: it stands for a byte that is none.
    return stream.getvalue().encode("utf-8", "surrogateescape")


def encode_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    arrays = [
        pa.array([value.encode("utf-8", "surrogateescape") for value in values], pa.binary()).view(
            pa.string()
        )
        if all(isinstance(value, str) for value in values)
        else pa.array(values)
        for values in columns.values()
    ]
    pq.write_table(pa.Table.from_arrays(arrays, list(columns)), sink)
    return sink.getvalue()


def write_file(folder: Path, name: str, kind: str, rows: list[dict[str, Any]]) -> Path:
    file = folder / f"{name}.{kind}"
    if kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        file.write_bytes(encode_csv(rows) if kind == "csv" else encode_parquet(rows))
    return file


def write_rows(folder: Path, task: str, kind: str, **changes: Any) -> Path:
    """A train file of four rows, the third of them changed, and a good test file."""
    rows = [make_row(task, number) for number in range(4)]
    rows[BAD_INDEX] |= changes
    write_file(folder, "test", "jsonl", [make_row(task, 9)])
    return write_file(folder, "train", kind, rows)


def load(task: str, file: Path, **options: Any) -> Any:
    return load_examples(TASKS[task], "train", Source("local", str(file.parent)), **options)


def find_place(file: Path) -> str:
    # A CSV's first line is its header; the text of FinCoT's rows is on three lines each.
    if file.suffix == ".parquet":
        return f"{file}, row {BAD_INDEX + 1}: "
    if file.suffix == ".jsonl":
        return f"{file}:{BAD_INDEX + 1}: "
    records = list(csv.reader(file.open(newline="", errors="replace")))[: BAD_INDEX + 1]
    lines = sum(1 + sum(cell.count("\n") for cell in record) for record in records)
    return f"{file}:{lines + 1}: "


def check_bad(task: str, file: Path, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        load(task, file)
    message = str(caught.value)
    assert message.startswith(find_place(file))
    assert expected in message
    assert message.endswith(REMEDY)
    assert "expected" in message.removesuffix(REMEDY)
    assert "\n" not in message
    assert len(message) < 500 + len(str(file))
    message.encode()
    loaded = load(task, file, on_bad_row="skip")
    assert sorted(example.id for example in loaded.examples) == ["row-0", "row-1", "row-3"]
    assert loaded.skipped_rows == 1


def check_good(task: str, file: Path) -> Example:
    loaded = load(task, file)
    assert loaded.skipped_rows == 0
    for example in loaded.examples:
        scores = TASKS[task].score(example, example.completion)
        assert scores[TASKS[task].metric] == 1
    found: Example = next(e for e in loaded.examples if e.id == f"row-{BAD_INDEX}")
    return found


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("task", "column"), REQUIRED_TEXTS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "is empty ('' (str))"),
        (" \n\t ", "is empty"),
        ("a\x00b", "control character U+0000 at character 2 ('a\\x00b'"),
        ("an \x1b[31m", "control character U+001B at character 4"),
    ],
)
def test_empty_texts_and_control_characters(
    tmp_path: Path, task: str, column: str, kind: str, value: str, expected: str
) -> None:
    check_bad(
        task,
        write_rows(tmp_path, task, kind, **{column: value}),
        f"column {column!r} {expected}"
        if expected.startswith("is")
        else f"column {column!r} has the {expected}",
    )


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(("task", "column"), [*REQUIRED_TEXTS, ("medmcqa", "cop")])
def test_null(tmp_path: Path, task: str, column: str, kind: str) -> None:
    file = write_rows(tmp_path, task, kind, **{column: None})
    check_bad(task, file, f"column {column!r} is null")


@pytest.mark.parametrize(("task", "column"), [*REQUIRED_TEXTS, ("medmcqa", "opc")])
@pytest.mark.parametrize("value", [3, 2.5, True, ["x"], [{"a": [0] * 10_000}]])
def test_wrong_types(tmp_path: Path, task: str, column: str, value: object) -> None:
    file = write_rows(tmp_path, task, "jsonl", **{column: value})
    check_bad(task, file, f"column {column!r} is {repr(value)[:50]}")


@pytest.mark.parametrize(("task", "column"), REQUIRED_TEXTS)
def test_a_parquet_column_of_another_type(tmp_path: Path, task: str, column: str) -> None:
    rows = [make_row(task, number) | {column: number} for number in range(3)]
    write_file(tmp_path, "test", "jsonl", [make_row(task, 9)])
    file = write_file(tmp_path, "train", "parquet", rows)
    with pytest.raises(DataError, match=rf"row 1: column '{column}' is 0 \(int\)"):
        load(task, file)
    with pytest.raises(DataError, match="no usable row for train, 3 skipped as bad, the first"):
        load(task, file, on_bad_row="skip")


@pytest.mark.parametrize(("task", "column"), [*REQUIRED_TEXTS, ("medmcqa", "cop")])
def test_missing_in_one_row(tmp_path: Path, task: str, column: str) -> None:
    rows = [make_row(task, number) for number in range(4)]
    del rows[BAD_INDEX][column]
    write_file(tmp_path, "test", "jsonl", [make_row(task, 9)])
    file = write_file(tmp_path, "train", "jsonl", rows)
    # Without their text, invoices are looked for in the public sets' other columns.
    check_bad(task, file, f"column {column!r} is missing (the row has id, ")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("rule", ["fail", "skip"])
@pytest.mark.parametrize(("task", "column"), [*REQUIRED_TEXTS, ("medmcqa", "cop")])
def test_missing_in_the_whole_file(
    tmp_path: Path, task: str, column: str, kind: str, rule: str
) -> None:
    rows = [make_row(task, number) for number in range(4)]
    rows = [{name: value for name, value in row.items() if name != column} for row in rows]
    file = write_file(tmp_path, "train", kind, rows)
    with pytest.raises(DataError) as caught:
        load(task, file, on_bad_row=rule)
    assert str(caught.value).startswith(f"{file}: has no column {column!r} (it has id, ")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("task", "column"), REQUIRED_TEXTS)
def test_lone_surrogates_and_bytes_that_are_no_text(
    tmp_path: Path, task: str, column: str, kind: str
) -> None:
    file = write_rows(tmp_path, task, kind, **{column: "a\udcffb"})
    lone = f"column {column!r} has the lone surrogate U+DCFF at character 2"
    check_bad(
        task, file, {"jsonl": lone, "csv": f"column {column!r}: not UTF-8"}.get(kind, "utf-8")
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("task", TASKS)
def test_a_repeated_id_names_the_row_that_has_it(tmp_path: Path, task: str, kind: str) -> None:
    file = write_rows(tmp_path, task, kind, id=" row-1")
    first = f"{file}, row 2" if kind == "parquet" else f"{file}:"
    check_bad(task, file, f"column 'id' is 'row-1' (str), already used by {first}")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", [1.5, True, ["a"], {"a": 1}, float("nan")])
def test_ids_of_other_types(tmp_path: Path, task: str, value: object) -> None:
    file = write_rows(tmp_path, task, "jsonl", id=value)
    check_bad(task, file, f"column 'id' is {value!r}")


@pytest.mark.parametrize("task", TASKS)
def test_ids_that_cannot_be_recorded(tmp_path: Path, task: str) -> None:
    file = write_rows(tmp_path, task, "jsonl", id="a\ud800")
    check_bad(task, file, "column 'id' has the lone surrogate U+D800 at character 2")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_rows_without_an_id_are_named_by_their_place(
    tmp_path: Path, task: str, value: object
) -> None:
    file = write_rows(tmp_path, task, "jsonl", id=value)
    assert {e.id for e in load(task, file).examples} >= {"row-1", "train-000003"}


LABELS = [
    ("jsonl", 4, "column 'cop' is 4, expected 0 to 3"),
    ("jsonl", -1, "label is withheld"),
    ("jsonl", -2, "column 'cop' is -2"),
    ("jsonl", 10**30, "column 'cop' is 1000"),
    ("jsonl", 1.5, "column 'cop' is 1.5 (float)"),
    ("jsonl", True, "column 'cop' is True (bool)"),
    ("jsonl", "B", "column 'cop' is 'B' (str)"),
    ("jsonl", "9" * 9999, "column 'cop' is '9999"),
    ("parquet", 7, "column 'cop' is 7, expected 0 to 3"),
    ("csv", "4", "column 'cop' is 4, expected 0 to 3"),
    ("csv", "", "column 'cop' is '' (str), expected a whole number"),
    ("csv", "-1", "label is withheld"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), LABELS)
def test_labels_outside_of_the_options(
    tmp_path: Path, kind: str, value: object, expected: str
) -> None:
    check_bad("medmcqa", write_rows(tmp_path, "medmcqa", kind, cop=value), expected)


GROUND_TRUTHS = [
    ("{'gt_parse': {}}", "is not JSON"),
    ('{"gt_parse": [1]}', "'gt_parse' is [1] (list), expected an object"),
    ('{"gt_parse": {"a": {"b": [null, ""]}}}', "no field with a value"),
    ('{"gt_parse": {"a": "x\\ud800y"}}', "'gt_parse' has the lone surrogate U+D800"),
    ('{"gt_parse": {"a": {"x\\u0000": "y"}}}', "'gt_parse' has the control character U+0000"),
    ('{"gt_parse": {"a": NaN}}', "cannot be written as JSON"),
    ('{"gt_parse": ' + '{"a":' * 500 + "1" + "}" * 501, "nested deeper than 100 levels"),
    ('{"gt_parse": ' + "[" * 90_000, "is not JSON"),
]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("value", "expected"), GROUND_TRUTHS)
def test_fields_that_cannot_be_scored(tmp_path: Path, kind: str, value: str, expected: str) -> None:
    check_bad(
        "invoice_ocr", write_rows(tmp_path, "invoice_ocr", kind, ground_truth=value), expected
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        "שלום, מחיר: 12 \u202e\u202c مرحبا",
        "C1 \x85\x9f, DEL \x7f, \u2028 \u2029 \x0b\x0c\r\n\t \ufeff \u200b \ufffe",
        "e\u0301 \U0001f600\u200d\U0001f680 \U00020000",
        'commas, "quotes", semicolons; and\n\nlines',
    ],
)
@pytest.mark.parametrize(
    ("task", "column"),
    [
        ("medmcqa", "question"),
        ("govreport", "report"),
        ("invoice_ocr", "ocr_text"),
        ("cocohd", "transcript"),
    ],
)
def test_odd_text_goes_through_unchanged(
    tmp_path: Path, task: str, column: str, kind: str, text: str
) -> None:
    text = f"[{text}]"
    example = check_good(task, write_rows(tmp_path, task, kind, **{column: text}))
    # A CSV's own line ends are those of its quoted texts too.
    assert example.body == (text.replace("\r\n", "\n") if kind == "csv" else text)


def test_right_to_left_answers_score(tmp_path: Path) -> None:
    fields = {"gt_parse": {"ספק": "חברה בע״מ", "סכום": "₪12.00"}}
    changes = {"ground_truth": json.dumps(fields, ensure_ascii=False)}
    file = write_rows(tmp_path, "invoice_ocr", "jsonl", **changes)
    assert "חברה" in check_good("invoice_ocr", file).reference
    file = write_rows(tmp_path, "fincot", "jsonl", Final_response="שנת הכספים")
    check_good("fincot", file)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("task", "column"),
    [
        ("medmcqa", "question"),
        ("govreport", "report"),
        ("fincot", "Question"),
        ("invoice_ocr", "ocr_text"),
        ("cocohd", "transcript"),
    ],
)
def test_a_field_of_a_megabyte_takes_time_in_proportion(
    tmp_path: Path, task: str, column: str, kind: str
) -> None:
    def read(count: int) -> Example:
        return check_good(task, write_rows(tmp_path, task, kind, **{column: "long text, " * count}))

    assert len(read(100_000).prompt) > 1_000_000
    assert_linear(read, 12_500)


@pytest.mark.parametrize(("task", "column"), REQUIRED_TEXTS)
def test_a_megabyte_of_the_wrong_thing_is_one_short_line(
    tmp_path: Path, task: str, column: str
) -> None:
    file = write_rows(tmp_path, task, "jsonl", **{column: ["x"] * 250_000})
    check_bad(task, file, f"column {column!r} is ['x', 'x', ")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("task", TASKS)
def test_a_bad_row_of_a_file_is_found_wherever_the_selection_falls(
    tmp_path: Path, task: str, kind: str
) -> None:
    rows = [make_row(task, number) for number in range(60)]
    column = next(name for name in rows[0] if name != "id")
    rows[41][column] = ""
    write_file(tmp_path, "test", "jsonl", [make_row(task, 99)])
    file = write_file(tmp_path, "train", kind, rows)
    for seed in range(3):
        with pytest.raises(DataError, match=f"column '{column}' is empty"):
            load(task, file, limit=2, seed=seed)
        loaded = load(task, file, limit=2, seed=seed, on_bad_row="skip")
        assert (len(loaded.examples), loaded.skipped_rows) == (2, 1)


@pytest.mark.parametrize("task", TASKS)
def test_the_first_bad_row_of_several_is_named_and_all_are_counted(
    tmp_path: Path, task: str
) -> None:
    rows = [make_row(task, number) for number in range(9)]
    columns = [name for name in rows[0] if name != "id"]
    rows[3][columns[0]] = None
    rows[5]["id"] = "row-0"
    rows[7][columns[-1]] = {}
    write_file(tmp_path, "test", "jsonl", [make_row(task, 99)])
    file = write_file(tmp_path, "train", "jsonl", rows)
    with file.open("a") as stream:
        stream.write("{\n")
    with pytest.raises(DataError, match=f":4: column '{columns[0]}' is null"):
        load(task, file)
    loaded = load(task, file, on_bad_row="skip")
    assert (len(loaded.examples), loaded.skipped_rows) == (6, 4)
