import re
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PretrainedConfig

from harness.cli.modules import main
from harness.config.schema import ModelConfig
from harness.errors import UserError
from harness.models.loading import load_structure
from harness.models.projections import (
    OUTSIDE,
    ModuleMap,
    list_targets,
    map_modules,
    shorten_paths,
)

GATED = {
    "q": {"self_attn.q_proj"},
    "k": {"self_attn.k_proj"},
    "v": {"self_attn.v_proj"},
    "o": {"self_attn.o_proj"},
    "fc1": {"mlp.gate_proj", "mlp.up_proj"},
    "fc2": {"mlp.down_proj"},
}
SPLIT = {role: GATED[role] for role in "qkvo"}
FEED_FORWARD = {
    "fc1": {"feed_forward.gate_proj", "feed_forward.up_proj"},
    "fc2": {"feed_forward.down_proj"},
}
EXPERTS = {"fc1": {"mlp.experts.gate_up_proj"}, "fc2": {"mlp.experts.down_proj"}}
LATENT = {
    "q": {"self_attn.q_a_proj", "self_attn.q_b_proj"},
    **{role: {"self_attn.kv_a_proj_with_mqa", "self_attn.kv_b_proj"} for role in "kv"},
}


def mixer(parent: str, inputs: str, output: str) -> dict[str, set[str]]:
    return {
        "mix_in": {f"{parent}.{name}" for name in inputs.split()},
        "mix_out": {f"{parent}.{output}"},
    }


def mixed_experts(experts: str, shared: str) -> dict[str, set[str]]:
    """A dense feed-forward in the first blocks, experts and shared ones in the others."""
    return {
        "fc1": {f"{experts}.gate_up_proj"}
        | {f"{each}.{name}" for each in ("mlp", shared) for name in ("gate_proj", "up_proj")},
        "fc2": {f"{each}.down_proj" for each in (experts, "mlp", shared)},
    }


def fused(name: str, o: str, fc1: str, fc2: str) -> dict[str, set[str]]:
    return {**{role: {name} for role in "qkv"}, "o": {o}, "fc1": {fc1}, "fc2": {fc2}}


# Written from the modelling code of transformers, not from the harness's table.
EXPECTED: dict[str, dict[str, set[str]]] = {
    **dict.fromkeys(
        (
            "llama",
            "mistral",
            "qwen2",
            "qwen3",
            "gemma2",
            "gemma3_text",
            "olmo2",
            "granite",
            "cohere",
        ),
        GATED,
    ),
    "gemma3": GATED,
    "qwen3_moe": GATED | EXPERTS,
    "mixtral": GATED | EXPERTS,
    "phi": GATED | {"o": {"self_attn.dense"}, "fc1": {"mlp.fc1"}, "fc2": {"mlp.fc2"}},
    "phi3": fused("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
    "gpt2": fused("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    "gpt_neox": fused(
        "attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"
    ),
    "opt": GATED | {"o": {"self_attn.out_proj"}, "fc1": {"fc1"}, "fc2": {"fc2"}},
    "falcon": fused(
        "self_attention.query_key_value",
        "self_attention.dense",
        "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h",
    ),
    "bloom": fused(
        "self_attention.query_key_value",
        "self_attention.dense",
        "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h",
    ),
    "starcoder2": GATED | {"fc1": {"mlp.c_fc"}, "fc2": {"mlp.c_proj"}},
    "mpt": fused("attn.Wqkv", "attn.out_proj", "ffn.up_proj", "ffn.down_proj"),
    # The cross-attention of a decoder without an encoder is never run.
    "bart": GATED | {"o": {"self_attn.out_proj"}, "fc1": {"fc1"}, "fc2": {"fc2"}},
    # Per-layer embeddings, their gates and routers are no projections of a mixer.
    "gemma4_text": GATED,
    "gemma3n_text": GATED,
    "gpt_oss": GATED | EXPERTS,
    "llama4_text": GATED
    | {
        "fc1": {
            "feed_forward.experts.gate_up_proj",
            *(f"feed_forward.{name}" for name in ("gate_proj", "up_proj")),
            *(f"feed_forward.shared_expert.{name}" for name in ("gate_proj", "up_proj")),
        },
        "fc2": {
            "feed_forward.experts.down_proj",
            "feed_forward.down_proj",
            "feed_forward.shared_expert.down_proj",
        },
    },
    # Latent attention: q, and k with v, by a projection down and one up.
    "minicpm3": GATED | LATENT,
    "deepseek_v3": GATED | LATENT | mixed_experts("mlp.experts", "mlp.shared_experts"),
    "deepseek_v4": LATENT
    | {
        **{role: {"self_attn.kv_proj"} for role in "kv"},
        "o": {"self_attn.o_b_proj"},
        "fc1": {
            "mlp.experts.gate_up_proj",
            "mlp.shared_experts.gate_proj",
            "mlp.shared_experts.up_proj",
        },
        "fc2": {"mlp.experts.down_proj", "mlp.shared_experts.down_proj"},
    },
    # Hybrids: attention in some blocks, a recurrent or linear-attention mixer in the others.
    "qwen3_5_text": GATED
    | mixer("linear_attn", "in_proj_qkv in_proj_z in_proj_b in_proj_a", "out_proj"),
    "qwen3_next": GATED
    | mixer("linear_attn", "in_proj_qkvz in_proj_ba", "out_proj")
    | {
        "fc1": {
            "mlp.experts.gate_up_proj",
            "mlp.shared_expert.gate_proj",
            "mlp.shared_expert.up_proj",
        },
        "fc2": {"mlp.experts.down_proj", "mlp.shared_expert.down_proj"},
    },
    "olmo_hybrid": GATED
    | mixer("linear_attn", "q_proj k_proj v_proj a_proj b_proj g_proj", "o_proj"),
    "minimax": GATED | EXPERTS | mixer("self_attn", "qkv_proj output_gate", "out_proj"),
    "lfm2": GATED
    | mixer("conv", "in_proj", "out_proj")
    | {
        "o": {"self_attn.out_proj"},
        "fc1": {"feed_forward.w1", "feed_forward.w3"},
        "fc2": {"feed_forward.w2"},
    },
    "kimi_linear": GATED
    | mixer(
        "self_attn",
        "q_proj k_proj v_proj forget_gate.f_a_proj forget_gate.f_b_proj b_proj g_a_proj g_b_proj",
        "o_proj",
    )
    | {"q": {"self_attn.q_proj"}}
    | {role: LATENT[role] for role in "kv"}
    | mixed_experts("mlp.experts", "mlp.shared_experts"),
    "recurrent_gemma": {
        **{role: {f"temporal_block.{role}_proj"} for role in "qkvo"},
        **mixer("temporal_block", "linear_y linear_x", "linear_out"),
        "fc1": {"mlp_block.gate_proj", "mlp_block.up_proj"},
        "fc2": {"mlp_block.down_proj"},
    },
    # Their fused kernels are given the weight of out_proj (and x_proj, dt_proj).
    "bamba": SPLIT | FEED_FORWARD | {"mix_in": {"mamba.in_proj"}},
    "falcon_h1": SPLIT | FEED_FORWARD | {"mix_in": {"mamba.in_proj"}},
    "granitemoehybrid": SPLIT
    | {
        "mix_in": {"mamba.in_proj"},
        "fc1": {"block_sparse_moe.experts.gate_up_proj", "shared_mlp.input_linear"},
        "fc2": {"block_sparse_moe.experts.down_proj", "shared_mlp.output_linear"},
    },
    "nemotron_h": {
        **{role: {f"mixer.{role}_proj"} for role in "qkvo"},
        "mix_in": {"mixer.in_proj"},
        "fc1": {f"mixer.{part}up_proj" for part in ("", "experts.", "shared_experts.")},
        "fc2": {f"mixer.{part}down_proj" for part in ("", "experts.", "shared_experts.")},
    },
    "mamba": {"mix_in": {"mixer.in_proj"}},
    # Jamba's is given that of dt_proj alone.
    "jamba": SPLIT
    | mixer("mamba", "in_proj x_proj", "out_proj")
    | {
        "fc1": FEED_FORWARD["fc1"] | {"feed_forward.experts.gate_up_proj"},
        "fc2": FEED_FORWARD["fc2"] | {"feed_forward.experts.down_proj"},
    },
}
"""Architecture -> role -> paths inside a block."""


def map_tiny(model_type: str, **roles: str) -> ModuleMap:
    structure = load_structure(ModelConfig(source="random", shape=f"tiny-{model_type}"))
    return map_modules(structure.model, structure.config, roles)


@pytest.mark.parametrize("model_type", EXPECTED)
def test_roles_of_each_architecture(model_type: str) -> None:
    mapped = map_tiny(model_type)
    found: dict[str, set[str]] = {}
    for projection in mapped.inside:
        for role in projection.roles:
            found.setdefault(role, set()).add(projection.pattern)
    assert found == EXPECTED[model_type]
    everything = mapped.select(["all"])
    assert len(everything) == len({p.path for p in everything})
    assert {p.block for p in everything} == set(range(mapped.block_count))
    unwanted = ("lm_head", "embed", "vision", "router", "gate.weight", "per_layer", "encoder_attn")
    assert not [p.path for p in everything if any(word in p.path for word in unwanted)]


@pytest.mark.parametrize("model_type", ["gpt2", "phi3", "gpt_neox", "falcon", "bloom", "mpt"])
def test_part_of_a_fused_projection_is_refused_and_all_of_it_is_not(model_type: str) -> None:
    mapped = map_tiny(model_type)
    assert len(mapped.select(("q", "k", "v"))) == mapped.block_count
    with pytest.raises(UserError, match="cannot adapt q separately"):
        mapped.select(("q",))
    with pytest.raises(UserError, match="cannot adapt q, v separately"):
        mapped.select(("q", "v", "o"))


def test_gpt2_c_proj_is_told_apart_by_its_place() -> None:
    mapped = map_tiny("gpt2")
    assert {p.pattern for p in mapped.select(("o",))} == {"attn.c_proj"}
    assert {p.pattern for p in mapped.select(("fc2",))} == {"mlp.c_proj"}


class Block(nn.Module):
    def __init__(self, attention: dict[str, nn.Module], feed_forward: dict[str, nn.Module]) -> None:
        super().__init__()
        self.mixer_attention = nn.ModuleDict(attention)
        self.mlp = nn.ModuleDict(feed_forward)


class Model(nn.Module):
    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)
        self.head = nn.Linear(8, 8)


class UnknownConfig(PretrainedConfig):
    model_type = "unheard_of"


def make_model(attention: str, feed_forward: str, blocks: int = 3) -> tuple[nn.Module, Any]:
    def linears(names: str) -> dict[str, nn.Module]:
        return {name: nn.Linear(8, 8) for name in names.split()}

    model = Model([Block(linears(attention), linears(feed_forward)) for _ in range(blocks)])
    return model, UnknownConfig(num_hidden_layers=blocks)


def test_unknown_architecture_is_resolved_where_its_names_are_clear() -> None:
    mapped = map_modules(*make_model("wq wk wv wo", "w1 w3 w2 gate"))
    patterns = {p.pattern: p.roles for p in mapped.inside}
    assert patterns == {
        "mixer_attention.wq": ("q",),
        "mixer_attention.wk": ("k",),
        "mixer_attention.wv": ("v",),
        "mixer_attention.wo": ("o",),
        "mlp.w1": ("fc1",),
        "mlp.w3": ("fc1",),
        "mlp.w2": ("fc2",),
    }


def test_unknown_architecture_is_refused_where_they_are_not() -> None:
    model, config = make_model("wq wk wv mystery", "w1 w2")
    with pytest.raises(UserError) as caught:
        map_modules(model, config)
    message = str(caught.value)
    assert "unheard_of" in message
    assert "mixer_attention.mystery" in message
    assert "\n" not in message
    # Followed literally, the line works.
    advice = re.search(r"model\.roles\.(\w+)='([^']+)'", message)
    assert advice is not None
    assert len(map_modules(model, config, {advice[1]: advice[2]}).select(("o",))) == 3


def test_roles_by_hand_complete_an_ambiguous_architecture() -> None:
    model, config = make_model("wq wk wv mystery", "w1 w2")
    mapped = map_modules(model, config, {"o": "mixer_attention.mystery"})
    assert len(mapped.select(("o",))) == 3
    assert {p.pattern for p in mapped.select(("o",))} == {"mixer_attention.mystery"}


def test_role_by_hand_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match=r"model\.roles\.o is 'self_attn\.nothing'"):
        map_tiny("llama", o="self_attn.nothing")


def test_role_by_hand_wins_over_the_table() -> None:
    mapped = map_tiny("llama", fc1="mlp.up_proj")
    assert {p.pattern for p in mapped.select(("fc1",))} == {"mlp.up_proj"}


def test_a_role_is_taken_where_blocks_have_it() -> None:
    model, config = make_model("wq wk wv wo", "w1 w2")
    del model.layers[1].mixer_attention["wo"]  # type: ignore[operator,index,union-attr]
    mapped = map_modules(model, config)
    chosen = mapped.select(("o",))
    assert [p.block for p in chosen] == [0, 2]
    assert mapped.describe_coverage(chosen) == "2 of 3 blocks"
    assert mapped.list_partial_roles() == ("o_proj in 2 of 3 blocks",)
    with pytest.raises(UserError, match=r"no block among these has o_proj; .* in blocks 0, 2"):
        mapped.select(("o",), "1")


@pytest.mark.parametrize("roles", [("unembed",), ("model",)])
def test_layers_of_what_is_in_no_block_are_refused(roles: tuple[str, ...]) -> None:
    mapped = map_tiny("llama")
    with pytest.raises(UserError, match=r"layers is 0, but .*leave"):
        mapped.select(roles, "0")
    assert mapped.select(("o", "unembed"), "0")


def test_layers_limit_a_set_to_their_blocks() -> None:
    mapped = map_tiny("qwen3_next")
    assert {p.block for p in mapped.select(["all"], "1")} == {1}
    assert len(mapped.select(("fc1",), "0")) == len(mapped.select(("fc1",))) // 2
    with pytest.raises(UserError, match="has 2 blocks, 0 to 1"):
        mapped.select(("fc1",), "0-7")


def test_embeddings_and_head_are_roles_outside_the_blocks() -> None:
    mapped = map_tiny("llama")
    assert [p.path for p in mapped.select(("embed",))] == ["model.embed_tokens"]
    chosen = mapped.select(("all", "unembed"), "0")
    assert {p.block for p in chosen} == {0, OUTSIDE}
    assert "lm_head" in {p.path for p in chosen}
    assert "lm_head" not in {p.path for p in mapped.select(["all"])}


def test_k_alone_of_latent_attention_is_refused_with_the_reason() -> None:
    mapped = map_tiny("deepseek_v3")
    assert len(mapped.select(("k", "v"))) == 2 * mapped.block_count
    with pytest.raises(UserError, match=r"adapt k separately: k, v share one .*kv_a_proj"):
        mapped.select(("k",))


def test_a_role_that_a_fused_kernel_would_skip_is_refused_with_the_reason() -> None:
    mapped = map_tiny("bamba")
    with pytest.raises(UserError, match=r"no mix_out.*reads the weight past an adapter"):
        mapped.select(("mix_out",))
    assert "mix_out" not in {role for p in mapped.select(["all"]) for role in p.roles}


@pytest.mark.parametrize(("model_type", "width"), [("gpt_oss", 96), ("llama4_text", 96)])
def test_experts_that_multiply_from_the_left_have_their_ends_the_right_way(
    model_type: str, width: int
) -> None:
    """64 hidden units; gate and up are one tensor. qwen3_moe stacks them the other way."""
    stacked = {p.pattern.rsplit(".", 1)[-1]: p for p in map_tiny(model_type).inside if p.experts}
    up, down = stacked["gate_up_proj"], stacked["down_proj"]
    assert (up.in_features, up.out_features) == (64, 2 * width)
    assert (down.in_features, down.out_features) == (width, 64)


def test_what_no_role_covers_is_listed() -> None:
    uncovered = {each.pattern: each.count for each in map_tiny("qwen3_next").uncovered}
    assert uncovered == {"model.layers.*.mlp.shared_expert_gate": 2}


@pytest.mark.parametrize("model_type", sorted(EXPECTED))
@pytest.mark.parametrize("roles", [("o",), ("q", "k", "v"), ("o", "fc2"), ("all",)])
def test_short_names_select_the_same_modules_in_peft(
    model_type: str, roles: tuple[str, ...]
) -> None:
    model = load_structure(ModelConfig(source="random", shape=f"tiny-{model_type}")).model
    mapped = map_tiny(model_type)
    if not set(roles) <= {"all", *mapped.roles}:
        pytest.skip("the architecture has no such role")
    chosen = mapped.select(roles)
    modules, stacked = list_targets(chosen)
    names = shorten_paths(model, modules)
    # PEFT takes a pattern where a list of names would not do.
    whole = "|".join(rf".*\b{re.escape(name)}".replace(r"\*", r"\d+") for name in names)
    config = LoraConfig(
        r=2,
        target_modules=whole if any("*" in name for name in names) else list(names),
        target_parameters=list(shorten_paths(model, stacked)) or None,
    )
    with torch.device("meta"):
        wrapped = get_peft_model(model, config).get_base_model()  # type: ignore[arg-type]
    adapted = {
        f"{path.replace('.base_layer', '')}.{name}" if name else path
        for path, module in wrapped.named_modules()
        if isinstance(module, LoraLayer)
        for name in [getattr(module, "parameter_name", None)]
    }
    assert adapted == {*modules, *stacked}


def test_short_names_never_reach_another_tower() -> None:
    tower = nn.ModuleDict({"o_proj": nn.Linear(2, 2), "fc2": nn.Linear(2, 2)})
    text = nn.ModuleDict({"o_proj": nn.Linear(2, 2), "down": nn.Linear(2, 2)})
    model = nn.ModuleDict(
        {"vision": nn.ModuleList([tower]), "text": nn.ModuleList([text]), "fc2": nn.Linear(2, 2)}
    )
    assert shorten_paths(model, ["text.0.down"]) == ("down",)
    assert shorten_paths(model, ["text.0.o_proj"]) == ("text.*.o_proj",)
    assert shorten_paths(model, []) == ()


@pytest.mark.parametrize(
    ("model_type", "roles", "modules", "parameters"),
    [
        ("gpt_neox", ("q", "k", "v", "fc2"), ["query_key_value", "dense_4h_to_h"], None),
        ("qwen3_moe", ("o", "fc1"), ["o_proj"], ["experts.gate_up_proj"]),
    ],
    ids=["partly fused", "stacked experts"],
)
def test_counts_agree_with_peft(
    model_type: str, roles: tuple[str, ...], modules: list[str], parameters: list[str] | None
) -> None:
    """The same count, made by stock PEFT itself."""
    mapped = map_tiny(model_type)
    structure = load_structure(ModelConfig(source="random", shape=f"tiny-{model_type}"))
    config = LoraConfig(r=5, target_modules=modules, target_parameters=parameters)
    with torch.device("meta"):
        wrapped = get_peft_model(structure.model, config)  # type: ignore[arg-type]
    trainable = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert sum(p.count_parameters(5) for p in mapped.select(roles)) == trainable


def test_command_prints_the_table_without_loading_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["model=random", "model.shape=llama-3-8b", "adapter.rank=16"]) == 0
    printed = capsys.readouterr().out
    assert "32 blocks" in printed
    assert "mlp.down_proj" in printed
    # 32 x 16 x (14336 + 4096), the down projections' share.
    assert f"{32 * 16 * (14336 + 4096):,}" in printed


def test_command_gives_one_line_for_an_unknown_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model=random", "model.shape=llama-9"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: model.shape is 'llama-9'")
    assert printed.count("\n") == 1
