"""Where each architecture keeps its projections: path inside a block -> the roles it plays.

A path is exact, relative to the transformer block, with `*` for an index (an expert's number).
Taken from the modelling code of transformers 5; a path that plays several roles is a fused
projection. Routers, norms, embeddings and heads are left out on purpose.
"""

Paths = dict[str, tuple[str, ...]]

QKV = ("q", "k", "v")

_SPLIT_ATTENTION: Paths = {
    "self_attn.q_proj": ("q",),
    "self_attn.k_proj": ("k",),
    "self_attn.v_proj": ("v",),
    "self_attn.o_proj": ("o",),
}
_GATED_FEED_FORWARD: Paths = {
    "mlp.gate_proj": ("fc1",),
    "mlp.up_proj": ("fc1",),
    "mlp.down_proj": ("fc2",),
}
_LLAMA: Paths = _SPLIT_ATTENTION | _GATED_FEED_FORWARD
# Experts are one 3-D parameter [experts, out, in] from transformers 5 on, one module each before.
_EXPERTS: Paths = {
    "mlp.experts.gate_up_proj": ("fc1",),
    "mlp.experts.down_proj": ("fc2",),
    "mlp.experts.*.gate_proj": ("fc1",),
    "mlp.experts.*.up_proj": ("fc1",),
    "mlp.experts.*.down_proj": ("fc2",),
}
_NEOX_FEED_FORWARD: Paths = {"mlp.dense_h_to_4h": ("fc1",), "mlp.dense_4h_to_h": ("fc2",)}
_FALCON: Paths = {
    "self_attention.query_key_value": QKV,
    "self_attention.dense": ("o",),
} | _NEOX_FEED_FORWARD

ARCHITECTURES: dict[str, Paths] = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gemma3_text")
        + ("olmo2", "olmo3", "granite", "cohere", "cohere2", "smollm3", "stablelm"),
        _LLAMA,
    ),
    "qwen3_moe": _LLAMA | _EXPERTS,
    "mixtral": _SPLIT_ATTENTION
    | _EXPERTS
    | {
        "block_sparse_moe.experts.*.w1": ("fc1",),
        "block_sparse_moe.experts.*.w3": ("fc1",),
        "block_sparse_moe.experts.*.w2": ("fc2",),
    },
    "phi": {
        "self_attn.q_proj": ("q",),
        "self_attn.k_proj": ("k",),
        "self_attn.v_proj": ("v",),
        "self_attn.dense": ("o",),
        "mlp.fc1": ("fc1",),
        "mlp.fc2": ("fc2",),
    },
    "phi3": {
        "self_attn.qkv_proj": QKV,
        "self_attn.o_proj": ("o",),
        "mlp.gate_up_proj": ("fc1",),
        "mlp.down_proj": ("fc2",),
    },
    "gpt2": {
        "attn.c_attn": QKV,
        "attn.c_proj": ("o",),
        "mlp.c_fc": ("fc1",),
        "mlp.c_proj": ("fc2",),
    },
    "gpt_neox": {"attention.query_key_value": QKV, "attention.dense": ("o",)} | _NEOX_FEED_FORWARD,
    "opt": {
        "self_attn.q_proj": ("q",),
        "self_attn.k_proj": ("k",),
        "self_attn.v_proj": ("v",),
        "self_attn.out_proj": ("o",),
        "fc1": ("fc1",),
        "fc2": ("fc2",),
    },
    "falcon": _FALCON,
    "bloom": _FALCON,
    "starcoder2": _SPLIT_ATTENTION | {"mlp.c_fc": ("fc1",), "mlp.c_proj": ("fc2",)},
    "mpt": {
        "attn.Wqkv": QKV,
        "attn.out_proj": ("o",),
        "ffn.up_proj": ("fc1",),
        "ffn.down_proj": ("fc2",),
    },
}

# For architectures not listed: leaf names that say their role wherever they stand. A name that
# means different things in different models (`dense`, `c_proj`, `out_proj`, `proj`) counts only
# below a parent whose name says attention or feed-forward.
ATTENTION_LEAVES: Paths = {
    **dict.fromkeys(("q_proj", "query", "q", "wq", "to_q", "q_lin", "query_proj"), ("q",)),
    **dict.fromkeys(("k_proj", "key", "k", "wk", "to_k", "k_lin", "key_proj"), ("k",)),
    **dict.fromkeys(("v_proj", "value", "v", "wv", "to_v", "v_lin", "value_proj"), ("v",)),
    **dict.fromkeys(
        ("qkv", "qkv_proj", "Wqkv", "query_key_value", "c_attn", "in_proj", "att_proj"), QKV
    ),
    **dict.fromkeys(
        ("o_proj", "out_proj", "wo", "to_out", "out_lin", "dense", "c_proj", "proj", "attn_out"),
        ("o",),
    ),
}
FEED_FORWARD_LEAVES: Paths = {
    **dict.fromkeys(
        ("fc1", "up_proj", "gate_proj", "gate_up_proj", "c_fc", "w1", "w3", "lin1", "linear1")
        + ("dense_h_to_4h", "fc_in", "wi", "wi_0", "wi_1", "ff_proj", "linear_fc1"),
        ("fc1",),
    ),
    **dict.fromkeys(
        ("fc2", "down_proj", "c_proj", "w2", "lin2", "linear2", "dense_4h_to_h", "fc_out", "wo")
        + ("ff_out", "linear_fc2"),
        ("fc2",),
    ),
}
ATTENTION_PARENTS = ("attn", "attention")
FEED_FORWARD_PARENTS = ("mlp", "ffn", "feed_forward", "feedforward", "ff", "experts")
OTHER_TOWERS = ("vision", "visual", "image", "audio", "speech", "video")
