"""The rule: what it picks, when it stays undecided, and what it says."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_study import FIVE, write_run, write_study

from harness.analysis.comparison import compare
from harness.analysis.recommendation import Recommendation, decide, recommend, to_json
from harness.analysis.results import COLUMNS, load_examples, load_results
from harness.errors import UserError
from harness.records.record import BASE, ErrorRecord

TWO_TASKS = ("fincot", "medmcqa")


def recommend_study(study: Path, delta: float = 0.02) -> Recommendation:
    return recommend(load_results(study), load_examples(study, texts=False), delta)


def test_the_fastest_good_set_is_chosen(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("qkv", "o_proj+fc2", "all"),
        gains={"qkv": 0.05, "o_proj+fc2": 0.2, "all": 0.2},
        ratios={"qkv": 1.02, "o_proj+fc2": 1.1, "all": 1.3},
        examples=200,
    )
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice) == ("chosen", "o_proj+fc2")
    assert verdict.runners_up == ("all",)
    assert "qkv" not in verdict.candidates
    assert "Provisional: with one seed" in verdict.headline
    assert verdict.what_would_decide is None
    assert any("fastest" in reason for reason in verdict.reasons)


def test_a_set_that_fails_one_task_badly_is_not_chosen(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for task in ("fincot", "medmcqa", "invoice_ocr", "govreport"):
        write_run(study, BASE, task, examples=300)
        gain = 0.146 if task == "fincot" else 0.2
        write_run(study, "qkv", task, gain=gain, ratio=1.01, examples=300)
        write_run(study, "all", task, gain=0.2, ratio=1.3, examples=300)
    verdict = recommend_study(study)
    qkv = next(each for each in verdict.inputs if each.variant == "qkv")
    assert qkv.mean_regret_high < 0.02 < 0.04 < qkv.worst_regret_low
    assert verdict.choice == "all"


def test_few_examples_stay_undecided_and_say_what_would_decide(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        gains=dict.fromkeys(FIVE, 0.2),
        tasks=TWO_TASKS,
        examples=12,
    )
    verdict = recommend_study(study, delta=0.005)
    assert (verdict.verdict, verdict.choice) == ("undecided", None)
    assert set(verdict.candidates) <= set(FIVE)
    assert verdict.candidates
    assert verdict.what_would_decide is not None
    assert "At a tolerance of" in verdict.what_would_decide
    assert any("Few examples" in caveat for caveat in verdict.caveats)


def test_the_delta_it_names_would_decide(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=TWO_TASKS, examples=12)
    text = recommend_study(study, delta=0.001).what_would_decide
    assert text is not None
    delta = float(text.split("At a tolerance of ")[1].split(",")[0])
    assert recommend_study(study, delta=delta).verdict == "chosen"


def test_latency_that_does_not_separate_leaves_size_to_decide(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("o_proj+fc1+fc2", "qkv"),
        gains={"o_proj+fc1+fc2": 0.2, "qkv": 0.2},
        ratios={"o_proj+fc1+fc2": 1.05, "qkv": 1.05},
        tasks=TWO_TASKS,
        examples=300,
    )
    verdict = recommend_study(study)
    assert verdict.choice == "qkv"
    assert any("Latency does not separate" in reason for reason in verdict.reasons)


def test_without_latency_size_decides_and_it_says_so(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("o_proj+fc2", "all"),
        gains={"o_proj+fc2": 0.2, "all": 0.2},
        tasks=TWO_TASKS,
        examples=300,
        rounds=0,
    )
    verdict = recommend_study(study)
    assert verdict.choice == "all"
    assert any("not measured" in reason for reason in verdict.reasons)
    assert "Latency was not measured for any target set." in verdict.caveats


def doubt_timing(results: pd.DataFrame, variants: tuple[str, ...]) -> pd.DataFrame:
    hit = results["variant"].isin(variants)
    results.loc[hit, "latency_trusted"] = False
    return results.assign(latency_distrust=hit.map({True: "the base is not the base", False: None}))


def test_latency_that_is_not_trusted_decides_nothing(tmp_path: Path) -> None:
    """The leader by untrusted times is the larger set; size decides instead."""
    study = write_study(
        tmp_path / "study",
        sets=("o_proj+fc2", "all"),
        gains={"o_proj+fc2": 0.2, "all": 0.2},
        ratios={"o_proj+fc2": 1.01, "all": 1.4},
        tasks=TWO_TASKS,
        examples=300,
    )
    examples = load_examples(study, texts=False)
    assert recommend(load_results(study), examples).choice == "o_proj+fc2"
    results = doubt_timing(load_results(study), ("o_proj+fc2", "all"))
    verdict = recommend(results, examples)
    assert verdict.choice == "all"
    assert any("Latency is untrusted, so size decides" in each for each in verdict.reasons)
    assert "end-to-end time" not in verdict.headline
    assert all(math.isnan(each.end_to_end_ratio) for each in verdict.inputs)
    assert "Timing is untrusted. fincot: the base is not the base." in verdict.caveats
    assert not any("was not measured" in caveat for caveat in verdict.caveats)


def test_a_set_whose_latency_is_not_trusted_is_named(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("qkv", "all"),
        gains={"qkv": 0.2, "all": 0.2},
        tasks=TWO_TASKS,
        examples=300,
    )
    results = doubt_timing(load_results(study), ("all",))
    verdict = recommend(results, load_examples(study, texts=False))
    assert verdict.choice == "qkv"
    (reason,) = (each for each in verdict.reasons if "with usable latency" in each)
    assert reason.endswith("The latency of all is untrusted.")


def test_no_skill_is_said_plainly(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study", gains=dict.fromkeys(FIVE, -0.02), tasks=TWO_TASKS, examples=200
    )
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice) == ("no skill", None)
    assert verdict.headline.startswith("No gain over the base: ")


def test_equal_scores_are_no_skill(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for target_set in (BASE, "qkv", "all"):
        write_run(study, target_set, "fincot", scores=np.full(40, 0.5))
    assert recommend_study(study).verdict == "no skill"


def test_a_missing_base_is_a_caveat(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=TWO_TASKS, examples=200, base=False)
    verdict = recommend_study(study)
    assert verdict.verdict == "chosen"
    assert any("base was not scored" in caveat for caveat in verdict.caveats)


def test_one_set_is_no_choice(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv",), tasks=TWO_TASKS)
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice) == ("undecided", None)
    assert "fewer than two target sets" in verdict.headline


def test_one_example_never_decides(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for target_set, score in ((BASE, 0.0), ("qkv", 0.5), ("all", 1.0)):
        write_run(study, target_set, "fincot", scores=[score])
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice) == ("undecided", None)
    assert set(verdict.candidates) == {"qkv", "all"}


def test_only_base_or_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "study", BASE, "fincot")
    assert recommend_study(tmp_path / "study").verdict == "undecided"
    results, examples = load_results(tmp_path / "study"), load_examples(tmp_path / "study")
    assert recommend(results.iloc[:0], examples.iloc[:0]).verdict == "undecided"


def test_a_failed_set_is_named_and_not_chosen(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study", sets=("qkv", "all"), gains={"qkv": 0.2, "all": 0.2}, tasks=TWO_TASKS
    )
    error = ErrorRecord("FloatingPointError", "loss is nan\nat step 3", "Traceback ...")
    write_run(study, "o_proj", "fincot", gain=0.5, ratio=1.0)
    write_run(study, "o_proj", "medmcqa", error=error)
    verdict = recommend_study(study, delta=0.4)
    assert verdict.choice in ("qkv", "all")
    assert verdict.failures == (
        "o_proj on medmcqa (seed 0) failed: FloatingPointError: loss is nan",
    )
    assert "o_proj" not in verdict.candidates


def test_several_seeds_are_not_provisional(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("qkv", "all"),
        gains={"qkv": 0.1, "all": 0.2},
        tasks=TWO_TASKS,
        seeds=(0, 1, 2),
        examples=100,
    )
    verdict = recommend_study(study)
    assert verdict.choice == "all"
    assert "Provisional" not in verdict.headline
    assert any(caveat.endswith("estimated from 3 seeds.") for caveat in verdict.caveats)


def test_worse_than_base_on_a_task_is_a_caveat(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for task, gain in (("fincot", 0.2), ("medmcqa", -0.2)):
        write_run(study, BASE, task, examples=200)
        write_run(study, "qkv", task, gain=gain, ratio=1.01, examples=200)
        write_run(study, "all", task, gain=gain, ratio=1.2, examples=200)
    verdict = recommend_study(study)
    assert verdict.verdict == "chosen"
    assert any("below the base on medmcqa" in caveat for caveat in verdict.caveats)


def test_stand_ins_are_a_caveat(tmp_path: Path) -> None:
    verdict = recommend_study(write_study(tmp_path / "study", tasks=("govreport",)))
    assert any("Multi-LexSum stands in for GovReport" in caveat for caveat in verdict.caveats)


@pytest.mark.parametrize("delta", [0, -0.1, math.nan, math.inf])
def test_a_bad_delta_is_refused(tmp_path: Path, delta: float) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    with pytest.raises(UserError, match="expected a positive number"):
        recommend_study(study, delta=delta)


def test_json_is_strict_and_complete(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=("fincot",), rounds=0)
    verdict = recommend_study(study)
    values = json.loads(to_json("study", [verdict]), parse_constant=pytest.fail)
    assert values["choice"] == verdict.choice
    (model,) = values["models"]
    expected = {"choice", "rule", "delta", "inputs", "reasons", "candidates", "runners_up"}
    assert expected | {"failures", "caveats"} <= set(model)
    assert model["inputs"][0]["end_to_end_ratio"] is None


@pytest.mark.parametrize("count", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_planted_truth_is_found_and_a_worse_set_is_not_chosen(count: int) -> None:
    """A set that is worse by far more than delta is next to never chosen, though it is faster."""
    rng = np.random.default_rng(0)
    chosen = [simulate_choice(rng, gap=0.1) for _ in range(count)]
    assert chosen.count("slow") >= count - max(1, count // 12)
    assert "fast" not in chosen


def simulate_choice(rng: np.random.Generator, gap: float) -> str | None:
    ids = [f"e{index}" for index in range(80)]
    rows, examples = [], []
    for task in TWO_TASKS:
        shared = rng.normal(0.5, 0.1, 80)
        arms = {BASE: (-0.2, math.nan, 0), "slow": (0.0, 1.3, 2), "fast": (-gap, 1.05, 1)}
        for name, (shift, ratio, size) in arms.items():
            run_id = f"{task}-{name}"
            scores = shared + shift + rng.normal(0, 0.04, 80)
            values = dict.fromkeys(("source", "dataset", "split", "metric", "model", "study"), "x")
            rows.append(
                values
                | dict(zip(("run_id", "task", "status"), (run_id, task, "ok"), strict=True))
                | dict.fromkeys(("variant", "target_set"), name)
                | dict.fromkeys(("end_to_end_ratio_low", "end_to_end_ratio_high"), ratio)
                | {"end_to_end_ratio": ratio, "trainable_parameters": size}
                | {"seed": 0, "score": scores.mean()}
            )
            table = {"run_id": run_id, "task": task, "id": ids, "score": scores}
            examples.append(pd.DataFrame(table))
    results = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    comparison = compare(results, pd.concat(examples), resamples=500)
    return decide(comparison, results).choice
