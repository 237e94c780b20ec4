"""Attach, save, load and merge a variant's adapter, all through PEFT."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.errors import UserError
from harness.models import clone_sharing_weights
from harness.modules import Projection


def attach_adapter(
    base: nn.Module,
    projections: Sequence[Projection],
    *,
    method: str,
    rank: int,
    alpha: float,
    dropout: float,
    seed: int,
) -> PeftModel:
    """Wrap a clone of `base`, sharing its weights, with a new adapter on `projections`.

    `seed` draws the initial weights; they are fp32 whatever the base's dtype. Raises UserError for
    an unknown method, and where PEFT did not wrap exactly the projections that were asked for.
    """
    if method != "lora":
        raise UserError(f"adapter.method is {method!r}; expected lora")
    stacked = [p.path for p in projections if p.experts]
    if stacked and dropout:
        raise UserError(
            f"adapter.dropout is {dropout}: PEFT has no dropout on stacked experts ({stacked[0]}); "
            "use adapter.dropout=0"
        )
    modules = [p for p in projections if not p.experts]
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT computes alpha / r in floats
        lora_dropout=dropout,
        target_modules=[p.path for p in modules],
        target_parameters=stacked or None,
        fan_in_fan_out=any(isinstance(base.get_submodule(p.path), Conv1D) for p in modules),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), _future_warnings_ignored():
        torch.manual_seed(seed)
        model = get_peft_model(clone_sharing_weights(base), config)
    _check_attached(model, projections)
    return model


def _check_attached(model: PeftModel, projections: Sequence[Projection]) -> None:
    """PEFT shortens long lists of names to suffixes: make sure that it wrapped what was asked."""
    expected = {p.path for p in projections}
    attached = set()
    for path, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            name = getattr(module, "parameter_name", None)
            clean = path.replace(".base_layer", "")
            attached.add(f"{clean}.{name}" if name else clean)
    if attached != expected:
        odd = sorted(attached ^ expected)
        raise UserError(
            f"adapter: PEFT adapted {len(attached)} projections where {len(expected)} were asked "
            f"for; they differ in {odd[0]}"
        )


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def save_adapter(model: PeftModel, folder: Path, base_name: str) -> int:
    """Save as a standard PEFT adapter (safetensors) and return the weights' size in bytes."""
    # PEFT writes the name or path of the base it found; a cache folder of this machine is no name.
    model.peft_config["default"].base_model_name_or_path = base_name
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    # PEFT adds a model card full of blanks; the record says what the card would.
    (folder / "README.md").unlink(missing_ok=True)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def load_adapter(base: nn.Module, folder: Path) -> PeftModel:
    """Load a saved adapter onto a clone of `base`, in eval mode.

    Raises UserError where the folder holds no adapter that fits the base.
    """
    try:
        model = _open_adapter(clone_sharing_weights(base), folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder}: no usable adapter there ({reason})") from error
    return model.eval()


def merge_adapter(base: nn.Module, folder: Path) -> nn.Module:
    """Fold a saved adapter into weights of its own; the base's stay untouched.

    Only the adapted projections are copied, the rest is shared with `base`.
    """
    adapted = load_adapter(base, folder)
    paths = {
        path.split(".base_layer")[0]
        for path, module in adapted.get_base_model().named_modules()
        if isinstance(module, BaseTunerLayer)
    }
    owned: Any = _open_adapter(clone_sharing_weights(base, tuple(sorted(paths))), folder)
    merged: nn.Module = owned.merge_and_unload(safe_merge=True).eval()
    return merged


def _open_adapter(base: nn.Module, folder: Path) -> PeftModel:
    with _future_warnings_ignored():
        return PeftModel.from_pretrained(base, str(folder), use_safetensors=True)


@contextmanager
def _future_warnings_ignored() -> Iterator[None]:
    """PEFT still asks transformers by a name that is about to go; users can do nothing about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
