import json
from typing import Any

import pytest
import torch

from harness.models.devices import describe_environment
from harness.records.machine import describe_difference, identify_machine

ENVIRONMENT = {
    "device": "cuda:0",
    "gpu": "NVIDIA H100 PCIe",
    "cpu": "AMD EPYC 9354",
    "cpu_count": 16,
    "memory_bytes": 128 * 2**30,
    "cgroup_cpu_quota": None,
    "torch_threads": 16,
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cpu": "Intel Xeon"}, "the CPU differs: AMD EPYC 9354 and Intel Xeon"),
        ({"cpu_count": 2}, "cores that the process may use differs: 16 and 2"),
        ({"memory_bytes": 64 * 2**30}, "the memory in GiB differs: 128 and 64"),
        ({"cgroup_cpu_quota": 2.0}, "the cgroup's CPU quota in cores differs: None and 2.0"),
        ({"gpu": "NVIDIA H200"}, "the GPU differs: NVIDIA H100 PCIe and NVIDIA H200"),
        ({"device": "cpu"}, "the type of device differs: cuda and cpu"),
        ({"torch_threads": 1}, "the number of torch's threads differs: 16 and 1"),
    ],
)
def test_a_difference_is_named_with_both_values(change: dict[str, Any], named: str) -> None:
    first, second = identify_machine(ENVIRONMENT), identify_machine(ENVIRONMENT | change)
    difference = describe_difference(first, second)
    assert difference is not None
    assert named in difference
    assert "\n" not in difference
    assert difference.count("differs") == 1
    assert describe_difference(second, first) is not None


def test_every_difference_is_named_in_one_line() -> None:
    other = ENVIRONMENT | {"cpu": "Intel Xeon", "torch_threads": 1}
    difference = describe_difference(identify_machine(ENVIRONMENT), identify_machine(other))
    assert difference is not None
    assert difference.count("differs") == 2
    assert "\n" not in difference


@pytest.mark.parametrize(
    "change",
    [
        {"device": "cuda:1"},
        {"torch": "2.10", "git_commit": "abc", "load_average": 7.5, "affinity": "16-31"},
        # Kernels keep more or less memory for themselves; here the rounding turns between them.
        {"memory_bytes": int(127.49 * 2**30)},
    ],
)
def test_what_leaves_the_machine_as_it_is_does_not_differ(change: dict[str, Any]) -> None:
    other = identify_machine(ENVIRONMENT | change)
    assert describe_difference(identify_machine(ENVIRONMENT), other) is None


def test_a_fact_known_of_one_alone_differs() -> None:
    unknown = {name: value for name, value in ENVIRONMENT.items() if name != "memory_bytes"}
    difference = describe_difference(identify_machine(ENVIRONMENT), identify_machine(unknown))
    assert difference == "the memory in GiB differs: 128 and None"


def test_the_identity_of_this_machine_outlives_its_file() -> None:
    identity = identify_machine(describe_environment(torch.device("cpu")))
    assert describe_difference(identity, json.loads(json.dumps(identity))) is None
    known = ("cpu", "cpu_count", "memory_gib", "device_type", "torch_threads")
    assert all(identity[name] for name in known)
