"""GPUs that are not there: what torch.cuda says of them, for the decisions that are made by it."""

from types import SimpleNamespace

import pytest
import torch

from harness.sweep import plan, speed

GB = 10**9


def show_gpus(
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    memory_gb: float,
    *,
    capability: tuple[int, int] = (9, 0),
) -> None:
    """Let there be `count` GPUs, all of whose memory is free; nothing can be computed on them."""
    memory = int(memory_gb * GB)
    facts = SimpleNamespace(
        total_memory=memory, major=capability[0], minor=capability[1], name="Fake"
    )
    emulated = capability[0] < 8
    for name, found in {
        "is_available": lambda: count > 0,
        "device_count": lambda: count,
        "mem_get_info": lambda device=None: (memory, memory),
        "get_device_properties": lambda device=None: facts,
        "get_device_capability": lambda device=None: capability,
        "is_bf16_supported": lambda including_emulation=True: including_emulation or not emulated,
    }.items():
        monkeypatch.setattr(torch.cuda, name, found)
    monkeypatch.setattr(speed, "measure_rate", lambda device, dtype: 4e14)
    monkeypatch.setattr(plan, "can_be_measured", lambda model: False)
