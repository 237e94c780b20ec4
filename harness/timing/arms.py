"""The arms of a timing study: base, its controls, and every variant, sharing the base's tensors.

Each variant is a clean clone of its own: one PeftModel that holds several adapters wraps the union
of their targets, and one whose adapters are disabled still runs the wrappers, so neither tells what
a variant, or the base, costs. What is not an arm here is timed as it happens: loading an adapter,
switching to it, merging and unmerging it.
"""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from harness.adapters import load_adapter, load_adapters, load_owned
from harness.errors import UserError
from harness.models import clone_sharing_weights
from harness.timing.decoding import Decoder, synchronize
from harness.timing.plan import CONTROLS, Build, TimedAdapter, name_planted

BASE = "base"
MIXED = "mixed"
PLANTED = "planted"


@dataclass(frozen=True)
class Arm:
    kind: str
    """`base`, `base_again`, `base_cloned`, `unmerged`, `merged`, `mixed` or `planted`."""
    variant: str
    """Name of the variant; `base` for the base and its controls, `mixed` for the mixed batch."""
    model: Any
    """In eval mode, on its device."""
    decoder: Decoder
    adapter_dtype: str | None = None
    """Dtype of the adapter's weights; None where there are none."""

    @property
    def is_base(self) -> bool:
        return self.kind == BASE


@dataclass(frozen=True)
class Operation:
    """Something timed once a process, or the memory that an arm needed."""

    variant: str
    arm: str
    operation: str
    """`load`, `switch`, `merge`, `unmerge`, `cold_call` or `memory`."""
    seconds: float = float("nan")
    bytes: float = float("nan")


@dataclass(frozen=True)
class Failure:
    """An arm that could not be built or run, in one line."""

    variant: str
    arm: str
    message: str


@dataclass
class Built:
    arms: list[Arm] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    adapted: Any = None
    """The model that holds all adapters; its rows of a mixed batch are set point by point."""


def build_arms(model: Any, build: Build) -> Built:
    """Make every arm of `build` from the loaded base; an arm that fails is named, not raised."""
    built = Built()
    make_decoder = partial(_make_decoder, cache=build.cache, compile_mode=build.compile)
    base = clone_sharing_weights(model).eval()
    decoder = make_decoder(base)
    built.arms.append(Arm(BASE, BASE, base, decoder))
    again, cloned = CONTROLS
    built.arms.append(Arm(again, BASE, base, decoder))
    with _failures_kept(built, BASE, cloned):
        copied = _copy_with_tensors(model)
        built.arms.append(Arm(cloned, BASE, copied, make_decoder(copied)))
    for share in build.planted:
        slowed = Decoder(base, cache=build.cache, planted=share)
        built.arms.append(Arm(PLANTED, name_planted(share), base, slowed))
    for adapter in build.adapters:
        with _failures_kept(built, adapter.variant, "unmerged"):
            built.arms.append(_attach(model, adapter, build.adapter_dtype, make_decoder, built))
        if adapter.is_merged_too:
            with _failures_kept(built, adapter.variant, "merged"):
                merged = _merge(model, adapter, built)
                built.arms.append(Arm("merged", adapter.variant, merged, make_decoder(merged)))
    if build.is_mixed_too and len(build.adapters) > 1:
        with _failures_kept(built, MIXED, MIXED):
            built.adapted = _hold_all(model, build, built)
    return built


def make_mixed_arm(built: Built, build: Build, batch_size: int) -> Arm | None:
    """The batch in which each row uses another adapter; None where there is none to make.

    A batch of one row has nothing to mix; a compiled step does not see the rows' adapters.
    """
    if built.adapted is None or batch_size < 2 or build.compile != "off":
        return None
    names = [_name_adapter(row % len(build.adapters)) for row in range(batch_size)]
    adapted: PeftModel = built.adapted
    inner = adapted.get_base_model()
    # What PeftModel.generate does around a whole call, and its forward around every token.
    surround = partial(adapted._enable_peft_forward_hooks, adapter_names=names)
    decoder = Decoder(inner, cache=build.cache, surround=surround)
    return Arm(MIXED, MIXED, inner, decoder, _find_adapter_dtype(inner))


def _make_decoder(model: Any, *, cache: str, compile_mode: str) -> Decoder:
    if compile_mode == "off":
        return Decoder(model, cache=cache)
    mode = None if compile_mode == "default" else compile_mode
    return Decoder(model, step=torch.compile(model, mode=mode, dynamic=False), cache=cache)


def _attach(
    model: Any,
    adapter: TimedAdapter,
    dtype: str,
    make_decoder: Callable[[Any], Decoder],
    built: Built,
) -> Arm:
    with _timed(built, model.device, adapter.variant, "unmerged", "load"):
        adapted = load_adapter(model, Path(adapter.folder), dtype)
    # As generate runs it: PeftModel's own forward is not in the loop over tokens.
    inner = adapted.get_base_model()
    return Arm("unmerged", adapter.variant, inner, make_decoder(inner), _find_adapter_dtype(inner))


def _merge(model: Any, adapter: TimedAdapter, built: Built) -> Any:
    owned: Any = load_owned(model, Path(adapter.folder))
    with _timed(built, model.device, adapter.variant, "merged", "merge"):
        owned.merge_adapter()
    with _timed(built, model.device, adapter.variant, "merged", "unmerge"):
        owned.unmerge_adapter()
    return owned.merge_and_unload().eval()


def _hold_all(model: Any, build: Build, built: Built) -> PeftModel:
    """All adapters on one model, and the time to make each the active one."""
    folders = {
        _name_adapter(number): Path(adapter.folder) for number, adapter in enumerate(build.adapters)
    }
    adapted = load_adapters(model, folders, build.adapter_dtype)
    # The last one first, so that each switch is one from another adapter.
    adapted.set_adapter(_name_adapter(len(build.adapters) - 1))
    for number, adapter in enumerate(build.adapters):
        with _timed(built, model.device, adapter.variant, "unmerged", "switch"):
            adapted.set_adapter(_name_adapter(number))
    adapted.requires_grad_(False)
    return adapted


def _name_adapter(number: int) -> str:
    # A label such as o_proj+fc2 would do, but a name with a dot would not.
    return f"adapter{number}"


def _copy_with_tensors(model: Any) -> Any:
    """A base whose tensors lie elsewhere in memory."""
    return copy.deepcopy(model).eval()


def _find_adapter_dtype(model: Any) -> str | None:
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            for name, parameter in module.named_parameters():
                if "lora_" in name:
                    return str(parameter.dtype).removeprefix("torch.")
    return None


@contextmanager
def _timed(
    built: Built, device: torch.device, variant: str, arm: str, operation: str
) -> Iterator[None]:
    synchronize(device)
    started = time.perf_counter()
    yield
    synchronize(device)
    seconds = time.perf_counter() - started
    built.operations.append(Operation(variant, arm, operation, seconds))


@contextmanager
def _failures_kept(built: Built, variant: str, arm: str) -> Iterator[None]:
    """One arm that cannot be built must not cost the others their measurement."""
    try:
        yield
    except Exception as error:
        built.failures.append(Failure(variant, arm, describe_error(error)))


def describe_error(error: BaseException) -> str:
    """One line; a lack of memory is called that, whatever the allocator called it."""
    if is_out_of_memory(error):
        return "out of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else repr(error)
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the CPU's allocator, had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in text or "out of memory" in text
    )
