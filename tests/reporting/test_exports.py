import argparse
import dataclasses
import re
import shlex
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from synthetic_study import write_run
from torch import nn

import harness
from harness.config.schema import ModelConfig
from harness.config.target_sets import ROLES
from harness.errors import UserError
from harness.models.loading import load_structure
from harness.models.projections import Projection, list_targets, map_modules, shorten_paths
from harness.records.record import read_record, write_record
from harness.reporting.exports import Export, export_choice

TOOLS = ("PEFT", "LLaMA-Factory", "Axolotl", "torchtune", "vLLM")
TRAINERS = ("PEFT", "LLaMA-Factory", "Axolotl")
LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_results(
    modules: Iterable[str],
    parameters: Iterable[str] = (),
    *,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.05,
) -> pd.DataFrame:
    """The columns of load_results that an export reads, of one run of the set `chosen`."""
    return pd.DataFrame(
        {
            "target_set": ["base", "chosen"],
            "variant": ["base", "chosen"],
            "method": ["none", "lora"],
            "module_names": ["", ",".join(modules)],
            "parameter_names": ["", ",".join(parameters)],
            "rank": [0, rank],
            "alpha": [0.0, alpha],
            "dropout": [dropout, dropout],
        }
    )


def export(*arguments: Any, **settings: Any) -> dict[str, Export]:
    exports = export_choice(make_results(*arguments, **settings), "chosen")
    assert tuple(each.tool for each in exports) == TOOLS
    return {each.tool: each for each in exports}


def read_config(each: Export) -> LoraConfig:
    """The LoraConfig that a tool makes of its text, by the code of its own that reads it."""
    assert each.text is not None
    if each.tool == "PEFT":
        names: dict[str, Any] = {}
        exec(each.text, names)
        return names["config"]
    keys = yaml.safe_load(each.text)
    if each.tool == "LLaMA-Factory":
        targets = [item.strip() for item in keys["lora_target"].split(",")]
        return LoraConfig(
            r=keys["lora_rank"],
            lora_alpha=keys["lora_alpha"],
            lora_dropout=keys["lora_dropout"],
            target_modules=targets,
        )
    return LoraConfig(
        r=keys["lora_r"],
        lora_alpha=keys["lora_alpha"],
        lora_dropout=keys["lora_dropout"],
        target_modules=keys["lora_target_modules"] or [],
        target_parameters=keys.get("lora_target_parameters") or [],
    )


def list_adapted(model: nn.Module) -> dict[str, LoraLayer]:
    """Path of each projection that PEFT wrapped -> its wrapper."""
    adapted = {}
    for path, module in model.named_modules():
        if isinstance(module, LoraLayer):
            parameter = getattr(module, "parameter_name", None)
            clean = path.replace(".base_layer", "")
            adapted[f"{clean}.{parameter}" if parameter else clean] = module
    return adapted


@cache
def name_projections(
    model_type: str, roles: tuple[str, ...]
) -> tuple[tuple[Projection, ...], tuple[str, ...], tuple[str, ...]]:
    """What a set adapts, and how a record names its modules and its parameters."""
    structure = load_structure(ModelConfig(source="random", shape=f"tiny-{model_type}"))
    chosen = map_modules(structure.model, structure.config).select(roles)
    modules, stacked = (shorten_paths(structure.model, each) for each in list_targets(chosen))
    return chosen, modules, stacked


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "phi3", "qwen3_moe", "gemma3"])
@pytest.mark.parametrize("roles", [("o", "fc2"), ("q", "k", "v"), ("fc2",), ROLES])
def test_training_tools_adapt_exactly_what_the_harness_did(
    model_type: str, roles: tuple[str, ...]
) -> None:
    chosen, modules, stacked = name_projections(model_type, roles)
    # PEFT has no dropout on stacked experts, and the harness refuses it.
    dropout = 0.0 if stacked else 0.05
    exports = export(modules, stacked, rank=6, alpha=9.0, dropout=dropout)
    for tool in TRAINERS:
        if exports[tool].text is None:
            continue
        structure = load_structure(ModelConfig(source="random", shape=f"tiny-{model_type}"))
        with torch.device("meta"):
            wrapped = get_peft_model(structure.model, read_config(exports[tool]))
        adapted = list_adapted(wrapped.get_base_model())
        assert set(adapted) == {p.path for p in chosen}
        for layer in adapted.values():
            assert layer.r["default"] == 6
            assert layer.lora_alpha["default"] == 9
            assert getattr(layer.lora_dropout["default"], "p", 0.0) == dropout
    assert exports["PEFT"].text
    assert exports["Axolotl"].text
    is_plain = not stacked and not any("*" in name for name in modules)
    assert (exports["LLaMA-Factory"].text is not None) == is_plain


def test_yaml_has_the_keys_of_each_tool() -> None:
    exports = export(["q_proj", "o_proj"], rank=16, alpha=32.0, dropout=0.1)
    assert yaml.safe_load(exports["LLaMA-Factory"].text or "") == {
        "lora_target": "q_proj,o_proj",
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
    }
    assert yaml.safe_load(exports["Axolotl"].text or "") == {
        "adapter": "lora",
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
        "lora_target_modules": ["q_proj", "o_proj"],
    }
    assert yaml.safe_load(exports["torchtune"].text or "") == {
        "model": {
            "lora_attn_modules": ["q_proj", "output_proj"],
            "apply_lora_to_mlp": False,
            "lora_rank": 16,
            "lora_alpha": 32,
            "lora_dropout": 0.1,
        }
    }
    assert type(yaml.safe_load(exports["Axolotl"].text or "")["lora_alpha"]) is int


def test_stacked_experts_are_named_where_a_tool_can() -> None:
    exports = export(["o_proj"], ["experts.down_proj"], dropout=0.0)
    assert yaml.safe_load(exports["Axolotl"].text or "")["lora_target_parameters"] == [
        "experts.down_proj"
    ]
    for tool in ("LLaMA-Factory", "torchtune"):
        assert exports[tool].text is None
        assert "experts.down_proj" in exports[tool].note
    assert exports["vLLM"].text is None
    assert "--lora-target-modules" in exports["vLLM"].note


def test_a_path_of_stacked_experts_is_no_name() -> None:
    exports = export([], ["text.layers.*.experts.down_proj"], dropout=0.0)
    for each in exports.values():
        assert each.text is None
        assert each.note
    assert "text.layers.*.experts.down_proj" in exports["PEFT"].note


def make_towers() -> nn.Module:
    """Two towers with modules of the same names, and names that come near a pattern."""

    def block(*names: str) -> nn.ModuleDict:
        return nn.ModuleDict({name: nn.Linear(2, 2) for name in names})

    deeper = nn.ModuleDict({"0": nn.ModuleDict({"inner": block("o_proj")})})
    return nn.ModuleDict(
        {
            "text": nn.ModuleList([block("o_proj", "down"), block("o_proj", "down")]),
            "vision": nn.ModuleList([block("o_proj", "slow_down")]),
            "text0": nn.ModuleDict({"0": block("o_proj")}),
            "deep": nn.ModuleDict({"text": nn.ModuleList([block("o_proj")])}),
            "context": deeper,
        }
    )


def test_a_pattern_takes_one_tower_and_nothing_like_it() -> None:
    wanted = [f"text.{block}.{name}" for block in (0, 1) for name in ("o_proj", "down")]
    names = shorten_paths(make_towers(), wanted)
    assert names == ("text.*.o_proj", "down")
    exports = export(names)
    for tool in ("PEFT", "Axolotl"):
        model = inject_adapter_in_model(read_config(exports[tool]), make_towers())
        assert set(list_adapted(model)) == set(wanted)
        assert "regular expression" in exports[tool].note
    for tool in ("LLaMA-Factory", "torchtune"):
        assert exports[tool].text is None
        assert "text.*.o_proj" in exports[tool].note


ODD_NAMES = ["q🙂", 'o"proj', "no", "w\\1", "réseau", "a: b", "q|k+(v)", "1e3", "#down"]


@pytest.mark.parametrize("also", [[], ["text.*.o.proj"]])
def test_names_with_special_characters_arrive_unchanged(also: list[str]) -> None:
    exports = export([*ODD_NAMES, *also])
    for tool in ("PEFT", "Axolotl"):
        targets = read_config(exports[tool]).target_modules
        if not also:
            assert targets == set(ODD_NAMES)
            continue
        assert isinstance(targets, str)
        for name in [*ODD_NAMES, *(f"a.b.{name}" for name in ODD_NAMES), "text.12.o.proj"]:
            assert re.fullmatch(targets, name)
        for name in ["q", "qk", "xno", "text.x.o.proj", "text.1.oxproj", "a.text.1.o.proj"]:
            assert not re.fullmatch(targets, name)
    if not also:
        assert yaml.safe_load(exports["LLaMA-Factory"].text or "")["lora_target"] == ",".join(
            ODD_NAMES
        )
        assert read_flags(exports["vLLM"]).lora_target_modules == ODD_NAMES


def test_numbers_keep_their_type_and_value() -> None:
    exports = export(["o_proj"], rank=8, alpha=12.5, dropout=0.00001)
    config = read_config(exports["PEFT"])
    assert (config.lora_alpha, config.lora_dropout) == (12.5, 1e-5)
    model = yaml.safe_load(exports["torchtune"].text or "")["model"]
    assert (model["lora_alpha"], model["lora_dropout"]) == (12.5, 1e-5)
    for tool in ("LLaMA-Factory", "Axolotl"):
        assert exports[tool].text is None
        assert "12.5" in exports[tool].note


@pytest.mark.parametrize(
    ("modules", "attention", "has_mlp"),
    [
        (LLAMA, ["q_proj", "k_proj", "v_proj", "output_proj"], True),
        (("self_attn.o_proj",), ["output_proj"], False),
        (("v_proj", "up_proj", "down_proj", "gate_proj"), ["v_proj"], True),
    ],
)
def test_torchtune_takes_parts_of_the_attention_and_the_whole_mlp(
    modules: tuple[str, ...], attention: list[str], has_mlp: bool
) -> None:
    model = yaml.safe_load(export(modules)["torchtune"].text or "")["model"]
    assert model["lora_attn_modules"] == attention
    assert model["apply_lora_to_mlp"] is has_mlp


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (("o_proj", "down_proj"), "together, but this set has only down_proj"),
        (("q_proj", "up_proj", "down_proj"), "only up_proj and down_proj"),
        (("gate_proj", "up_proj", "down_proj"), "lora_attn_modules must not be empty"),
        (("qkv_proj",), "not qkv_proj"),
        (("q_proj", "dense"), "not dense"),
    ],
)
def test_torchtune_says_why_it_cannot(modules: tuple[str, ...], reason: str) -> None:
    each = export(modules)["torchtune"]
    assert each.text is None
    assert reason in each.note


def read_flags(each: Export) -> argparse.Namespace:
    """The flags as vLLM's parser takes them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--enable-lora", action="store_true")
    ranks = [1, 8, 16, 32, 64, 128, 256, 320, 512]
    parser.add_argument("--max-lora-rank", type=int, choices=ranks)
    parser.add_argument("--lora-target-modules", nargs="+")
    return parser.parse_args(shlex.split(each.text or ""))


@pytest.mark.parametrize(
    ("modules", "wrapped"),
    [
        (LLAMA, ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]),
        (("v_proj",), ["qkv_proj"]),
        (("qkv_proj", "o_proj"), ["qkv_proj", "o_proj"]),
        (("up_proj", "down_proj"), ["up_proj", "down_proj"]),
        (("mlp.c_proj",), ["c_proj"]),
        (("model.text.layers.*.q_proj", "o_proj"), ["qkv_proj", "o_proj"]),
    ],
)
def test_vllm_goes_by_the_last_part_of_the_names_that_it_runs(
    modules: tuple[str, ...], wrapped: list[str]
) -> None:
    flags = read_flags(export(modules)["vLLM"])
    assert flags.enable_lora
    assert flags.lora_target_modules == wrapped


@pytest.mark.parametrize(("rank", "largest"), [(1, 1), (2, 8), (8, 8), (9, 16), (300, 320)])
def test_vllm_gets_a_largest_rank_that_it_takes(rank: int, largest: int) -> None:
    assert read_flags(export(["o_proj"], rank=rank)["vLLM"]).max_lora_rank == largest


def test_vllm_refuses_ranks_beyond_its_own() -> None:
    each = export(["o_proj"], rank=513)["vLLM"]
    assert each.text is None
    assert "513" in each.note


def write_named_run(study: Path, task: str, **settings: Any) -> None:
    folder = write_run(study, "o_proj+fc2", task)
    record = read_record(folder)
    assert record.adapter is not None
    adapter = dataclasses.replace(record.adapter, **settings)
    record.config["adapter"]["dropout"] = 0.0
    write_record(folder, dataclasses.replace(record, adapter=adapter))


def test_a_study_on_disk_is_exported(tmp_path: Path) -> None:
    write_named_run(tmp_path, "fincot", module_names=("o_proj", "down_proj"))
    write_run(tmp_path, "o_proj+fc2", "medmcqa")  # as an older version wrote it
    exports = export_choice(harness.load_results(tmp_path), "o_proj+fc2")
    assert read_config(exports[0]).target_modules == {"o_proj", "down_proj"}
    assert read_config(exports[0]).lora_alpha == 16


def test_records_without_names_say_what_to_do(tmp_path: Path) -> None:
    write_run(tmp_path, "qkv", "fincot")
    results = harness.load_results(tmp_path).assign(module_names="", parameter_names="")
    exports = export_choice(results, "qkv")
    assert tuple(each.tool for each in exports) == TOOLS
    for each in exports:
        assert each.text is None
        assert "Run it again" in each.note
        assert "adapter_config.json" in each.note


def test_runs_that_differ_are_not_mixed(tmp_path: Path) -> None:
    write_named_run(tmp_path, "fincot", module_names=("o_proj",))
    write_named_run(tmp_path, "medmcqa", module_names=("o_proj",), rank=4)
    for each in export_choice(harness.load_results(tmp_path), "o_proj+fc2"):
        assert each.text is None
        assert "differ in rank." in each.note


@pytest.mark.parametrize("variant", ["base", "all"])
def test_a_variant_without_an_adapter_is_the_users_mistake(variant: str) -> None:
    with pytest.raises(UserError, match=rf"variant '{variant}' .*; pass one of chosen$"):
        export_choice(make_results(["o_proj"]), variant)
    with pytest.raises(UserError, match="pass results with runs of target sets"):
        export_choice(make_results(["o_proj"]).head(1), variant)


def test_the_docs_show_what_is_written() -> None:
    page = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    exports = export(["o_proj", "down_proj"], rank=8, alpha=16.0, dropout=0.0)
    for each in exports.values():
        assert (each.text or each.note) in page


def test_another_method_is_not_written_as_lora(tmp_path: Path) -> None:
    write_named_run(tmp_path, "fincot", module_names=("o_proj",))
    results = harness.load_results(tmp_path).assign(method="dora")
    for each in export_choice(results, "o_proj+fc2"):
        assert each.text is None
        assert "trained with DoRA" in each.note
