"""Named model shapes for `model=random`: real dimensions, random weights.

For speed work, where only the shapes matter. Dimensions are those of the models' own config.json.
`tiny-<model type>` gives a small model of any architecture that transformers knows.
"""

from typing import Any

from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from harness.errors import UserError
from harness.models.tiny_shapes import make_tiny_config

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


def make_config(shape: str) -> PretrainedConfig:
    """Return the configuration of a named shape; an unknown name raises UserError."""
    if shape in SHAPES:
        return AutoConfig.for_model(**SHAPES[shape])
    model_type = shape.removeprefix("tiny-")
    if not shape.startswith("tiny-") or model_type not in CONFIG_MAPPING:
        raise UserError(
            f"model.shape is {shape!r}; expected one of {', '.join(SHAPES)}, or tiny-<model type> "
            "such as tiny-llama"
        )
    try:
        return make_tiny_config(model_type)
    except Exception as error:  # each architecture checks its own settings in its own way
        reason = next(iter(str(error).splitlines()), repr(error))
        raise UserError(
            f"model.shape is {shape!r}: no small model of this type can be made ({reason}); use "
            "another model type, or a checkpoint of this one with model=local"
        ) from error
