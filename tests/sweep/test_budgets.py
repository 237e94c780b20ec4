"""Ranks solved for parameters or latency, checked by counting what was really trained."""

from dataclasses import replace
from typing import Any

import pytest
from method_cases import QUANTIZED, attach, roles, settings
from tiny_models import load_tiny

from harness.adapters.attach import trainable_parameters
from harness.adapters.counts import count_parameters
from harness.config.catalog import METHODS
from harness.config.schema import AdapterConfig, ModelConfig
from harness.config.target_sets import parse_target_set
from harness.errors import UserError
from harness.models.loading import load_structure
from harness.models.projections import ModuleMap, map_modules
from harness.sweep import budgets
from harness.sweep.budgets import find_latency_rank, resolve_budgets


def map_shape(shape: str) -> ModuleMap:
    structure = load_structure(ModelConfig(source="random", shape=shape))
    return map_modules(structure.model, structure.config)


def solve(mapped: ModuleMap, adapter: AdapterConfig, *sets: str) -> list[AdapterConfig]:
    wanted = [(adapter, mapped.select(parse_target_set(name).roles), name) for name in sets]
    return resolve_budgets(wanted, mapped)


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m not in (*QUANTIZED, "prefix", "prompt")]
)
def test_counted_parameters_are_those_that_are_trained(method: str) -> None:
    loaded, adapter = load_tiny("llama"), settings(method)
    mapped = map_modules(loaded.model, loaded.model.config)
    counted = count_parameters(mapped.select(roles(method)), adapter)
    member = attach(loaded, adapter)
    if method == "eva":
        # It moves ranks between projections of different widths, and keeps their sum.
        drawn = [p.shape[0] for n, p in member.named_parameters() if "lora_A" in n]
        assert adapter.rank is not None
        assert sum(drawn) == adapter.rank * len(mapped.inside)
        return
    trained = sum(p.numel() for p in trainable_parameters(member))
    if method == "lora_fa":
        # A is frozen only once there is an optimizer.
        trained = sum(p.numel() for n, p in member.named_parameters() if "lora_B" in n)
    assert counted == trained


@pytest.mark.parametrize("policy", ["ratio", "fixed", "root"])
def test_equal_parameters_are_equal_within_two_percent(policy: str) -> None:
    mapped = map_shape("llama-3.2-3b")
    adapter = AdapterConfig(
        rank=64, alpha=128.0, budget="equal_params", budget_set="q+v", alpha_policy=policy
    )
    target = count_parameters(mapped.select(("q", "v")), adapter)
    sets = ("q+v", "o_proj", "all")
    for name, solved in zip(sets, solve(mapped, adapter, *sets), strict=True):
        count = count_parameters(mapped.select(parse_target_set(name).roles), solved)
        assert count == pytest.approx(target, rel=0.02)
        assert solved.rank is not None
        expected = {"ratio": 2.0 * solved.rank, "fixed": 128.0, "root": 16.0 * solved.rank**0.5}
        assert solved.alpha == pytest.approx(expected[policy])
    assert solve(mapped, adapter, "q+v")[0].rank == 64


def test_three_billion_model_of_the_literature() -> None:
    """q+v at rank 32 has 9.2M parameters, as all at rank 6 has."""
    mapped = map_shape("llama-3.2-3b")
    adapter = AdapterConfig(rank=32, alpha=64.0, budget="equal_params", budget_set="q+v")
    assert count_parameters(mapped.select(("q", "v")), adapter) == 9_175_040
    assert solve(mapped, adapter, "all")[0].rank == 6


def test_budget_that_no_rank_meets_names_ranks_that_do() -> None:
    mapped = map_shape("llama-3.2-3b")
    adapter = AdapterConfig(rank=32, budget="equal_params", budget_set="q+v")
    with pytest.raises(UserError) as caught:
        solve(mapped, adapter, "q+v", "fc1+fc2", "all")
    line = str(caught.value)
    assert "no rank gives fc1+fc2 the 9,175,040 parameters of q+v at rank 32 within 2%" in line
    assert "the nearest, 10, has 9,461,760" in line
    proposed = line.split("adapter.rank=")[1].split(" every")[0]
    for rank in proposed.split(", "):
        solved = solve(mapped, replace(adapter, rank=int(rank)), "q+v", "fc1+fc2", "all")
        assert all(each.rank for each in solved)


def test_too_few_parameters_are_no_equal_budget_either() -> None:
    """The ranks of fc1+fc2 are far apart, so that some budgets fall just above one of them."""
    mapped = map_shape("llama-3.2-3b")
    wanted, target_set = mapped.select(parse_target_set("fc1+fc2").roles), mapped.select(("q", "v"))
    refused_above = 0
    for rank in range(1, 33):
        adapter = AdapterConfig(rank=rank, budget="equal_params", budget_set="q+v")
        target = count_parameters(target_set, adapter)
        step = count_parameters(wanted, replace(adapter, rank=1))
        below = target // step * step
        if target - below < step / 2 and below < 0.98 * target:
            refused_above += 1
            with pytest.raises(UserError, match="no rank gives fc1"):
                solve(mapped, adapter, "fc1+fc2")
    assert refused_above > 0


def test_adalora_is_budgeted_by_the_ranks_it_ends_with() -> None:
    mapped = map_shape("tiny-llama")
    adapter = replace(settings("adalora"), rank=24, initial_rank=36, budget="equal_params")
    (solved,) = solve(mapped, replace(adapter, budget_set="all"), "o_proj")
    final = replace(solved, initial_rank=solved.rank)
    whole = replace(adapter, initial_rank=24)
    assert count_parameters(mapped.select(("o",)), final) == pytest.approx(
        count_parameters(mapped.select(parse_target_set("all").roles), whole), rel=0.02
    )
    assert solved.initial_rank == pytest.approx(1.5 * (solved.rank or 0), abs=1)


def plant_costs(monkeypatch: pytest.MonkeyPatch, slopes: dict[str, float]) -> None:
    """Ratios 1.02 + slope x rank, known within 0.001, at ranks 4 and 64."""

    def read(path: str) -> dict[int, dict[str, Any]]:
        def cost(rank: int, slope: float) -> Any:
            ratio = 1.02 + slope * rank
            return budgets._Cost(ratio, ratio - 0.001, ratio + 0.001)

        return {rank: {n: cost(rank, s) for n, s in slopes.items()} for rank in (4, 64)}

    monkeypatch.setattr(budgets, "_read_costs", read)


def latency_budget(**changes: Any) -> AdapterConfig:
    values = {"rank": 16, "budget": "equal_latency", "budget_study": "s", "budget_set": "o_proj"}
    return AdapterConfig(**(values | changes))


def test_equal_latency_reads_the_rank_off_the_cost_model(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_costs(monkeypatch, {"o_proj": 0.002, "all": 0.004})
    # o_proj at 16 costs 1.052, and all does at rank 8, or within its interval.
    assert find_latency_rank(latency_budget(), "all") == 8
    assert find_latency_rank(latency_budget(), "o_proj") == 16


def test_the_reference_set_keeps_its_rank_where_latency_hardly_depends_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant_costs(monkeypatch, {"o_proj": 1e-6, "all": 1e-6})
    assert find_latency_rank(latency_budget(), "o_proj") == 16
    assert find_latency_rank(latency_budget(), "all") == 16


def test_equal_latency_that_no_rank_reaches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_costs(monkeypatch, {"o_proj": 0.0001, "all": 0.004})
    with pytest.raises(UserError, match=r"no rank from 4 to 64 makes all take 1\.022 times"):
        find_latency_rank(latency_budget(), "all")
    with pytest.raises(UserError, match="does not cover fc2"):
        find_latency_rank(latency_budget(), "fc2")
