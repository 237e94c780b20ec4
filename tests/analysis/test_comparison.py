"""Comparing on what is common: tasks, seeds, examples, and what each omission says."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_study import write_run, write_study

from harness.analysis.comparison import Comparison, compare
from harness.analysis.results import load_examples, load_results
from harness.errors import UserError
from harness.records.record import BASE, ErrorRecord

ERROR = ErrorRecord("RuntimeError", "boom", "Traceback ...")


def compare_study(study: Path) -> Comparison:
    return compare(load_results(study), load_examples(study, texts=False))


def test_means_differences_and_regrets_are_those_of_the_records(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot", "medmcqa"))
    comparison = compare_study(study)
    scores = load_results(study).pivot(index="variant", columns="task", values="score")
    overall = comparison.overall.set_index("variant")
    np.testing.assert_allclose(overall["score"], scores.mean(axis=1)[overall.index])
    np.testing.assert_allclose(
        overall.loc["all", "difference"], (scores.loc["all"] - scores.loc[BASE]).mean()
    )
    # Regret is against one variant, the best over all tasks, also where another is better.
    means = scores.mean(axis=1)
    lost = scores.loc[means.idxmax()] - scores
    by_task = comparison.by_task.pivot(index="variant", columns="task", values="regret")
    np.testing.assert_allclose(by_task, lost.loc[by_task.index, by_task.columns], atol=1e-12)
    np.testing.assert_allclose(overall["mean_regret"], means.max() - means[overall.index])
    np.testing.assert_allclose(overall["worst_regret"], lost.max(axis=1)[overall.index], atol=1e-12)
    assert (lost.loc["qkv"] < 0).any()
    assert comparison.notes == ()
    assert comparison.uncounted == {}
    assert overall["best_probability"].sum() == pytest.approx(1)


def test_bounds_enclose_their_estimates(tmp_path: Path) -> None:
    comparison = compare_study(write_study(tmp_path / "study", tasks=("fincot", "medmcqa")))
    overall = comparison.overall
    for name in ("score", "difference"):
        rows = overall[overall[name].notna()]
        assert (rows[f"{name}_low"] < rows[name]).all()
        assert (rows[name] < rows[f"{name}_high"]).all()
    assert (overall["mean_regret_low"] <= overall["mean_regret"]).all()
    # Equal means may differ by no more than chance, so no bound is its estimate.
    assert (overall["mean_regret"] < overall["mean_regret_high"]).all()
    assert (overall["worst_regret_low"] < overall["worst_regret"]).all()
    best = overall.loc[overall["mean_regret"] == 0, "variant"].item()
    others = comparison.by_task[comparison.by_task["variant"] != best]
    assert (others["regret_low"] < others["regret"]).all()
    assert (others["regret"] < others["regret_high"]).all()


def test_a_set_without_a_task_is_shown_but_has_no_mean(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot", "medmcqa"))
    write_run(study, "o_proj", "fincot", gain=0.3)
    write_run(study, "o_proj", "medmcqa", error=ERROR)
    comparison = compare_study(study)
    row = comparison.overall.set_index("variant").loc["o_proj"]
    assert not row["is_complete"]
    assert math.isnan(row["score"])
    assert math.isnan(row["best_probability"])
    assert (row["tasks"], row["unfinished_runs"]) == (1, 1)
    assert any("o_proj has no scores on medmcqa" in note for note in comparison.notes)
    assert set(comparison.tasks) == {"fincot", "medmcqa"}


def test_where_no_set_has_all_tasks_the_common_ones_count(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for target_set, tasks in (("qkv", ("fincot", "medmcqa")), ("all", ("fincot", "govreport"))):
        for task in tasks:
            write_run(study, target_set, task)
    comparison = compare_study(study)
    assert comparison.tasks == ("fincot",)
    assert comparison.overall["is_complete"].all()
    assert any("compared on the common tasks: fincot" in note for note in comparison.notes)


def test_no_common_task_leaves_nothing_to_compare(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_run(study, "qkv", "fincot")
    write_run(study, "all", "medmcqa")
    comparison = compare_study(study)
    assert comparison.tasks == ()
    assert comparison.overall["score"].isna().all()


def test_nan_scores_leave_their_example_out_of_its_pairs(tmp_path: Path) -> None:
    study = tmp_path / "study"
    values = np.linspace(0, 1, 40)
    holes = values.copy()
    holes[:4] = math.nan
    write_run(study, BASE, "fincot", scores=values)
    write_run(study, "qkv", "fincot", scores=holes)
    comparison = compare_study(study)
    rows = comparison.by_task.set_index("variant")
    assert rows["examples"].to_dict() == {BASE: 40, "qkv": 36}
    assert rows.loc[BASE, "score"] == pytest.approx(values.mean())
    assert rows.loc["qkv", "score"] == pytest.approx(values[4:].mean())
    assert rows.loc["qkv", "difference"] == pytest.approx(0)
    assert comparison.notes == (
        "fincot: 4 of 40 examples lack a score in some run; each pair of sets is compared on the "
        "examples that both have",
    )


def test_a_run_of_nan_scores_is_left_out_and_named(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    write_run(study, "o_proj", "fincot", scores=[math.nan] * 60)
    comparison = compare_study(study)
    rows = comparison.by_task.set_index("variant")
    assert rows.loc["all", "examples"] == 60
    assert math.isnan(rows.loc["o_proj", "score"])
    assert any("o_proj" in note for note in comparison.notes)


def test_other_examples_are_no_comparison(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",), examples=30)
    write_run(study, "o_proj", "fincot", examples=10, ids=[f"x{i}" for i in range(10)])
    comparison = compare_study(study)
    assert any("o_proj (seed 0) has scores for 0%" in note for note in comparison.notes)
    assert comparison.by_task.set_index("variant").loc["qkv", "examples"] == 30


def test_a_missing_seed_leaves_the_other_sets_theirs(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv",), tasks=("fincot",), seeds=(0, 1, 2))
    for seed in (0, 1):
        write_run(study, "all", "fincot", seed=seed)
    comparison = compare_study(study)
    rows = comparison.by_task.set_index("variant")
    assert rows["seeds"].to_dict() == {"all": 2, "base": 1, "qkv": 3}
    scores = load_results(study).groupby("variant")["score"].mean()
    np.testing.assert_allclose(rows["score"], scores[rows.index])
    assert comparison.notes == (
        "fincot: the sets have different seeds, and each is averaged over its own: all has the "
        "fewest (2)",
    )
    assert comparison.seed_count == 2


def test_seeds_that_no_set_shares_are_averaged_apart(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_run(study, "qkv", "fincot", seed=0)
    write_run(study, "all", "fincot", seed=1)
    comparison = compare_study(study)
    assert comparison.by_task["score"].notna().all()
    assert comparison.notes == (
        "fincot: the sets have different seeds, and each is averaged over its own",
    )


def test_more_seeds_widen_an_interval_that_examples_alone_make_narrow(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed, gain in enumerate((0.0, 0.1, 0.2)):
        write_run(study, "qkv", "fincot", seed=seed, scores=np.full(50, 0.5 + gain))
    row = compare_study(study).by_task.iloc[0]
    assert row["score_high"] - row["score_low"] > 0.1


def test_latency_over_tasks_is_the_geometric_mean(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"))
    comparison = compare_study(study)
    ratios = comparison.by_task.set_index("variant").loc["qkv", "end_to_end_ratio"]
    overall = comparison.overall.set_index("variant").loc["qkv"]
    assert overall["end_to_end_ratio"] == pytest.approx(np.exp(np.log(ratios).mean()))
    assert overall["end_to_end_ratio_low"] < overall["end_to_end_ratio"]


def test_latency_counts_only_tasks_that_every_set_was_timed_on(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    write_run(study, BASE, "medmcqa")
    write_run(study, "qkv", "medmcqa", ratio=3.0)
    write_run(study, "all", "medmcqa", rounds=0)
    comparison = compare_study(study)
    assert (comparison.overall["end_to_end_ratio"].dropna() < 1.1).all()
    assert any("mean latency covers fincot" in note for note in comparison.notes)


def test_latency_that_is_not_trusted_counts_nowhere(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot", "medmcqa"))
    results, examples = load_results(study), load_examples(study)
    doubted = results["task"] == "fincot"
    # A verdict that must not be believed, and that would win.
    results.loc[doubted & (results["variant"] == "all"), "end_to_end_ratio"] = 0.2
    results.loc[doubted, "latency_trusted"] = False
    comparison = compare(results, examples)
    by_task = comparison.by_task.set_index(["task", "variant"])
    is_ratio = by_task.columns.str.contains("_ratio")
    is_shown_alone = by_task.columns.str.startswith("untrusted_")
    assert by_task.loc["fincot", is_ratio & ~is_shown_alone].isna().all(axis=None)
    # What was measured can still be seen, under a name that nothing decides by.
    assert by_task.loc[("fincot", "all"), "untrusted_end_to_end_ratio"] == pytest.approx(0.2)
    assert by_task.loc["medmcqa", is_ratio & is_shown_alone].isna().all(axis=None)
    overall = comparison.overall.set_index("variant")
    for name in ("qkv", "all"):
        kept = by_task.loc[("medmcqa", name), "end_to_end_ratio"]
        assert overall.loc[name, "end_to_end_ratio"] == pytest.approx(kept)
    front = comparison.by_task.query("task == 'fincot' and on_front")
    assert set(front["variant"]) <= {BASE}
    assert comparison.latency_doubts == {"qkv": "is untrusted", "all": "is untrusted"}
    assert comparison.notes == (
        "latency on fincot is not used, because its timing is untrusted",
        "mean latency covers medmcqa: not every set was timed on the other tasks",
    )


def test_one_untrusted_session_is_named_and_leaves_the_others(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    results, examples = load_results(study), load_examples(study)
    results.loc[results["variant"] == "all", "latency_trusted"] = False
    results.loc[results["variant"] == "qkv", "latency_trusted"] = True
    comparison = compare(results, examples)
    overall = comparison.overall.set_index("variant")["end_to_end_ratio"]
    assert overall.notna().to_dict() == {"all": False, "base": False, "qkv": True}
    assert comparison.notes == (
        "latency of all on fincot is not used, because its timing is untrusted",
    )


def set_environment(study: Path, runs: str, **facts: object) -> None:
    for path in study.glob(f"runs/{runs}/record.json"):
        record = json.loads(path.read_text())
        record["environment"] |= facts
        path.write_text(json.dumps(record))


def test_timings_of_two_machines_are_not_compared(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    set_environment(study, "*", cpu_count=2, torch="2.9.0")
    assert compare_study(study).overall["end_to_end_ratio"].notna().sum() == 2
    # Another version is another question; the same CPU with more cores is another machine.
    set_environment(study, "*--all--*", torch="2.10.0")
    assert compare_study(study).overall["end_to_end_ratio"].notna().sum() == 2
    set_environment(study, "*--all--*", cpu_count=4)
    comparison = compare_study(study)
    assert comparison.overall["end_to_end_ratio"].isna().all()
    assert comparison.by_task["merged_ttft_ratio_low"].isna().all()
    assert comparison.by_task["score"].notna().all()
    (note,) = comparison.notes
    assert note.startswith("latency is not compared: runs were timed on different machines (")
    assert "cores" in note
    assert {"2", "4"} <= set(re.findall(r"\d+", note))
    assert set(comparison.latency_doubts.values()) == {"was taken on different machines"}


def test_a_machine_that_timed_nothing_is_no_matter(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    write_run(study, "o_proj", "fincot", rounds=0)
    set_environment(study, "*--o_proj--*", cpu="another cpu")
    assert compare_study(study).overall["end_to_end_ratio"].notna().sum() == 2


def test_two_models_are_not_mixed(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_run(study, "qkv", "fincot", model="one")
    write_run(study, "qkv", "fincot", model="two")
    with pytest.raises(UserError, match="model is one and two; compare one at a time"):
        compare_study(study)


def test_other_data_under_the_same_task_is_left_out(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    write_run(study, "o_proj", "fincot")
    results = load_results(study)
    results.loc[results["target_set"] == "o_proj", "source"] = "hub"
    comparison = compare(results, load_examples(study))
    assert math.isnan(comparison.by_task.set_index("variant").loc["o_proj", "score"])
    assert any("differ in metric, scoring or data" in note for note in comparison.notes)


def write_lined_task(study: Path, right: Mapping[str, int]) -> None:
    """MedMCQA with so many right answers of 40 by variant; always A is right 16 times."""
    line = {"majority_prediction": "A", "majority_score": 0.4}
    for name, count in right.items():
        scores = [1.0] * count + [0.0] * (40 - count)
        write_run(study, name, "medmcqa", scores=scores, scored=line)


@pytest.mark.parametrize("above", [None, BASE, "qkv"])
def test_a_task_on_which_nobody_beats_a_constant_answer_takes_no_part(
    tmp_path: Path, above: str | None
) -> None:
    """0.554 is the upper bound of the constant answer's interval: 22 of 40 are not above it."""
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    right = {BASE: 5, "qkv": 22, "all": 10}
    write_lined_task(study, right | ({above: 23} if above else {}))
    comparison = compare_study(study)
    assert set(comparison.by_task["task"]) == {"fincot", "medmcqa"}
    assert comparison.can_decide
    by_task = comparison.by_task.set_index(["task", "variant"])["score"]
    means = by_task.groupby("variant").mean() if above else by_task["fincot"]
    overall = comparison.overall.set_index("variant")["score"]
    np.testing.assert_allclose(overall, means[overall.index])
    assert comparison.tasks == (("fincot", "medmcqa") if above else ("fincot",))
    lacking = {"medmcqa": "no variant is above the majority-class baseline"}
    assert comparison.uncounted == ({} if above else lacking)


def test_where_no_task_counts_all_are_shown_and_none_decides(tmp_path: Path) -> None:
    write_lined_task(tmp_path / "study", {BASE: 5, "qkv": 22, "all": 10})
    write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",), examples=29)
    comparison = compare_study(tmp_path / "study")
    assert comparison.tasks == ("fincot", "medmcqa")
    assert set(comparison.uncounted) == {"fincot", "medmcqa"}
    assert comparison.uncounted["fincot"] == "it has 29 independent examples, and 30 are needed"
    assert not comparison.can_decide
    assert comparison.overall["score"].notna().all()


def test_the_order_of_rows_changes_no_number(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=("fincot", "medmcqa"), seeds=(0, 1))
    results, examples = load_results(study), load_examples(study, texts=False)
    given = compare(results, examples)
    turned = compare(results.iloc[::-1], examples.sample(frac=1, random_state=0))
    for name in ("overall", "by_task"):
        pd.testing.assert_frame_equal(getattr(given, name), getattr(turned, name))
    assert given.notes == turned.notes
