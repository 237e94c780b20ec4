"""Real rows in the public sets' columns, through the whole pipeline: load, train, score, record."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.config.schema import Config
from harness.sweep import run

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the folder of real rows, ../shared/data, is not on this machine"
)
FOLDERS = {
    "medmcqa": "medmcqa",
    "govreport": "govreport",
    "fincot": "fincot",
    "invoice_ocr": "invoice_ocr/wildreceipt",
}


@pytest.mark.parametrize("task", FOLDERS)
def test_from_load_to_record(tiny_config: Callable[..., Any], task: str) -> None:
    config: Config = tiny_config(
        f"task={task}",
        "task.source=local",
        f"task.path={SHARED / FOLDERS[task]}",
        "task.max_prompt_tokens=256",
        "task.test_examples=2",
        "target_modules=all",
        "latency=off",
    )
    (outcome,) = run.run_sweep([config])
    assert outcome.status == "ok"
    folder = config.study_folder / "runs" / outcome.run_id
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    evaluation = record["eval"]
    assert (evaluation["source"], evaluation["stand_in"]) == ("local", None)
    assert evaluation["examples"] == 2
    assert evaluation["scoring"] == ("likelihood" if task == "medmcqa" else "generation")
    # Real reports are of thousands of words.
    assert evaluation["truncated_tokens_ratio"] > (0.5 if task == "govreport" else -1)
    examples = pd.read_parquet(folder / "examples.parquet")
    for name, mean in evaluation["scores"].items():
        assert 0 <= mean <= 1
        if name in examples:
            assert examples[name].mean() == pytest.approx(mean)
    if task != "medmcqa":
        assert examples["completion_tokens"].mean() == evaluation["completion_tokens"]
