"""Shared fixtures: the real configuration, composed and then shrunk to a model of two blocks."""

import dataclasses
import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.config.schema import Config

# Before anything imports a hub library: tests must not wait for a network that is not there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
# pytest-xdist fills the cores with processes, so each of them, and each child, has one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background jobs ignore Ctrl-C, and so would the commands that tests send it to.
signal.signal(signal.SIGINT, signal.default_int_handler)

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
    # Timing waits the less for a quiet machine, the less time it has.
    "latency.max_seconds=8",
    "latency.fresh_processes=false",
    "latency.max_output_tokens=3",
    "adapter.rank=2",
)


def pytest_xdist_auto_num_workers() -> int:
    """Return the cores that this process may use: xdist counts two threads of one core once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture
def tiny_config(tmp_path: Path) -> Callable[..., "Config"]:
    """Compose the tiny configuration with further overrides, into a temporary results folder."""
    from harness.config.composing import compose

    def make(*extra: str) -> "Config":
        overrides = tuple(each for each in extra if not each.startswith("study="))
        # What a file says is read anew: a test may have changed it.
        read = any(each.startswith(("task.path=", "task.test=")) for each in extra)
        config = compose([*TINY, *overrides]) if read else compose_once(overrides)
        study = next((each[6:] for each in extra if each.startswith("study=")), "tiny")
        return dataclasses.replace(config, results_dir=str(tmp_path / "results"), study=study)

    return make


@pytest.fixture
def untimed_config(tiny_config: Callable[..., "Config"]) -> Callable[..., "Config"]:
    """Compose the tiny configuration without timing, which takes longer than all that it times."""
    return lambda *extra: tiny_config("latency=off", *extra)


@functools.cache
def compose_once(overrides: tuple[str, ...]) -> "Config":
    """Hydra takes a third of a second to compose; many tests ask for the same configuration."""
    from harness.config.composing import compose

    return compose([*TINY, *overrides])


@pytest.fixture
def blank_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave plots empty, in tests that do not look at them: they are most of a report's time."""
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda _, path, **__: Path(path).touch()
    )


@dataclasses.dataclass(frozen=True)
class Done:
    status: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def run_harness(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Call the command in this process: one of its own takes seconds to import the libraries."""
    from harness.cli import sweep

    # What `main` sets for a process that ends with it.
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    monkeypatch.setattr(gc, "freeze", lambda: None)
    # Hydra would close every handler that there is, and absl's, which rouge_score brings along,
    # closes the stream that it began with: that of pytest's capture.
    monkeypatch.setattr("hydra._internal.logging_config.configure_logging", lambda config: None)
    terminated = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sweep, "_started_studies", [])
        monkeypatch.setattr(sweep, "_run_errors", [])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            sweep.main()
        return Done(int(ended.value.code or 0), *capfd.readouterr())

    yield run
    signal.signal(signal.SIGTERM, terminated)
