"""Attach, save, load and merge a variant's adapter, all through PEFT."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.errors import UserError
from harness.memory import is_out_of_memory
from harness.models import clone_sharing_weights
from harness.modules import Projection
from harness.records import write_atomically


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


def write_random_adapter(
    structure: nn.Module,
    projections: Sequence[Projection],
    folder: Path,
    *,
    rank: int,
    alpha: float,
    seed: int,
    base_name: str,
) -> None:
    """Save a LoRA adapter of random weights, from a model on the meta device: to be timed only.

    B is random too: how fast a product is must not depend on its being full of zeros.
    """
    model = attach_adapter(
        structure, projections, method="lora", rank=rank, alpha=alpha, dropout=0.0, seed=seed
    )
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(tensor.shape, generator=generator) / tensor.shape[-1] ** 0.5
        for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    config = model.peft_config["default"]
    config.base_model_name_or_path = base_name
    config.inference_mode = True
    config.save_pretrained(str(folder))
    write_atomically(
        folder / "adapter_model.safetensors", lambda path: save_file(weights, str(path))
    )


def load_adapter(base: nn.Module, folder: Path, dtype: str = "auto") -> PeftModel:
    """Load a saved adapter onto a clone of `base`, in eval mode.

    `dtype` is `auto` for PEFT's own choice (fp32 adapters on a half-precision base), or `base` for
    the base's. Raises UserError where the folder holds no adapter that fits the base.
    """
    return open_adapter(clone_sharing_weights(base), folder, dtype)


def load_adapters(base: nn.Module, folders: Mapping[str, Path], dtype: str = "auto") -> PeftModel:
    """Load several saved adapters, by name, onto one clone of `base`, in eval mode.

    It wraps every projection that any of them targets, as a server of many adapters does.
    """
    (first, folder), *others = folders.items()
    model = open_adapter(clone_sharing_weights(base), folder, dtype, first)
    for name, folder in others:
        with _future_warnings_ignored():
            model.load_adapter(
                str(folder), name, autocast_adapter_dtype=dtype == "auto", use_safetensors=True
            )
    return model.eval()


def load_owned(base: nn.Module, folder: Path, dtype: str = "auto") -> PeftModel:
    """Load a saved adapter onto a clone that can be merged in place.

    Only the adapted projections are copied, the rest is shared with `base`.
    """
    adapted = load_adapter(base, folder, dtype)
    paths = {
        path.split(".base_layer")[0]
        for path, module in adapted.get_base_model().named_modules()
        if isinstance(module, BaseTunerLayer)
    }
    return open_adapter(clone_sharing_weights(base, tuple(sorted(paths))), folder, dtype)


def open_adapter(
    base: nn.Module, folder: Path, dtype: str = "auto", name: str = "default"
) -> PeftModel:
    """Load a saved adapter into `base` itself, in eval mode; see `load_adapter`."""
    try:
        with _future_warnings_ignored():
            model = PeftModel.from_pretrained(
                base,
                str(folder),
                adapter_name=name,
                autocast_adapter_dtype=dtype == "auto",
                use_safetensors=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder}: no usable adapter there ({reason})") from error
    # PEFT leaves its dropout in train mode.
    return model.eval()


@contextmanager
def _future_warnings_ignored() -> Iterator[None]:
    """PEFT still asks transformers by a name that is about to go; users can do nothing about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
