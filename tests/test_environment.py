import json
import os

import torch

from harness.environment import describe_environment
from harness.memory import PeakMemory


def test_facts_are_json_and_name_no_user_or_machine() -> None:
    facts = describe_environment(torch.device("cpu"))
    text = json.dumps(facts, allow_nan=True)
    for name in ("torch", "transformers", "peft", "cpu", "torch_threads", "git_commit"):
        assert name in facts
    assert facts["torch"] == torch.__version__
    assert os.path.expanduser("~") not in text
    assert (os.uname().nodename or "?") not in text


def test_peak_memory_sees_what_was_freed_again() -> None:
    with PeakMemory(torch.device("cpu")) as before:
        pass
    with PeakMemory(torch.device("cpu")) as memory:
        block = torch.ones(64 * 2**20)  # 256 MiB
        block.sum()
        torch.ones(1).sum()
        import time

        time.sleep(0.1)
        del block
    assert memory.peak_bytes - before.peak_bytes > 200 * 2**20
