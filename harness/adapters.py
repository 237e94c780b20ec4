"""Attach, save, load and merge a variant's adapter: through PEFT where PEFT has the method."""

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from peft import LoraConfig, PeftModel, VeraConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from harness.config import AdapterConfig
from harness.data import EncodedExample
from harness.errors import UserError
from harness.memory import is_out_of_memory
from harness.methods import bottleneck, full
from harness.methods.increlora import IncreLoraModel
from harness.methods.own import CONFIG, OwnModel
from harness.methods.peft_configs import make_peft_config
from harness.methods.preparation import (
    REWRITING,
    cut_sample,
    explain_variance,
    note_gradients,
    prepare_base,
    quantize,
)
from harness.models import clone_sharing_weights
from harness.modules import Projection
from harness.records import write_atomically, write_json

Adapted: TypeAlias = "PeftModel | OwnModel"
"""A clone of the base with an adapter: both have `get_base_model`, the model that runs."""

MARK = "method.json"
"""Beside a PEFT adapter whose base is not the plain one: what has to be done to that."""


def attach_adapter(
    base: nn.Module,
    projections: Sequence[Projection],
    adapter: AdapterConfig,
    *,
    seed: int,
    steps: int = 0,
    sample: Sequence[EncodedExample] = (),
) -> Adapted:
    """Put a new adapter on a clone of `base` that shares the weights that the method leaves alone.

    `projections` are none for methods that act on the model as a whole. `seed` draws the initial
    weights; they are fp32 whatever the base's dtype. `steps` is the number of optimizer steps to
    come, for methods that plan by it, and `sample` the training examples, for those that begin
    with a look at them. Raises UserError for what the method cannot do, and where PEFT did not wrap
    exactly the projections that were asked for.
    """
    with torch.random.fork_rng(), peft_warnings_ignored():
        torch.manual_seed(seed)
        if adapter.method in OWN:
            clone = clone_sharing_weights(base)
            return _attach_own(clone, projections, adapter, seed).train(base.training)
        return _attach_peft(base, projections, adapter, seed, steps, sample)


def _attach_own(
    clone: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, seed: int
) -> OwnModel:
    if adapter.method == "full":
        return full.attach(clone, projections)
    assert adapter.rank is not None
    if adapter.method == "bottleneck":
        return bottleneck.attach(clone, projections, adapter.rank, str(adapter.activation))
    assert adapter.initial_rank is not None
    assert adapter.alpha is not None
    return IncreLoraModel(clone, projections, adapter.initial_rank, adapter.alpha, seed)


OWN = ("full", "bottleneck", "increlora")
"""Methods that PEFT does not have."""


def _attach_peft(
    base: nn.Module,
    projections: Sequence[Projection],
    adapter: AdapterConfig,
    seed: int,
    steps: int,
    sample: Sequence[EncodedExample],
) -> PeftModel:
    clone = prepare_base(base, projections, adapter.method)
    config = make_peft_config(clone, projections, adapter, steps)
    if isinstance(config, VeraConfig):
        config.projection_prng_key = seed
    batches = cut_sample(sample, adapter, 0, clone.device) if adapter.sample_examples else []
    if adapter.method == "lora_ga":
        assert isinstance(config, LoraConfig)
        note_gradients(clone, config, batches)
    model = get_peft_model(clone, config)
    _check_attached(model, projections)
    if adapter.method == "eva":
        assert adapter.rank is not None
        assert adapter.rho is not None
        explain_variance(model, batches, round(adapter.rank * adapter.rho))
    if adapter.method in REWRITING and adapter.method != "loftq":
        _keep_initial(model)
    return model


def _keep_initial(model: PeftModel) -> None:
    """Keep the weights that a method began with: what it learned is the difference to them."""
    folder = tempfile.TemporaryDirectory(prefix="initial-adapter-")
    model.save_pretrained(folder.name, save_embedding_layers=False)
    # Lives as long as the model, and goes with it.
    model.initial_folder = folder


def _check_attached(model: PeftModel, projections: Sequence[Projection]) -> None:
    """PEFT shortens long lists of names to suffixes: make sure that it wrapped what was asked."""
    expected = {p.path for p in projections}
    attached = set()
    for path, module in model.get_base_model().named_modules():
        if isinstance(module, BaseTunerLayer):
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


def save_adapter(model: Adapted, folder: Path, base_name: str) -> int:
    """Save an adapter (safetensors) and return the weights' size in bytes.

    It is a standard PEFT adapter where PEFT has the method. What began with weights taken from the
    base is saved as LoRA of twice the rank, which fits the unchanged base.
    """
    if isinstance(model, OwnModel):
        model.save(folder, base_name)
    else:
        _save_peft(model, folder, base_name)
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
    adapter = AdapterConfig(rank=rank, alpha=alpha)
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


READERS: dict[str, Any] = {"full": full.open_saved, "bottleneck": bottleneck.open_saved}
"""Methods with a format of their own."""


NO_NEWS = (
    # The clone is the method's own, and what is saved fits the unchanged base.
    r"(PiSSA|OLoRA|LoRA-GA) changes the base weights",
    # AdaLoRA's pattern is of components, not of ranks.
    "The following rank_pattern keys",
    "fan_in_fan_out is set to",
    "Full backward hook is firing",
    "Unmerge result can be inaccurate",
)
"""Warnings of PEFT about what the harness takes care of."""


@contextmanager
def peft_warnings_ignored() -> Iterator[None]:
    """PEFT also asks transformers by a name that is about to go; users can do nothing about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for text in NO_NEWS:
            warnings.filterwarnings("ignore", text)
        yield
