"""The arms of a timing study: base, its controls, and every variant, sharing the base's tensors.

Each variant is a clean clone of its own: one PeftModel that holds several adapters wraps the union
of their targets, and one whose adapters are disabled still runs the wrappers, so neither tells what
a variant, or the base, costs. What is not an arm here is timed as it happens: loading an adapter,
switching to it, merging and unmerging it.
"""

import copy
import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from harness.adapters.attach import peft_warnings_ignored
from harness.adapters.storage import load_adapters, load_owned, open_adapter
from harness.adapters.virtual_tokens import VirtualTokens, has_virtual_tokens
from harness.errors import UserError
from harness.models.loading import clone_sharing_weights
from harness.models.memory import is_out_of_memory
from harness.timing.points import CONTROLS, Build, TimedAdapter, list_mixed_sets, name_planted
from harness.timing.timed_call import CacheHolder, Decoder, synchronize

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
    """The models of a process; `line_up` makes arms of them, point by point."""

    models: list["BuiltModel"] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    adapted: Any = None
    """The model that holds all adapters; its rows of a mixed batch are set point by point."""
    caches: CacheHolder | None = None
    """Of a build with a static cache."""


@dataclass(frozen=True)
class BuiltModel:
    kind: str
    variant: str
    model: Any
    planted: float = 0.0
    virtual: VirtualTokens | None = None


def build_models(model: Any, build: Build) -> Built:
    """Make the models of every arm from the loaded base; one that fails is named, not raised."""
    built = Built(caches=CacheHolder() if build.cache == "static" else None)
    base = clone_sharing_weights(model).eval()
    again, cloned = CONTROLS
    built.models += [BuiltModel(BASE, BASE, base), BuiltModel(again, BASE, base)]
    if build.is_cloned_too:
        with _failures_kept(built, BASE, cloned):
            built.models.append(BuiltModel(cloned, BASE, copy.deepcopy(model).eval()))
    for share in build.planted:
        built.models.append(BuiltModel(PLANTED, name_planted(share), base, share))
    for adapter in build.adapters:
        with _failures_kept(built, adapter.variant, "unmerged"):
            attached = _attach(model, adapter, build.adapter_dtype, built)
            virtual = _find_virtual_tokens(attached, build.cache)
            # As generate runs it: PeftModel's own forward is not in the loop over tokens.
            runs = attached.get_base_model()
            built.models.append(BuiltModel("unmerged", adapter.variant, runs, virtual=virtual))
        if adapter.is_merged_too:
            with _failures_kept(built, adapter.variant, "merged"):
                merged = _merge(model, adapter, build.adapter_dtype, built)
                built.models.append(BuiltModel("merged", adapter.variant, merged))
    if build.is_mixed_too and len(build.mixable) > 1:
        with _failures_kept(built, MIXED, MIXED):
            built.adapted = _hold_all(model, build, built)
    return built


def line_up(built: Built, build: Build, batch_size: int) -> list[Arm]:
    """The arms of one point: a compiled step is made anew for each, since shapes differ."""
    decoders: dict[tuple[int, float], Decoder] = {}
    arms = []
    for each in built.models:
        # The base and its A/A control are one model and one decoder.
        key = (id(each.model), each.planted)
        if key not in decoders:
            decoders[key] = Decoder(
                each.model,
                step=compile_step(each.model, build.compile),
                caches=built.caches,
                planted=each.planted,
                virtual=each.virtual,
            )
        dtype = find_adapter_dtype(each.model)
        arms.append(Arm(each.kind, each.variant, each.model, decoders[key], dtype))
    mixed = _make_mixed_arm(built, build, batch_size)
    return arms if mixed is None else [*arms, mixed]


def compile_step(model: Any, mode: str) -> Any:
    """The decode step of a model compiled in a mode of torch.compile; None where it is `off`."""
    if mode == "off":
        return None
    # All arms share the code of one forward, and so one list of compiled versions: without
    # isolation its limit would leave the later arms uncompiled, with no more than a warning.
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # type: ignore[attr-defined]
    isolated = "isolate_recompiles" in inspect.signature(torch.compile).parameters
    if not isolated:
        torch._dynamo.config.recompile_limit = 1024  # type: ignore[attr-defined]
    options: dict[str, Any] = {"isolate_recompiles": True} if isolated else {}
    return torch.compile(model, mode=None if mode == "default" else mode, **options)


def _make_mixed_arm(built: Built, build: Build, batch_size: int) -> Arm | None:
    """The batch in which each row uses another adapter; None where there is none to make."""
    if built.adapted is None or list_mixed_sets(build, batch_size) is None:
        return None
    names = [_name_adapter(row % len(build.mixable)) for row in range(batch_size)]
    adapted: PeftModel = built.adapted
    inner = adapted.get_base_model()
    surround = partial(_rows_adapted, adapted, names)
    decoder = Decoder(inner, caches=built.caches, surround=surround)
    return Arm(MIXED, MIXED, inner, decoder, find_adapter_dtype(inner))


@contextmanager
def _rows_adapted(adapted: PeftModel, names: list[str]) -> Iterator[None]:
    """Give each row its adapter: what PeftModel.generate does around a whole call."""
    try:
        with adapted._enable_peft_forward_hooks(adapter_names=names):
            yield
    except BaseException:
        # PEFT takes its hooks away only where all went well; left behind, they would slow the next.
        for module in adapted.modules():
            if isinstance(module, BaseTunerLayer):
                module._forward_pre_hooks.clear()
                module._forward_pre_hooks_with_kwargs.clear()
        raise


def _attach(model: Any, adapter: TimedAdapter, dtype: str, built: Built) -> Any:
    clone = clone_sharing_weights(model)
    with _timed(built, model.device, adapter.variant, "unmerged", "load"):
        return open_adapter(clone, Path(adapter.folder), dtype)


def _find_virtual_tokens(adapted: Any, cache: str) -> VirtualTokens | None:
    if not has_virtual_tokens(adapted):
        return None
    if cache == "static":
        raise UserError("virtual tokens need a dynamic cache; set latency.cache=dynamic")
    return VirtualTokens(adapted)


def _merge(model: Any, adapter: TimedAdapter, dtype: str, built: Built) -> Any:
    owned: Any = load_owned(model, Path(adapter.folder), dtype)
    with peft_warnings_ignored():
        with _timed(built, model.device, adapter.variant, "merged", "merge"):
            owned.merge_adapter()
        with _timed(built, model.device, adapter.variant, "merged", "unmerge"):
            owned.unmerge_adapter()
        return owned.merge_and_unload(safe_merge=True).eval()


def _hold_all(model: Any, build: Build, built: Built) -> PeftModel:
    """All adapters on one model, and the time to make each the active one."""
    folders = {
        _name_adapter(number): Path(adapter.folder) for number, adapter in enumerate(build.mixable)
    }
    adapted = load_adapters(model, folders, build.adapter_dtype)
    # The last one first, so that each switch is one from another adapter.
    adapted.set_adapter(_name_adapter(len(build.mixable) - 1))
    for number, adapter in enumerate(build.mixable):
        with _timed(built, model.device, adapter.variant, "unmerged", "switch"):
            adapted.set_adapter(_name_adapter(number))
    adapted.requires_grad_(False)
    return adapted


def _name_adapter(number: int) -> str:
    # A label such as o_proj+fc2 would do, but a name with a dot would not.
    return f"adapter{number}"


def find_adapter_dtype(model: Any) -> str | None:
    """Dtype of the LoRA weights in a model; None where it has none."""
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
