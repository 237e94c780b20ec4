"""The pipeline on a GPU: skipped where there is none."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from harness.config.schema import Config
from harness.records.record import read_record
from harness.sweep import run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


@pytest.mark.parametrize("task", ["medmcqa", "invoice_ocr"])
def test_a_variant_trains_scores_and_is_timed_on_the_gpu(
    tiny_config: Callable[..., Config], task: str
) -> None:
    config = tiny_config(f"task={task}", "model.device=cuda", "model.dtype=auto")
    assert run.run_sweep([config])[0].status == "ok"
    folder: Path = config.study_folder / "runs" / config.run_id
    record = read_record(folder)
    assert record.environment["gpu"] == torch.cuda.get_device_name()
    assert record.train is not None
    assert record.train.peak_memory_bytes > 0
    calls = pd.read_parquet(folder / "latency.parquet")
    assert (calls.ttft_seconds > 0).all()


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_latency_study_on_the_gpu(tmp_path: Path, mode: str) -> None:
    """CUDA graphs where compiled; the GPU's state stands beside every call."""
    from harness.cli import latency

    modes = {
        "eager": (),
        "compiled": ("latency.cache=static", "latency.compile=reduce-overhead"),
    }
    status = latency.main(
        [
            *(
                "model=random",
                "model.shape=tiny-llama",
                "model.device=cuda",
                "model.dtype=bfloat16",
            ),
            *("target_modules=o_proj,all", "latency.batch_size=1,2", f"results_dir={tmp_path}"),
            *("latency.prompt_tokens=16", "latency.output_tokens=4", "latency.max_rounds=4"),
            *("latency.min_processes=1", *modes[mode]),
        ]
    )
    assert status == 0
    calls = pd.read_parquet(tmp_path / "latency" / "latency.parquet")
    assert (calls["end_to_end_seconds"] > 0).all()
    assert calls["gpu_clock_mhz"].notna().all()
    operations = pd.read_parquet(tmp_path / "latency" / "operations.parquet")
    memory = operations[operations["operation"] == "memory"]
    assert (memory["bytes"] > 0).all()
