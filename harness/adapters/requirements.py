"""What a method needs of projections, of the length of training and of the machine."""

import importlib.util
from collections.abc import Sequence

import torch
from torch import nn

from harness.adapters.peft_configs import find_allocation
from harness.config.catalog import METHODS
from harness.config.schema import AdapterConfig
from harness.errors import UserError
from harness.models.devices import resolve_device
from harness.models.projections import Projection, list_targets


def check_method(
    projections: Sequence[Projection], adapter: AdapterConfig, steps: int, device: str
) -> None:
    """Raise UserError, before anything is trained, for what a method cannot do here."""
    _, parameters = list_targets(projections)
    if parameters and not METHODS[adapter.method].takes_experts:
        raise UserError(
            f"adapter.method {adapter.method} does not support {parameters[0]}, which PEFT adapts "
            "as a parameter (stacked experts, and what stands beside them); use adapter=lora, or a "
            "target set without fc1 and fc2"
        )
    if METHODS[adapter.method].has_growing_rank:
        find_allocation(adapter, steps)
    _check_library(adapter, resolve_device(device))


def _check_library(adapter: AdapterConfig, device: torch.device) -> None:
    """Raise UserError where a method needs a library or a device that is not there."""
    library = METHODS[adapter.method].library
    if library is None:
        return
    if importlib.util.find_spec(library) is None:
        raise UserError(
            f"adapter.method is {adapter.method}, which needs {library}: pip install {library}, or "
            "choose a method that does not quantize, such as adapter=lora"
        )
    if adapter.method == "loftq" and device.type != "cuda":
        raise UserError(
            f"adapter.method is loftq, but PEFT quantizes on a GPU, not on {device.type}; set "
            "model.device=cuda if a GPU is available, or choose adapter=qlora or adapter=pissa"
        )
    if adapter.method == "qlora" and device.type == "cpu" and not _quantizes_on_cpu():
        raise UserError(
            f"adapter.method is qlora, but the installed {library} does not quantize on a CPU; "
            f"pip install -U {library}, use a GPU, or choose adapter=lora"
        )


def _quantizes_on_cpu() -> bool:
    """Try it: which versions and processors can changes from release to release."""
    try:
        tiny = nn.Module()
        tiny.layer = nn.Linear(64, 64, bias=False)
        import bitsandbytes

        packed = bitsandbytes.nn.Linear4bit(64, 64, bias=False, quant_type="nf4")
        packed.load_state_dict(tiny.layer.state_dict())
        packed.to("cpu")
        return bool(packed(torch.ones(1, 64)).isfinite().all())
    except Exception:
        return False
