"""Several methods in one sweep: packed or alone, timed in one session, and done only once."""

from collections.abc import Callable

import pandas as pd
import pytest
import torch

from harness import load_results
from harness.adapters import requirements
from harness.config.schema import Config
from harness.records.record import read_record
from harness.sweep import run
from harness.sweep.plan import plan_sweep

ConfigMaker = Callable[..., Config]

CASES = {
    "lora": "o_proj",
    "eva": "o_proj",
    "dora": "o_proj",
    "pissa": "o_proj",
    "adalora": "o_proj",
    "bottleneck": "o_proj+fc2",
    "full": "o_proj",
    "prefix": "model",
    "prompt": "model",
}
SMALL = {
    **dict.fromkeys(("prefix", "prompt"), ("adapter.rank=null",)),
    "full": ("adapter.rank=null",),
    "adalora": ("adapter.initial_rank=3",),
    "eva": ("adapter.sample_examples=4",),
}


def make_configs(tiny_config: ConfigMaker) -> dict[str, Config]:
    return {
        method: tiny_config(
            f"adapter={method}",
            f"target_modules={target}",
            "task.train_examples=15",
            *SMALL.get(method, ()),
        )
        for method, target in CASES.items()
    }


def folder(config: Config) -> str:
    return str(config.study_folder / "runs" / config.run_id)


def test_methods_of_one_sweep_are_trained_scored_and_timed_together(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = []
    real = run.time_runs

    def note(base, runs, loaded, progress):  # type: ignore[no-untyped-def]
        sessions.append([run.record.run_id for run in runs])
        real(base, runs, loaded, progress)

    monkeypatch.setattr(run, "time_runs", note)
    configs = make_configs(tiny_config)
    outcomes = run.run_sweep(list(configs.values()))
    assert [(each.status, each.error) for each in outcomes] == [("ok", None)] * len(configs)
    assert sessions == [[config.run_id for config in configs.values()]]

    results = load_results(configs["lora"].study_folder).set_index("method")
    mergeable = results["mergeable"]
    assert not mergeable[["prefix", "prompt", "bottleneck"]].any()
    assert mergeable[["lora", "eva", "dora", "pissa", "adalora", "full"]].all()
    for method, config in configs.items():
        record = read_record(config.study_folder / "runs" / config.run_id)
        assert record.adapter is not None
        assert record.train is not None
        assert record.adapter.trainable_parameters > 0
        assert record.train.seconds > 0
        arms = set(pd.read_parquet(f"{folder(config)}/latency.parquet").arm)
        assert ("merged" in arms) == record.adapter.mergeable
        assert "unmerged" in arms
        # What shares passes was trained together, and the others alone.
        shared = {"lora", "eva"} if method in ("lora", "eva") else {method}
        assert len(record.train.pack) == len(shared)
    assert results.loc["lora", "target_set"] == "o_proj"
    assert results.loc["prefix", "target_set"] == "model"

    sessions.clear()
    assert [each.status for each in run.run_sweep(list(configs.values()))] == ["ok"] * 9
    assert sessions == []


@pytest.mark.slow
def test_scores_of_a_resumed_method_are_those_of_an_undisturbed_one(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was trained is found again on disk, by every method's own way of loading it."""
    methods = ("pissa", "bottleneck", "full", "prefix")
    configs = {name: make_configs(untimed_config)[name] for name in methods}
    run.run_sweep(list(configs.values()))
    whole = {
        name: pd.read_parquet(f"{folder(config)}/examples.parquet")
        for name, config in configs.items()
    }
    for config in configs.values():
        record = read_record(config.study_folder / "runs" / config.run_id)
        assert record.train is not None
    again = {
        name: untimed_config(
            f"adapter={name}",
            f"target_modules={CASES[name]}",
            "task.train_examples=15",
            "study=again",
            *SMALL.get(name, ()),
        )
        for name in methods
    }
    real = run.score

    def broken(runs, **named):  # type: ignore[no-untyped-def]
        raise MemoryError

    monkeypatch.setattr(run, "score", broken)
    run.run_sweep(list(again.values()))
    monkeypatch.setattr(run, "score", real)
    outcomes = run.run_sweep(list(again.values()))
    assert [each.status for each in outcomes] == ["ok"] * len(methods)
    for name, config in again.items():
        resumed = pd.read_parquet(f"{folder(config)}/examples.parquet")
        assert resumed["prediction"].tolist() == whole[name]["prediction"].tolist()


def test_missing_library_is_named_before_anything_trains(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"qlora, which needs bitsandbytes: pip install"):
        requirements.check_method((), tiny_config("adapter=qlora").adapter, 9, "cpu")


def test_loftq_without_a_gpu_says_what_is_possible(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(Exception, match=r"loftq, but PEFT quantizes on a GPU, not on cpu; .*qlora"):
        requirements.check_method((), tiny_config("adapter=loftq").adapter, 9, "cpu")


def test_an_equal_parameter_sweep_trains_what_it_solved(untimed_config: ConfigMaker) -> None:
    budget = ("adapter.budget=equal_params", "adapter.budget_set=all", "adapter.rank=12")
    configs = [
        untimed_config(f"target_modules={name}", *budget)
        for name in ("all", "o_proj", "o_proj+fc2")
    ]
    assert {plan.config.adapter.rank for plan in plan_sweep(configs).variants} == {12}
    run.run_sweep(configs)
    results = load_results(configs[0].study_folder).query("target_set != 'base'")
    parameters = results.set_index("target_set")["trainable_parameters"]
    assert (parameters / parameters["all"] - 1).abs().max() <= 0.02
    assert results["rank"].nunique() == 3
    assert set(results["alpha"] / results["rank"]) == {16 / 12}
