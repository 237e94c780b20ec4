"""Named model shapes for `model=random`: real dimensions, random weights.

For speed work, where only the shapes matter. Dimensions are those of the models' own config.json.
`tiny-<model type>` gives a two-block model of any architecture that transformers knows.
"""

from typing import Any

from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from harness.errors import UserError

SHAPES: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "llama-3.2-1b": {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
    },
    "llama-3.2-3b": {
        "model_type": "llama",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
    },
    "llama-3-8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
    },
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
    "gpt2": {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024},
}

_TINY: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}
_TINY_GROUPED: dict[str, Any] = {"intermediate_size": 96, "num_key_value_heads": 2, "head_dim": 16}
_TINY_EXTRA: dict[str, dict[str, Any]] = {
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "falcon": {"ffn_hidden_size": 96},
    "gpt_neox": {"intermediate_size": 96},
    "phi": {"intermediate_size": 96},
    "smollm3": _TINY_GROUPED | {"pad_token_id": 0},
    "phi3": {"intermediate_size": 96, "num_key_value_heads": 2, "pad_token_id": 0},
    "qwen3_moe": _TINY_GROUPED
    | {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2},
    "mixtral": _TINY_GROUPED | {"num_local_experts": 4},
    # Has a vision tower: the language model's dimensions are a configuration inside its own.
    "gemma3": {
        "text_config": _TINY | _TINY_GROUPED,
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
    },
    "gpt2": {},
    "bloom": {},
    "mpt": {},
}


def make_config(shape: str) -> PretrainedConfig:
    """Return the configuration of a named shape; an unknown name raises UserError."""
    if shape in SHAPES:
        return AutoConfig.for_model(**SHAPES[shape])
    model_type = shape.removeprefix("tiny-")
    if shape.startswith("tiny-") and model_type in CONFIG_MAPPING:
        extra = _TINY_EXTRA.get(model_type, _TINY_GROUPED)
        return AutoConfig.for_model(model_type, **(_TINY | extra))
    raise UserError(
        f"model.shape is {shape!r}; expected one of {', '.join(SHAPES)}, or tiny-<model type> such "
        "as tiny-llama"
    )
