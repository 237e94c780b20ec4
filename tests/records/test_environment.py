import gc
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness.models.devices import Gpu, describe_environment
from harness.models.memory import PeakMemory, read_memory_in_use
from harness.records.environment import format_cores, read_governor


def test_facts_are_json_and_name_no_user_or_machine() -> None:
    facts = describe_environment(torch.device("cpu"))
    text = json.dumps(facts, allow_nan=True)
    for name in ("torch", "transformers", "peft", "cpu", "torch_threads", "git_commit"):
        assert name in facts
    assert facts["torch"] == torch.__version__
    assert os.path.expanduser("~") not in text
    assert (os.uname().nodename or "?") not in text


def test_the_cores_and_threads_are_described() -> None:
    facts = describe_environment(torch.device("cpu"))
    for name in ("affinity", "cpu_governor", "cgroup_cpu_quota", "torch_interop_threads"):
        assert name in facts
    assert facts["torch_interop_threads"] == torch.get_num_interop_threads()
    assert not [name for name in facts if name.startswith("gpu_")]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_follows_the_process_and_not_the_machine() -> None:
    allowed = os.sched_getaffinity(0)
    first = min(allowed)
    try:
        os.sched_setaffinity(0, {first})
        facts = describe_environment(torch.device("cpu"))
    finally:
        os.sched_setaffinity(0, allowed)
    assert (facts["affinity"], facts["cpu_count"]) == (str(first), 1)


@pytest.mark.parametrize(
    ("cores", "text"),
    [([0], "0"), ([1, 0], "0-1"), ([0, 2, 4], "0,2,4"), ([9, 8, 3, 1, 0, 10], "0-1,3,8-10")],
)
def test_cores_as_text(cores: list[int], text: str) -> None:
    assert format_cores(cores) == text


def test_governors_of_the_usable_cores_alone(tmp_path: Path) -> None:
    for core, governor in enumerate(("performance", "powersave", "performance")):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
    assert read_governor([0, 2], tmp_path) == "performance"
    assert read_governor([0, 1], tmp_path) == "performance, powersave"
    assert read_governor([7], tmp_path) is None


@pytest.mark.parametrize(
    ("listed", "held_bytes", "others"),
    [([1, 2, 3], 2**20, 2), ([1, 2, 3], 0, 3), ([], 2**20, 0), (None, 2**20, None)],
)
def test_other_processes_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, listed: list[int] | None, held_bytes: int, others: int | None
) -> None:
    properties = SimpleNamespace(total_memory=80 * 2**30, major=9, minor=0, uuid="unknown")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: held_bytes)
    monkeypatch.setattr(Gpu, "list_processes", lambda self: None if listed is None else set(listed))
    facts = describe_environment(torch.device("cuda:0"))
    json.dumps(facts, allow_nan=False)
    assert facts["other_gpu_processes"] == others
    assert facts["gpu_compute_capability"] == "9.0"
    assert facts["gpu_memory_bytes"] == 80 * 2**30
    assert facts["gpu_driver"] is None


def test_peak_memory_sees_what_was_freed_again() -> None:
    # What other tests left would otherwise be freed meanwhile, or used again.
    gc.collect()
    read_memory_in_use(torch.device("cpu"))
    with PeakMemory(torch.device("cpu")) as before:
        pass
    with PeakMemory(torch.device("cpu")) as memory:
        block = torch.ones(64 * 2**20)  # 256 MiB
        block.sum()
        torch.ones(1).sum()
        time.sleep(0.1)
        del block
    assert memory.peak_bytes - before.peak_bytes > 200 * 2**20
