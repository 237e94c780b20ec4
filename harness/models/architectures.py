"""How a projection's role shows from its name and from the modules that it stands in.

A block's modules are read from the inside out: the first whose class or name tells what it is,
attention, a recurrent or linear-attention mixer, a feed-forward or something else, says which table
the projection's own name is looked up in. Names are those of transformers' modelling code; the same
name means another role in another place (`c_proj`, `out_proj`, `dense`), and in some hybrids the
same path is attention in one block and a mixer in the next.
"""

import re
from enum import Enum

Names = dict[str, tuple[str, ...]]


class Part(Enum):
    """What a module inside a block is for."""

    ATTENTION = "attention"
    MIXER = "mixer"
    """A recurrent layer, a state-space model or linear attention."""
    FEED_FORWARD = "feed-forward"
    OTHER = "other"
    """Routers, indexers, cross-attention, per-layer embeddings: no target of adapters."""


CLASSES: tuple[tuple[Part, re.Pattern[str]], ...] = (
    (
        Part.OTHER,
        re.compile(
            r"Router|Gating$|Indexer|Compressor|CrossAttention|AltUp|Laurel|HyperConnection|"
            r"RelativeLogits|DynamicShortConv|VisionAttention"
        ),
    ),
    (
        Part.MIXER,
        re.compile(
            r"Mamba|(?<!Sequence)Mixer$|DeltaNet|DeltaAttention|Lightning|(?<!Kimi)LinearAttention|"
            r"ForgetGate|ShortConv|RecurrentBlock|xLSTMLayer|RwkvSelfAttention"
        ),
    ),
    (Part.FEED_FORWARD, re.compile(r"MLP|Mlp|FeedForward|FeedFoward|FFN|Experts|MoE|Moe\b")),
    (Part.ATTENTION, re.compile(r"Attention|Attn|MLA$|CCAProjection|SelfOutput")),
)
"""By a module's class, in this order."""

NAMES: tuple[tuple[Part, re.Pattern[str]], ...] = (
    (
        Part.OTHER,
        re.compile(
            r"router|indexer|compressor|encoder_attn|cross_?att\w*|EncDecAttention|vision_\w+|"
            r"encoder_decoder_attention|altup|laurel|adapter\w*|\w*norm"
        ),
    ),
    (Part.MIXER, re.compile(r"linear_attn|mamba|temporal_block|mlstm_layer|short_conv|ssm")),
    (Part.FEED_FORWARD, re.compile(r"mlps?|ffn|feed_?forward|ff|experts|shared_mlp|moe")),
    (Part.ATTENTION, re.compile(r"\w*attn|\w*attention|self_att")),
)
"""The same by its name, where the class does not tell."""

QKV = ("q", "k", "v")
KV = ("k", "v")

LEAVES: dict[Part, Names] = {
    Part.ATTENTION: {
        **dict.fromkeys(
            ("q_proj", "query", "q", "wq", "Wq", "to_q", "q_lin", "query_proj", "project_q")
            + ("q_a_proj", "q_b_proj", "q_gate_proj"),
            ("q",),
        ),
        **dict.fromkeys(
            ("k_proj", "key", "k", "wk", "Wk", "to_k", "k_lin", "key_proj", "project_k"), ("k",)
        ),
        **dict.fromkeys(
            ("v_proj", "value", "v", "wv", "Wv", "to_v", "v_lin", "value_proj", "project_v")
            + ("v_proj_current", "v_proj_delayed"),
            ("v",),
        ),
        **dict.fromkeys(("kv_proj", "kv_a_proj_with_mqa", "kv_b_proj", "wkv"), KV),
        **dict.fromkeys(
            ("qkv", "qkv_proj", "Wqkv", "query_key_value", "c_attn", "in_proj", "att_proj"), QKV
        ),
        **dict.fromkeys(
            ("o_proj", "out_proj", "wo", "Wo", "to_out", "out_lin", "dense", "c_proj", "proj")
            + ("attn_out", "attention_out", "o_b_proj", "o", "output"),
            ("o",),
        ),
    },
    Part.MIXER: {
        **dict.fromkeys(
            ("in_proj", "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "in_proj_qkvz")
            + ("in_proj_ba", "x_proj", "dt_proj", "linear_x", "linear_y", "qkv_proj")
            + ("q_proj", "k_proj", "v_proj", "a_proj", "b_proj", "g_proj", "output_gate")
            + ("f_proj", "f_a_proj", "f_b_proj", "g_a_proj", "g_b_proj", "q", "k", "v")
            + ("igate_preact", "fgate_preact", "ogate_preact", "key", "value", "receptance"),
            ("mix_in",),
        ),
        **dict.fromkeys(("out_proj", "o_proj", "linear_out", "output"), ("mix_out",)),
    },
    Part.FEED_FORWARD: {
        **dict.fromkeys(
            ("fc1", "up_proj", "gate_proj", "gate_up_proj", "c_fc", "w1", "w3", "lin1", "linear1")
            + ("dense_h_to_4h", "fc_in", "wi", "wi_0", "wi_1", "ff_proj", "linear_fc1", "Wi")
            + ("w_0", "w_1", "input_linear", "layer_1", "intermediate", "proj_up", "proj_up_gate")
            + ("key", "receptance"),
            ("fc1",),
        ),
        **dict.fromkeys(
            ("fc2", "down_proj", "c_proj", "w2", "lin2", "linear2", "dense_4h_to_h", "fc_out")
            + ("wo", "Wo", "ff_out", "linear_fc2", "w_out", "output_linear", "layer_2", "output")
            + ("proj_down", "value"),
            ("fc2",),
        ),
    },
    Part.OTHER: {},
}
"""Part -> name of a projection -> the roles that it plays, several where it is fused."""

PATHS: Names = {
    # Blocks whose projections stand in no module of their own.
    "fc1": ("fc1",),
    "fc2": ("fc2",),
    # BERT's blocks, where both outputs have one name.
    "intermediate.dense": ("fc1",),
    "output.dense": ("fc2",),
    # CTRL's feed-forward is a list without names.
    "ffn.0": ("fc1",),
    "ffn.2": ("fc2",),
    # JetMoE has experts in attention too.
    "self_attention.experts.input_linear.weight": ("q",),
    "self_attention.experts.output_linear.weight": ("o",),
    "mlp.input_linear.weight": ("fc1",),
    "mlp.output_linear.weight": ("fc2",),
    # XLM's blocks are several lists side by side.
    **{f"{name}_lin": (role,) for name, role in (("q", "q"), ("k", "k"), ("v", "v"), ("out", "o"))},
    "lin1": ("fc1",),
    "lin2": ("fc2",),
}
"""Whole paths inside a block, where classes and names of modules do not tell or mislead."""

ROUTERS = ("gate", "router", "shared_expert_gate", "weights_proj", "classifier")
"""Names of projections that choose experts or tokens."""

COMPLETE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("q", "k", "v", "o"), "attention"),
    (("fc1", "fc2"), "the feed-forward"),
)
"""Roles of which a model that has one has all, whatever its mixers are."""
