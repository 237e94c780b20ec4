"""Models of two blocks, built once a process: tests get copies that they may change."""

import copy
import functools
from typing import Any

import pytest

from harness.config.schema import ModelConfig
from harness.models.loading import LoadedModel, load_model

USUAL = (
    *("llama", "gpt2", "phi3", "mixtral", "falcon", "opt", "gemma2", "gemma3", "mpt", "bloom"),
    *("qwen2", "qwen3", "cohere", "granite"),
)
"""One of each kind of projections, positions and heads."""
HYBRIDS = (
    *("qwen3_5_text", "qwen3_next", "olmo_hybrid", "lfm2", "jamba", "bamba", "nemotron_h"),
    *("falcon_h1", "granitemoehybrid", "minimax", "recurrent_gemma", "mamba"),
)
"""Recurrent or linear-attention mixers, in some or all blocks."""
OTHERS = (
    *("deepseek_v3", "minicpm3", "deepseek_v4", "gemma4_text", "gpt_oss", "llama4_text", "bart"),
)
"""Latent attention, per-layer embeddings, experts the other way round, unused cross-attention."""
RARER = (
    *("mistral", "ministral3", "qwen2_moe", "qwen3_moe", "qwen3_5_moe_text", "gemma"),
    *("gemma3_text", "gemma3n_text", "olmo", "olmo2", "olmo3", "olmoe", "granitemoe", "cohere2"),
    *("smollm3", "stablelm", "starcoder2", "phi", "phimoe", "deepseek_v2", "glm", "glm4"),
    *("glm4_moe", "glm4_moe_lite", "gptj", "gpt_neo", "gpt_neox", "gpt_bigcode", "codegen"),
    *("falcon_mamba", "mamba2", "zamba2", "nemotron", "lfm2_moe", "minimax_m2"),
    *("hunyuan_v1_dense", "exaone4", "ernie4_5", "ernie4_5_moe", "helium", "persimmon"),
    *("modernbert-decoder", "seed_oss", "apertus", "arcee", "dots1", "nanochat", "openai-gpt"),
    *("whisper",),
)
DECODERS = (
    *(*USUAL, *HYBRIDS, *OTHERS),
    *(pytest.param(each, marks=pytest.mark.slow) for each in RARER),
)


def tiny_spec(model_type: str = "llama", dtype: str = "float32") -> ModelConfig:
    return ModelConfig(source="random", shape=f"tiny-{model_type}", dtype=dtype, device="cpu")


def load_tiny(model_type: str = "llama", dtype: str = "float32") -> LoadedModel:
    """Return a copy of its own of the random model; the tokenizer is shared."""
    loaded = _load(model_type, dtype)
    return LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, loaded.context_length)


@functools.lru_cache(maxsize=8)
def _load(model_type: str, dtype: str) -> LoadedModel:
    if dtype == "float64":
        loaded: Any = load_model(tiny_spec(model_type))
        loaded.model.double()
        return loaded  # type: ignore[no-any-return]
    return load_model(tiny_spec(model_type, dtype))
