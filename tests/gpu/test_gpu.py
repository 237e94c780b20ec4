"""The pipeline on a GPU: skipped where there is none."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from harness import study
from harness.config import Config
from harness.records import read_record

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


@pytest.mark.parametrize("task", ["medmcqa", "invoice_ocr"])
def test_a_variant_trains_scores_and_is_timed_on_the_gpu(
    tiny_config: Callable[..., Config], task: str
) -> None:
    config = tiny_config(f"task={task}", "model.device=cuda", "model.dtype=auto")
    assert study.run_sweep([config])[0].status == "ok"
    folder: Path = config.study_folder / "runs" / config.run_id
    record = read_record(folder)
    assert record.environment["gpu"] == torch.cuda.get_device_name()
    assert record.train is not None
    assert record.train.peak_memory_bytes > 0
    calls = pd.read_parquet(folder / "latency.parquet")
    assert (calls.ttft_seconds > 0).all()
