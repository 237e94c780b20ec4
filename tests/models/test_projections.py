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
from harness.config.target_sets import ROLES
from harness.errors import UserError
from harness.models.loading import load_structure
from harness.models.projections import ModuleMap, map_modules, shorten_paths

GATED = {
    "q": {"self_attn.q_proj"},
    "k": {"self_attn.k_proj"},
    "v": {"self_attn.v_proj"},
    "o": {"self_attn.o_proj"},
    "fc1": {"mlp.gate_proj", "mlp.up_proj"},
    "fc2": {"mlp.down_proj"},
}
EXPERTS = {"fc1": {"mlp.experts.gate_up_proj"}, "fc2": {"mlp.experts.down_proj"}}


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
}


def map_tiny(model_type: str, **roles: str) -> ModuleMap:
    structure = load_structure(ModelConfig(source="random", shape=f"tiny-{model_type}"))
    return map_modules(structure.model, structure.config, roles)


@pytest.mark.parametrize("model_type", EXPECTED)
def test_roles_of_each_architecture(model_type: str) -> None:
    mapped = map_tiny(model_type)
    found: dict[str, set[str]] = {}
    for projection in mapped.projections:
        for role in projection.roles:
            found.setdefault(role, set()).add(projection.pattern)
    assert found == EXPECTED[model_type]
    everything = mapped.select(ROLES)
    assert len(everything) == len({p.path for p in everything})
    assert {p.block for p in everything} == set(range(mapped.block_count))
    unwanted = ("lm_head", "embed", "vision", "router", "gate.weight")
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
    patterns = {p.pattern: p.roles for p in mapped.projections}
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
    assert "model.roles.o=" in message
    assert "\n" not in message


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


def test_a_block_that_lacks_a_role_is_an_error() -> None:
    model, config = make_model("wq wk wv wo", "w1 w2")
    del model.layers[1].mixer_attention["wo"]  # type: ignore[operator,index,union-attr]
    mapped = map_modules(model, config)
    mapped.select(("fc1",))
    with pytest.raises(UserError, match="no o in block 1"):
        mapped.select(("o",))


@pytest.mark.parametrize("model_type", sorted(EXPECTED))
@pytest.mark.parametrize("roles", [("o",), ("q", "k", "v"), ("o", "fc2"), ROLES])
def test_short_names_select_the_same_modules_in_peft(
    model_type: str, roles: tuple[str, ...]
) -> None:
    model = load_structure(ModelConfig(source="random", shape=f"tiny-{model_type}")).model
    chosen = map_tiny(model_type).select(roles)
    modules = [p.path for p in chosen if not p.experts]
    stacked = [p.path for p in chosen if p.experts]
    names = shorten_paths(model, modules)
    assert len(names) <= 7
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
