"""Tables read back, whole or in part; what is wrong with one is one line that names it."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import UserError
from harness.records.files import (
    read_table,
    replace_nan,
    write_json,
    write_table,
    write_text,
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    write_table(path, [{"id": "a", "score": 0.5, "text": "long"}, {"id": "b", "score": math.nan}])
    return path


def test_a_table_is_read_whole_or_in_part(table: Path) -> None:
    assert list(read_table(table)) == ["id", "score", "text"]
    assert list(read_table(table, ("score",))) == ["id", "score", "text"]
    part = read_table(table, ("score", "id"), others=("id", "absent"))
    assert list(part) == ["score", "id"]
    assert part["id"].tolist() == ["a", "b"]


@pytest.mark.parametrize("others", [None, ()])
def test_a_table_that_cannot_be_used_is_one_line(
    table: Path, others: tuple[str, ...] | None
) -> None:
    with pytest.raises(UserError, match=r"table.parquet: column rank, seed is missing$"):
        read_table(table, ("id", "rank", "seed"), others)
    with pytest.raises(UserError, match=r"absent.parquet: cannot be read \(missing\)$"):
        read_table(table.with_name("absent.parquet"), ("id",), others)
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"table.parquet: cannot be read \(.+\)$") as caught:
        read_table(table, ("id",), others)
    assert "\n" not in str(caught.value)


def test_an_old_table_whose_ids_are_its_index_is_read_in_part(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame({"score": [1.0]}, index=pd.Index(["a"], name="id")).to_parquet(path)
    assert read_table(path, ("id",), others=())["id"].tolist() == ["a"]


def test_json_has_null_for_what_is_no_number(tmp_path: Path) -> None:
    value = {"a": math.nan, 1: (math.inf, [-math.inf, 0.5]), "b": "nan", "c": True}
    expected = {"a": None, "1": [None, [None, 0.5]], "b": "nan", "c": True}
    assert replace_nan(value) == expected
    write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text()) == expected


def test_who_reads_a_file_while_it_is_written_sees_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
