"""A small model of any architecture that transformers knows, for trials: `tiny-<model type>`.

The architecture's own default configuration, shrunk: two blocks, or one of each kind where blocks
differ, 64 hidden units, random weights.
"""

from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

_SMALL: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    # Feed-forwards under other names.
    "ffn_dim": 96,
    "ffn_hidden_size": 96,
    "decoder_ffn_dim": 96,
    "encoder_ffn_dim": 96,
    "word_embed_proj_dim": 64,
    "d_model": 64,
    "decoder_layers": 2,
    "encoder_layers": 2,
    "decoder_attention_heads": 4,
    "encoder_attention_heads": 4,
    # Experts.
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "n_shared_experts": 1,
    "num_shared_experts": 1,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 32,
    "first_k_dense_replace": 1,
    # Latent attention.
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 16,
    # Linear attention and state-space models.
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "mamba_num_heads": 8,
    "mamba_n_heads": 8,
    "mamba_head_dim": 16,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_d_ssm": 128,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "ssm_state_size": 8,
    "n_groups": 1,
    # Towers.
    "image_size": 28,
    "patch_size": 14,
    "mm_tokens_per_image": 4,
}

_LATENT = {"num_key_value_heads": 4, "head_dim": 8}
_OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots3_note_text")
        + ("glm4_moe_lite", "glm_moe_dsa", "minicpm3", "bailing_hybrid", "youtu"),
        _LATENT,
    ),
    "kimi_linear": _LATENT | {"q_lora_rank": None},
    "codegen": {"rotary_dim": 8},
    "gptj": {"rotary_dim": 8},
    "bamba": {"attn_layer_indices": [1]},
    "bloom": {"n_layer": 2},
    "gemma4_text": {
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 49152,
        "global_head_dim": 16,
        "num_global_key_value_heads": 1,
        "num_kv_shared_layers": 0,
        "num_experts": None,
    },
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "num_hidden_layers": 2,
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 49152,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "llama4_text": {"intermediate_size_mlp": 96, "interleave_moe_layer_step": 2, "moe_layers": [1]},
    "mamba": {"state_size": 8},
    "falcon_mamba": {"state_size": 8},
    "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 16, "n_groups": 1},
    "nemotron_h": {"mamba_hidden_act": "silu"},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "lru_width": 64},
    "zamba2": {
        "layers_block_type": ["mamba", "hybrid"],
        "num_mem_blocks": 1,
        "mamba_ngroups": 1,
        "n_mamba_heads": 8,
        "attention_head_dim": 32,
        "attention_hidden_size": 128,
    },
    "zaya": {"num_experts_per_tok": 1},
}
"""What an architecture needs beside."""

_NO_KINDS = ("bamba", "falcon_h1", "falcon_mamba", "jamba", "mamba", "mamba2", "recurrent_gemma")
"""Architectures that derive the kinds of their blocks from other settings."""


def make_tiny_config(model_type: str) -> PretrainedConfig:
    """Return the configuration of a small model of this type."""
    return CONFIG_MAPPING[model_type](**_shrink(model_type))


def _shrink(model_type: str) -> dict[str, Any]:
    default = CONFIG_MAPPING[model_type]()
    known = {*default.to_dict(), *default.attribute_map}
    values = {name: value for name, value in _SMALL.items() if name in known}
    for name in default.sub_configs:
        part = getattr(default, name, None)
        if part is not None and part.model_type in CONFIG_MAPPING:
            values[name] = {"model_type": part.model_type} | _shrink(part.model_type)
        elif part is not None:
            fields = part.to_dict()
            values[name] = {key: each for key, each in _SMALL.items() if key in fields}
    kinds = list(dict.fromkeys(getattr(default, "layer_types", None) or ()))
    if kinds and model_type not in _NO_KINDS:
        values["layer_types"] = (kinds * 2)[: max(2, len(kinds))]
        values["num_hidden_layers"] = len(values["layer_types"])
    return values | _OWN.get(model_type, {})
