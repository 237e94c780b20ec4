"""Whether a model's weights fit where they are to go, said before anything loads."""

import torch
from torch import nn

from harness.config.schema import Config
from harness.errors import UserError
from harness.formatting import format_bytes
from harness.models.devices import resolve_device, resolve_dtype
from harness.models.memory import read_free_memory
from harness.models.projections import ModuleMap

FOUR_BIT_BYTES = 4.127 / 8
"""Of a weight in NF4 with quantized constants (Dettmers et al., 2023, section 3)."""


def check_size(config: Config, structure: nn.Module) -> int:
    """Bytes of a model's weights; UserError where they are more than the device has.

    `structure` is the model on the meta device.
    """
    device = resolve_device(config.model.device)
    dtype = resolve_dtype(config.model.dtype, config.model.device)
    weights = sum(weight.numel() for weight in structure.parameters())
    needed, there = weights * dtype.itemsize, read_capacity(device)
    if needed > there:
        what = "this GPU has" if device.type == "cuda" else "this process may use"
        why = (
            "" if device.type == "cuda" else " (free memory, within a container's or SLURM's limit)"
        )
        name = str(dtype).removeprefix("torch.")
        choices = [f"one of at most {_spell(there // dtype.itemsize)}", "a device with more memory"]
        if dtype.itemsize > 2 and weights * 2 <= there:
            choices.insert(0, f"model.dtype=bfloat16 ({format_bytes(weights * 2)})")
        full = (
            "" if config.adapter.method != "qlora" else ", in which the base is scored beside qlora"
        )
        raise UserError(
            f"model: {config.model_name} has {_spell(weights)} weights, {format_bytes(needed)} in "
            f"{name}{full}, and {what} {format_bytes(there)}{why}; choose {', or '.join(choices)}"
        )
    return needed


def _spell(count: int) -> str:
    return f"{count / 1e9:.1f} billion" if count >= 10**9 else f"{count / 1e6:.1f} million"


def save_bytes(mapped: ModuleMap, config: Config) -> int:
    """Bytes that a model's blocks need less in 4 bits."""
    dtype = resolve_dtype(config.model.dtype, config.model.device)
    weights = sum(p.in_features * p.out_features for p in mapped.inside if not p.experts)
    return round(weights * (dtype.itemsize - FOUR_BIT_BYTES))


def read_capacity(device: torch.device) -> int:
    """Bytes that a model may take: all of a GPU's, and what is free of main memory."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return read_free_memory(device)
