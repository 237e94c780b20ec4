"""Which machine timings were taken on, so that those of two machines are never compared.

Reads what `records.environment` recorded; the analysis side uses it, so it imports no torch.
"""

from collections.abc import Mapping
from typing import Any

FACTS = {
    "cpu": "the CPU",
    "cpu_count": "the number of CPU cores that the process may use",
    "memory_gib": "the memory in GiB",
    "cgroup_cpu_quota": "the cgroup's CPU quota in cores",
    "device_type": "the type of device",
    "gpu": "the GPU",
    "torch_threads": "the number of torch's threads",
}
"""Name of a fact -> what a message calls it."""


def identify_machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that must agree for two timings to be compared; JSON-ready.

    `environment` is what `describe_environment` returned. A fact that it lacks is None: GPU and
    quota where there is none, or what an older version did not record.
    """
    memory_bytes, device = environment.get("memory_bytes"), environment.get("device")
    facts = {name: environment.get(name) for name in FACTS}
    facts["memory_gib"] = None if memory_bytes is None else round(memory_bytes / 2**30)
    # Equal GPUs of one machine are one device to the study.
    facts["device_type"] = None if device is None else str(device).split(":")[0]
    return facts


def describe_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """Return in one line what differs between two identities, None where nothing does."""
    differences = [
        f"{text} differs: {first.get(name)} and {second.get(name)}"
        for name, text in FACTS.items()
        if not _agree(name, first.get(name), second.get(name))
    ]
    return "; ".join(differences) or None


def _agree(name: str, first: Any, second: Any) -> bool:
    agree: bool = first == second
    if name == "memory_gib" and first is not None and second is not None:
        # One machine's memory can be rounded up once and down the next time: what the kernel keeps
        # for itself changes with its version.
        agree = abs(first - second) <= 1
    return agree
