"""Runs of one study that were not made alike: named where names do not tell, and only there."""

from typing import Any

import pandas as pd
from synthetic_study import FIVE

from harness.analysis.mixtures import (
    RECIPE,
    VERSIONS,
    list_environment_mixtures,
    list_recipe_mixtures,
)
from harness.records.record import BASE

ALIKE = {"method": "lora", "rank": 8, "alpha": 16.0, "dropout": 0.0, "learning_rate": 2e-4}


def make_results(*runs: dict[str, Any]) -> pd.DataFrame:
    """Results as load_results returns them, of trained runs that were scored unless said."""
    defaults = {"task": "fincot", "score": 0.5, "train_steps": 60, **ALIKE}
    frame = pd.DataFrame([defaults | {"target_set": run["variant"]} | run for run in runs])
    return frame.reindex(columns=["variant", "target_set", "task", "score", *RECIPE])


def test_sets_that_were_trained_alike_are_no_mixture() -> None:
    base = {"variant": BASE, "rank": 0, "method": "none", "learning_rate": 9.0}
    results = make_results(base, *({"variant": name} for name in FIVE))
    assert list(list_recipe_mixtures(results)) == []
    assert list(list_recipe_mixtures(results.iloc[:0])) == []


def test_each_recipe_is_named_with_its_sets() -> None:
    old = [{"variant": name, "learning_rate": 1e-3, "train_steps": 500} for name in ("qkv", "all")]
    (sentence,) = list_recipe_mixtures(make_results({"variant": "o_proj"}, *old))
    assert sentence == (
        "Target sets were trained with different settings on fincot: learning rate 0.0002, "
        "training steps 60 (o_proj); learning rate 0.001, training steps 500 (all and qkv). Their "
        "scores reflect that difference too."
    )


def test_tasks_that_mix_alike_share_a_sentence() -> None:
    runs = [
        {"variant": name, "task": task, "rank": rank, "alpha": 2.0 * rank}
        for task in ("fincot", "govreport", "medmcqa")
        for name, rank in (("qkv", 8), ("all", 8 if task == "medmcqa" else 16))
    ]
    (sentence,) = list_recipe_mixtures(make_results(*runs))
    assert "on fincot and govreport: rank 8, alpha 16 (qkv); rank 16, alpha 32 (all)." in sentence


def test_what_the_names_tell_was_varied_on_purpose() -> None:
    runs = [
        {"variant": f"{name}, rank {rank}", "target_set": name, "rank": rank, "alpha": 2.0 * rank}
        for name in ("qkv", "all")
        for rank in (8, 16)
    ]
    assert list(list_recipe_mixtures(make_results(*runs))) == []
    odd = runs[0] | {"variant": "fc1, rank 8", "target_set": "fc1", "learning_rate": 1.0}
    (sentence,) = list_recipe_mixtures(make_results(*runs, odd))
    assert "learning rate 1 (fc1, rank 8)" in sentence
    assert "rank 16" not in sentence


def test_runs_without_a_score_mix_nothing() -> None:
    failed = {"variant": "all", "score": None, "train_steps": 3}
    assert list(list_recipe_mixtures(make_results({"variant": "qkv"}, failed))) == []


def test_an_older_record_without_a_setting_is_no_mixture() -> None:
    older = {"variant": "all", "dropout": None}
    assert list(list_recipe_mixtures(make_results({"variant": "qkv"}, older))) == []


def test_only_the_facts_that_differ_are_named() -> None:
    known = dict.fromkeys(VERSIONS, "1") | {"gpu": None}
    empty = dict.fromkeys(VERSIONS)
    alike = pd.DataFrame([known, known, empty])
    assert list(list_environment_mixtures(alike)) == []
    other = known | {"gpu": "H100", "peft": "2"}
    assert list(list_environment_mixtures(pd.DataFrame([known, other, empty]))) == [
        "Runs come from different machines or versions (gpu H100 and none; peft 1 and 2)."
    ]
