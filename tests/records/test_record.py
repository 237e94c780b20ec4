import dataclasses
import errno
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import UserError
from harness.records import record
from harness.records.files import write_table
from harness.records.record import (
    AdapterRecord,
    ErrorRecord,
    EvalRecord,
    LatencyRecord,
    Record,
    TrainRecord,
    read_record,
    write_record,
)


def full_record(run_id: str = "m--t--o_proj--lora--s0--00000000") -> Record:
    return Record(
        run_id=run_id,
        status="ok",
        config={"model": {"name": "m"}, "seed": 0},
        adapter=AdapterRecord("o_proj", ("o",), "lora", 8, 16.0, 30, 1000, 4000, True),
        train=TrainRecord(2, 4, 100, 20, 0, 1.5, 66.7, 10**9, (2.0, 1.0), 1.0),
        eval=EvalRecord("embedded", "d", None, "test", 4, "f1", {"f1": 0.5}, 1.0, 0, 0.0, 0),
        latency=LatencyRecord(1, 10, 4, 3, 0.1, 0.2),
        environment={"torch": "2"},
        error=ErrorRecord("ValueError", "no", "Traceback ..."),
    )


def test_record_comes_back_equal(tmp_path: Path) -> None:
    write_record(tmp_path, full_record())
    assert read_record(tmp_path) == full_record()


def test_json_is_strict_and_nan_comes_back_as_nan(tmp_path: Path) -> None:
    record = full_record()
    assert record.train is not None
    broken = dataclasses.replace(record.train, loss=(1.0, math.nan, math.inf), final_loss=math.nan)
    write_record(tmp_path, dataclasses.replace(record, train=broken))
    text = (tmp_path / "record.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    train = read_record(tmp_path).train
    assert train is not None
    assert math.isnan(train.final_loss)
    assert train.loss[0] == 1.0
    assert math.isnan(train.loss[1])


def test_a_full_disk_leaves_the_old_record_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path, full_record())

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(UserError, match="No space left on device"):
        write_record(tmp_path, dataclasses.replace(full_record(), status="failed"))
    monkeypatch.undo()
    assert read_record(tmp_path).status == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_tables_keep_text_exactly(tmp_path: Path) -> None:
    rows = [{"id": "1", "prediction": 'naïve \u202e\n\t"x"', "f1": 0.25}]
    write_table(tmp_path / "examples.parquet", rows)
    assert pd.read_parquet(tmp_path / "examples.parquet").to_dict("records") == rows


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"run_id": "x"}', '{"schema_version": 99, "run_id": "x"}', "\x00"],
)
def test_an_unreadable_record_is_refused_in_one_line_that_names_it(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UserError, match=r"record\.json") as refused:
        read_record(tmp_path)
    assert "\n" not in str(refused.value)


def test_run_id_has_no_character_that_a_path_cannot_carry() -> None:
    run_id = record.make_run_id("org/my model", "t", "qkv+o_proj", "lora", 3, "0123abcd")
    assert run_id == "org-my-model--t--qkv+o_proj--lora--s3--0123abcd"
    assert record.RUN_ID.fullmatch(run_id)
