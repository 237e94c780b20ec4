"""Adapters on disk: saved as standard PEFT adapters where PEFT has the method, and read back."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from harness.adapters.attach import MARK, Adapted, attach_adapter, peft_warnings_ignored
from harness.adapters.initialization import (
    REWRITING,
    quantize,
)
from harness.adapters.own import bottleneck, full
from harness.adapters.own.own_model import CONFIG, OwnModel
from harness.config.schema import AdapterConfig
from harness.errors import UserError
from harness.models.loading import clone_sharing_weights
from harness.models.memory import is_out_of_memory
from harness.models.projections import Projection
from harness.records.files import write_atomically, write_json


def save_adapter(
    model: Adapted, folder: Path, base_name: str, base_revision: str | None = None
) -> int:
    """Save an adapter (safetensors) and return the weights' size in bytes.

    It is a standard PEFT adapter where PEFT has the method. What began with weights taken from the
    base is saved as LoRA of twice the rank, which fits the unchanged base. `base_revision` is the
    commit of a hub model, or the digest of a folder.
    """
    if isinstance(model, OwnModel):
        model.save(folder, base_name)
    else:
        _save_peft(model, folder, base_name)
    if base_revision is not None:
        saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        write_json(folder / CONFIG, saved | {"revision": base_revision})
    # PEFT adds a model card full of blanks; the record says what the card would.
    (folder / "README.md").unlink(missing_ok=True)
    if getattr(model.get_base_model(), "is_loaded_in_4bit", False):
        write_json(folder / MARK, {"method": "qlora"})
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _save_peft(model: PeftModel, folder: Path, base_name: str) -> None:
    config = model.active_peft_config
    initial = getattr(model, "initial_folder", None)
    # With a name PEFT would look on the hub, when it converts, for how large the vocabulary was.
    config.base_model_name_or_path = None if initial else base_name
    with peft_warnings_ignored():
        model.save_pretrained(
            str(folder),
            safe_serialization=True,
            save_embedding_layers=False,
            **({"path_initial_model_for_weight_conversion": initial.name} if initial else {}),
        )
    # PEFT writes the path of the base it found; a cache folder is no name.
    saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    write_json(folder / CONFIG, saved | {"base_model_name_or_path": base_name})


def is_saved_as_trained(adapter: AdapterConfig) -> bool:
    """Whether a trained model computes, to the bit, what its saved adapter does."""
    return adapter.method not in (*REWRITING, "increlora")


def write_random_adapter(
    structure: nn.Module,
    projections: Sequence[Projection],
    adapter: AdapterConfig,
    folder: Path,
    *,
    seed: int,
    base_name: str,
) -> None:
    """Save an adapter of random weights, from a model on the meta device: to be timed only.

    B is random too: how fast a product is must not depend on its being full of zeros.
    """
    model = attach_adapter(structure, projections, adapter, seed=seed)
    assert isinstance(model, PeftModel)
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


def has_adapter(folder: Path) -> bool:
    """Whether `save_adapter` has been here."""
    return (folder / "adapter_config.json").is_file()


def load_adapter(base: nn.Module, folder: Path, dtype: str = "auto") -> Adapted:
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
    assert isinstance(model, PeftModel)
    for name, folder in others:
        with peft_warnings_ignored():
            model.load_adapter(
                str(folder), name, autocast_adapter_dtype=dtype == "auto", use_safetensors=True
            )
    return model.eval()


def load_owned(base: nn.Module, folder: Path, dtype: str = "auto") -> Adapted:
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
) -> Adapted:
    """Load a saved adapter into `base` itself, in eval mode; see `load_adapter`."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config.get("method") in READERS:
            return READERS[config["method"]](base, folder, config).eval()
        if (folder / MARK).exists():
            base = quantize(base)
        with peft_warnings_ignored():
            # PEFT warns and goes on with the random weights that it began with.
            warnings.filterwarnings("error", ".*missing adapter keys")
            model = PeftModel.from_pretrained(
                base,
                str(folder),
                adapter_name=name,
                autocast_adapter_dtype=dtype == "auto",
                use_safetensors=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, UserWarning, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder}: no usable adapter ({reason})") from error
    # PEFT leaves its dropout in train mode.
    return model.eval()


READERS: dict[str, Any] = {"full": full.open_saved, "bottleneck": bottleneck.open_saved}
"""Methods with a format of their own."""
