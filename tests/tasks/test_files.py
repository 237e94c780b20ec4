"""Files: CSV in the forms that spreadsheets write, against the csv module and pandas as written."""

import codecs
import contextlib
import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base import DataError
from tasks.files import find_files, read_file

ROWS = [
    {"id": "1", "text": 'a "quoted" word', "label": "x, y; z\tw"},
    {"id": "2", "text": "two\nlines\n\nand more", "label": ""},
    {"id": "3", "text": "שלום \u2028 é \x85", "label": " spaces "},
]


def write_csv(path: Path, delimiter: str = ",", ending: str = "\n", start: bytes = b"") -> Path:
    stream = io.StringIO(newline="")
    # The csv module quotes a newline only where that ends a line.
    quoting = csv.QUOTE_ALL if ending == "\r" else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(
        stream, list(ROWS[0]), delimiter=delimiter, lineterminator=ending, quoting=quoting
    )
    writer.writeheader()
    writer.writerows(ROWS)
    path.write_bytes(start + stream.getvalue().encode())
    return path


def read(path: Path) -> dict[int, Any]:
    return read_file(path, ()).rows


def catch_line(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_csv_reads_back_as_it_was_written(
    tmp_path: Path, delimiter: str, ending: str, start: bytes
) -> None:
    rows = read(write_csv(tmp_path / "a.csv", delimiter, ending, start))
    assert list(rows.values()) == ROWS
    # The second record is on four lines.
    assert list(rows) == [2, 3, 7]


def test_csv_of_pandas(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "a.csv", index=False)
    assert list(read(tmp_path / "a.csv").values()) == ROWS


def test_all_values_of_csv_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,t\n1,NaN\n1.50,true\n")
    assert list(read(tmp_path / "a.csv").values()) == [
        {"n": "1", "t": "NaN"},
        {"n": "1.50", "t": "true"},
    ]


def test_blank_lines_and_one_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ntext\n\none\n\n\ntwo")
    assert read(tmp_path / "a.csv") == {4: {"text": "one"}, 7: {"text": "two"}}


def test_fields_of_megabytes_leave_the_csv_module_as_it_was(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    text = "long, " * 500_000
    (tmp_path / "a.csv").write_text(f'id,text\n1,"{text}"\n')
    assert read(tmp_path / "a.csv") == {2: {"id": "1", "text": text}}
    (tmp_path / "b.csv").write_text("x" * 1_000_000)
    assert "is empty" in catch_line(tmp_path / "b.csv")
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("a,b,a\n1,2,3\n", 1, "the header has 'a' twice"),
        ("a, a \n1,2\n", 1, "the header has 'a' twice"),
        ("a,,b\n1,2,3\n", 1, "cell 2 of the header is empty"),
        ("\n,\n1,2\n", 2, "cell 1 of the header is empty"),
        ("a\0,b\n1,2\n", 1, "the header has NUL characters"),
        ('a,b\n1,2\n"3,4\n5,6\n7,8\n', 3, "not CSV (unexpected end of data)"),
        ('a,b\n1,2\n"3"x,4\n5,6\n', 3, "not CSV ("),
    ],
)
def test_csv_that_cannot_be_read_names_its_line(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    message = catch_line(tmp_path / "a.csv")
    assert message.startswith(f"{tmp_path / 'a.csv'}:{line}: ")
    assert expected in message


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("1", "has 1 cells (['1'] (list)), expected 2 as in the header"),
        ("1,2,3", "has 3 cells"),
        ("1,2,", "has 3 cells"),
        (f"{'x' * 5000},2,3", "has 3 cells"),
    ],
)
def test_a_record_of_another_width_is_no_row(tmp_path: Path, record: str, expected: str) -> None:
    (tmp_path / "a.csv").write_text(f'a,b\n"1\n",2\n{record}\n3,4\n')
    rows = read(tmp_path / "a.csv")
    assert list(rows) == [2, 4, 5]
    assert isinstance(rows[4], DataError)
    assert expected in str(rows[4])
    assert len(str(rows[4])) < 250
    assert rows[5] == {"a": "3", "b": "4"}


def test_only_the_records_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a,b\n1,é\n".encode() + "2,é\n".encode("latin-1"))
    rows = read(tmp_path / "a.csv")
    assert rows[2] == {"a": "1", "b": "é"}
    assert "column 'b': not UTF-8" in str(rows[3])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("a,b\n1,2\n".encode(encoding))
    assert "task.encoding=" in catch_line(tmp_path / "a.csv")
    assert list(read_file(tmp_path / "a.csv", None, encoding).rows.values()) == [
        {"a": "1", "b": "2"}
    ]
    (tmp_path / "a.jsonl").write_bytes('{"a": 1}\n'.encode(encoding))
    if encoding == "utf-16-le":  # without a mark
        rows = read(tmp_path / "a.jsonl")
        assert all(isinstance(row, DataError) for row in rows.values())
    else:
        assert "task.encoding=utf-16" in catch_line(tmp_path / "a.jsonl")
    assert list(read_file(tmp_path / "a.jsonl", None, encoding).rows.values()) == [{"a": 1}]


def test_a_mark_of_utf16_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(codecs.BOM_UTF16_LE + "a,b\n1,2\n".encode("utf-16-le"))
    for encoding in ("utf-16", "utf-16-le"):
        assert read_file(tmp_path / "a.csv", None, encoding).columns == ("a", "b")


def test_a_separator_in_a_quoted_name_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"text";"label, kind"\n"x";"y"\n')
    assert read(tmp_path / "a.csv") == {2: {"text": "x", "label, kind": "y"}}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"a,b\n", b"a,b"])
def test_a_csv_without_rows_is_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert "a.csv: is empty, expected at least one row" in catch_line(tmp_path / "a.csv")


def test_parquet_reads_the_wanted_columns_alone(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "text": ["a", None], "image": [b"x", b"y"]})
    pq.write_table(table, tmp_path / "a.parquet")
    read_rows = read_file(tmp_path / "a.parquet", {"id", "text"})
    assert read_rows.columns == ("id", "text", "image")
    assert read_rows.rows == {1: {"id": 1, "text": "a"}, 2: {"id": 2, "text": None}}


def test_a_folders_name_adds_no_column(tmp_path: Path) -> None:
    (tmp_path / "run=3").mkdir()
    pq.write_table(pa.table({"id": [1]}), tmp_path / "run=3" / "a.parquet")
    assert read_file(tmp_path / "run=3" / "a.parquet", {"id", "run"}).rows == {1: {"id": 1}}


def test_parquet_values_that_cannot_be_read_are_found_row_by_row(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"\xff\xfe", b"good"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    rows = read_file(tmp_path / "a.parquet", {"text"}).rows
    assert rows[1] == rows[3] == {"text": "good"}
    assert "expected UTF-8 text" in str(rows[2])


def test_broken_parquet_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["some text"] * 1000}), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    file = tmp_path / "a.parquet"
    for broken in (b"", content[:-9], content[: len(content) // 2], b"PAR1" + content[200:]):
        file.write_bytes(broken)
        assert "a.parquet: not a Parquet file (" in catch_line(file)
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, file)
    assert "has the column 'a' twice" in catch_line(file)


def test_parquet_with_flipped_bytes_never_crashes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["some text", "other"] * 50}), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        (tmp_path / "a.parquet").write_bytes(bytes(changed))
        # Some changes leave the file readable.
        with contextlib.suppress(DataError):
            read_file(tmp_path / "a.parquet", {"text"})


def test_files_that_are_not_there_or_a_folder(tmp_path: Path) -> None:
    assert "absent.csv: cannot be read (No such file" in catch_line(tmp_path / "absent.csv")
    (tmp_path / "b.parquet").mkdir()
    assert "cannot be read (Is a directory)" in catch_line(tmp_path / "b.parquet")
    assert find_files(tmp_path) == {}


RECORDS = [{"id": n, "text": f"Row {n} é"} for n in range(3)]
LINES = "\n".join(json.dumps(row) for row in RECORDS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(RECORDS)),
        ("a.json", json.dumps(RECORDS, indent=2)),
        ("a.json", json.dumps({"data": RECORDS})),
        ("a.json", json.dumps({"data": RECORDS}, indent=2)),
        ("a.json", LINES),
        ("a.jsonl", json.dumps(RECORDS)),
        ("a.jsonl", LINES),
        ("a.jsonl", "\n\n" + LINES + "\n"),
        ("a.json", json.dumps(RECORDS, ensure_ascii=False)),
        ("a.json", json.dumps({"version": "1.0", "data": RECORDS})),
        ("a.json", json.dumps({key: [row[key] for row in RECORDS] for key in RECORDS[0]})),
    ],
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_json_is_read_whatever_its_name_says(
    tmp_path: Path, name: str, text: str, is_packed: bool
) -> None:
    path = tmp_path / (name + ".gz" * is_packed)
    path.write_bytes(gzip.compress(text.encode()) if is_packed else text.encode())
    assert list(read(path).values()) == RECORDS


def test_one_line_with_a_list_is_a_row_of_jsonl(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "a"}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    assert read(tmp_path / "a.jsonl") == {1: row}


def test_a_row_of_a_document_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"a": 1}, 2]')
    found = read_file(tmp_path / "a.json")
    assert found.locate(tmp_path / "a.json", 2).endswith("a.json, row 2")
    assert "a JSON int (2 (int)), expected an object" in str(found.rows[2])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", '[{"a": 1},\n {"a": }]', "a.json:2: column 8: not JSON"),
        ("a.jsonl", '[{"a": 1},\n {"a": }]', "no row can be left out"),
        ("a.json", '{"a": 1, "b": [{"c": 2}]}\n', None),
        ("a.json", '{\n"a": 1,\n"b": 2\n}', "is one JSON object (a, b), expected an array"),
        ("a.json", '"text"', "is one JSON 'text' (str), expected an array"),
        ("a.json", "[]", "is empty, expected at least one row"),
        ("a.json", "", "a.json:1: column 1: not JSON"),
    ],
)
def test_documents_that_are_none(
    tmp_path: Path, name: str, text: str, expected: str | None
) -> None:
    (tmp_path / name).write_text(text)
    if expected is None:  # a line that is an object is a row
        assert len(read(tmp_path / name)) == 1
        return
    assert expected in catch_line(tmp_path / name)


def test_a_broken_line_of_many_is_a_bad_row_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": \n{"a": 2}\n{"a": 3}\n')
    rows = read(tmp_path / "a.jsonl")
    assert isinstance(rows[1], DataError)
    assert list(rows.values())[1:] == [{"a": 2}, {"a": 3}]


def test_a_packed_file_that_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(LINES.encode() * 100)[:-20])
    assert "cannot be unpacked" in catch_line(tmp_path / "a.jsonl.gz")
    (tmp_path / "b.csv.gz").write_text("a,b\n1,2\n")
    assert "expected a whole gzip file" in catch_line(tmp_path / "b.csv.gz")


def test_tsv_and_named_separators(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text\tlabel\n1,5;2\tx\n")
    assert list(read(tmp_path / "a.tsv").values()) == [{"text": "1,5;2", "label": "x"}]
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbfsep=|\r\ntext|label\r\na;b|x\r\n")
    assert read(tmp_path / "b.csv") == {3: {"text": "a;b", "label": "x"}}


def test_another_encoding_is_said_of_the_file_and_can_be_named(tmp_path: Path) -> None:
    text = "text,label\n" + "".join(f"déjà {n},x\n" for n in range(5))
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode("cp1252"))
    line = catch_line(path)
    assert "5 of 5 rows are not UTF-8" in line
    assert "task.encoding=cp1252" in line
    assert read_file(path, None, "cp1252").rows[2] == {"text": "déjà 0", "label": "x"}
    lines = tmp_path / "a.jsonl"
    lines.write_bytes("".join(f'{{"a": "é{n}"}}\n' for n in range(3)).encode("cp1252"))
    assert "3 of 3 rows are not UTF-8" in catch_line(lines)
    assert read_file(lines, None, "cp1252").rows[1] == {"a": "é0"}


def write_parts(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        pq.write_table(pa.table({"id": [number]}), folder / name)


def test_shards_are_one_part_in_their_order(tmp_path: Path) -> None:
    shards = [f"train-0000{number}-of-00002.parquet" for number in (1, 0)]
    write_parts(tmp_path, *shards, "test.parquet")
    files = find_files(tmp_path)
    assert [path.name[6:11] for path in files["train"]] == ["00000", "00001"]
    assert [path.name for path in files["test"]] == ["test.parquet"]


def test_a_clone_of_a_hub_set_keeps_its_files_in_data(tmp_path: Path) -> None:
    write_parts(tmp_path / "data", "train-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("---\n---")
    assert list(find_files(tmp_path)) == ["train"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train-00000-of-00002.parquet",), "train lacks shard 1 of 2 (1 files)"),
        (("train-00000-of-00001.parquet", "train-00000-of-00002.parquet",
          "train-00001-of-00002.parquet"), "has shards of several sets"),
        (("train.parquet", "train-00000-of-00001.parquet"), "has both"),
    ],
)  # fmt: skip
def test_shards_that_are_not_whole(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    write_parts(tmp_path, *names)
    with pytest.raises(DataError, match=re.escape(expected)):
        find_files(tmp_path)


def test_folders_that_save_to_disk_wrote(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list(RECORDS)
    one.save_to_disk(str(tmp_path / "one"))
    (files,) = find_files(tmp_path / "one").values()
    texts = [{"text": row["text"]} for row in RECORDS]
    assert list(read_file(files[0], {"text"}).rows.values()) == texts
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "both"))
    parts = find_files(tmp_path / "both")
    assert set(parts) == {"train", "test"}
    assert list(read_file(*parts["test"]).rows.values()) == RECORDS
    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"no arrow")
    assert "cannot be read as save_to_disk wrote it" in catch_line(tmp_path / "one")
