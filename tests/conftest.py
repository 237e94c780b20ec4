"""Shared fixtures: the real configuration, composed and then shrunk to a model of two blocks."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Before anything imports a hub library: tests must not wait for a network that is not there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parent.parent

TINY = (
    "model=random",
    "model.shape=tiny-llama",
    "model.dtype=float32",
    "model.device=cpu",
    "task.train_examples=6",
    "task.test_examples=4",
    "task.max_completion_tokens=12",
    "train.batch_size=3",
    "train.learning_rate=1e-2",
    "evaluation.batch_size=2",
    "latency.max_rounds=2",
    "latency.fresh_processes=false",
    "latency.max_output_tokens=3",
    "adapter.rank=2",
)


@pytest.fixture
def tiny_overrides(tmp_path: Path) -> list[str]:
    """Overrides for a run of seconds, into a temporary results folder."""
    return [*TINY, f"results_dir={tmp_path / 'results'}", "study=tiny"]


@pytest.fixture
def tiny_config(tiny_overrides: list[str]) -> Callable[..., object]:
    """Compose the tiny configuration with further overrides."""
    from harness.config.composing import compose

    return lambda *extra: compose([*tiny_overrides, *extra])
