"""The rule: what it picks, when it stays undecided, and what it says."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from score_tables import make_tables
from synthetic_study import FIVE, write_run, write_study

from harness.analysis.comparison import compare
from harness.analysis.ranking import compare_pairs
from harness.analysis.results import load_examples, load_results
from harness.analysis.studies.study_comparison import compare_studies
from harness.analysis.verdict.decision import BALANCED, leave_tasks_out
from harness.analysis.verdict.recommendation import Recommendation, decide, recommend, to_json
from harness.cli.compare import main as studies_main
from harness.cli.report import main as report_main
from harness.errors import UserError
from harness.formatting import UNKNOWN
from harness.records.record import BASE, ErrorRecord
from harness.reporting.plots.regret_plot import plot_regret
from harness.reporting.report_tables import make_certainty_table
from harness.reporting.study_report import build_report

TWO_TASKS = ("fincot", "medmcqa")
SEEDS = (0, 1)


def recommend_study(study: Path, delta: float = 0.02) -> Recommendation:
    return recommend(load_results(study), load_examples(study, texts=False), delta)


def test_the_fastest_good_set_is_chosen(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("qkv", "o_proj+fc2", "all"),
        gains={"qkv": 0.05, "o_proj+fc2": 0.2, "all": 0.2},
        ratios={"qkv": 1.02, "o_proj+fc2": 1.1, "all": 1.3},
        seeds=SEEDS,
        examples=200,
    )
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice) == ("chosen", "o_proj+fc2")
    assert verdict.if_today == "o_proj+fc2"
    assert verdict.runners_up == ("all",)
    assert set(verdict.candidates) == {"o_proj+fc2", "all"}
    (own,) = (each for each in verdict.inputs if each.variant == "o_proj+fc2")
    assert verdict.headline.startswith(
        f"Recommended: o_proj+fc2. Its mean score over 4 tasks is {own.score:.3f}, a gain of "
        f"{own.difference:+.3f} ("
    )
    assert "Unmerged, it takes 1.10 times the base's end-to-end time." in verdict.headline
    assert verdict.what_would_decide is None
    assert any("fastest" in reason for reason in verdict.reasons)


def test_a_set_that_fails_one_task_badly_is_not_chosen(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for task in ("fincot", "medmcqa", "invoice_ocr", "govreport"):
        write_run(study, BASE, task, examples=400)
        gain = 0.15 if task == "fincot" else 0.2
        for seed in SEEDS:
            write_run(study, "qkv", task, seed=seed, gain=gain, ratio=1.01, examples=400)
            write_run(study, "all", task, seed=seed, gain=0.2, ratio=1.3, examples=400)
    verdict = recommend_study(study)
    qkv = next(each for each in verdict.inputs if each.variant == "qkv")
    # By its mean alone it would qualify, and be the fastest.
    assert qkv.mean_regret_high < 0.02 < 0.04 < qkv.worst_regret
    assert qkv.worst_task == "fincot"
    assert verdict.choice == "all"


def test_a_small_study_stays_undecided_and_says_what_would_decide(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        gains=dict.fromkeys(FIVE, 0.2),
        tasks=TWO_TASKS,
        seeds=SEEDS,
        examples=40,
    )
    verdict = recommend_study(study, delta=0.005)
    assert (verdict.verdict, verdict.choice) == ("undecided", None)
    assert set(verdict.candidates) <= set(FIVE)
    assert verdict.if_today in verdict.candidates
    assert f"If you must choose today: {verdict.if_today}, which is within" in verdict.headline
    assert verdict.what_would_decide is not None
    assert "At a tolerance of" in verdict.what_would_decide
    assert not any("Few examples" in caveat for caveat in verdict.caveats)


def test_tasks_of_few_examples_decide_nothing_however_clear(tmp_path: Path) -> None:
    study = write_study(
        *(tmp_path / "study", ("qkv", "all"), TWO_TASKS),
        gains={"qkv": 0.0, "all": 0.5},
        seeds=SEEDS,
        examples=29,
    )
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice, verdict.if_today) == ("undecided", None, "all")
    assert verdict.headline.startswith("Undecided, because the study is too small: no task has 30")
    assert verdict.headline.endswith(
        "If you must choose today: all, which has the highest mean so far; no task counts for the "
        "verdict, so no chance is given."
    )
    assert "%" not in verdict.headline
    assert all(math.isnan(each.near_probability) for each in verdict.inputs)
    comparison = compare(load_results(study), load_examples(study))
    assert all(
        row[1:3] == (UNKNOWN, UNKNOWN) for row in make_certainty_table(comparison, 0.02).rows
    )
    for task in TWO_TASKS:
        why = "it has 29 independent examples, and 30 are needed"
        assert f"{task} takes no part in the verdict: {why}." in verdict.reasons
    assert "at least 30 test examples a task" in str(verdict.what_would_decide)
    (caveat,) = (each for each in verdict.caveats if "Few examples" in each)
    assert caveat.startswith("Few examples (fincot 29 and medmcqa 29)")
    assert {row["choice"] for row in (*verdict.by_profile, *verdict.by_delta)} == {None}


def test_the_delta_it_names_would_decide(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=TWO_TASKS, seeds=SEEDS, examples=40)
    text = recommend_study(study, delta=0.001).what_would_decide
    assert text is not None
    delta = float(text.split("At a tolerance of ")[1].split(",")[0])
    name = text.split(f"{delta:g}, ")[1].split(" would qualify")[0]
    verdict = recommend_study(study, delta=delta)
    assert verdict.verdict == "chosen"
    assert name in (verdict.choice, *verdict.runners_up)
    # It is rounded up, and to two digits only.
    assert recommend_study(study, delta=0.9 * delta).verdict == "undecided"


def test_latency_that_does_not_separate_leaves_size_to_decide(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("o_proj+fc1+fc2", "qkv"),
        gains={"o_proj+fc1+fc2": 0.2, "qkv": 0.2},
        ratios={"o_proj+fc1+fc2": 1.05, "qkv": 1.05},
        tasks=TWO_TASKS,
        seeds=SEEDS,
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
        seeds=SEEDS,
        examples=300,
        rounds=0,
    )
    verdict = recommend_study(study)
    assert verdict.choice == "all"
    assert " Its latency was not measured, so the smallest set that qualifies was taken." in (
        verdict.headline
    )
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
        seeds=SEEDS,
        examples=300,
    )
    examples = load_examples(study, texts=False)
    assert recommend(load_results(study), examples).choice == "o_proj+fc2"
    results = doubt_timing(load_results(study), ("o_proj+fc2", "all"))
    verdict = recommend(results, examples)
    assert verdict.choice == "all"
    assert any("Latency is untrusted, so size decides" in each for each in verdict.reasons)
    assert "end-to-end time" not in verdict.headline
    ratios = {each.variant: each.end_to_end_ratio for each in verdict.inputs}
    assert ratios.pop(BASE) == 1.0
    assert all(map(math.isnan, ratios.values()))
    assert "Timing is untrusted. fincot: the base is not the base." in verdict.caveats
    assert not any("was not measured" in caveat for caveat in verdict.caveats)


def test_a_set_whose_latency_is_not_trusted_is_named(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("qkv", "all"),
        gains={"qkv": 0.2, "all": 0.2},
        tasks=TWO_TASKS,
        seeds=SEEDS,
        examples=300,
    )
    results = doubt_timing(load_results(study), ("all",))
    verdict = recommend(results, load_examples(study, texts=False))
    assert verdict.choice == "qkv"
    (reason,) = (each for each in verdict.reasons if "with usable latency" in each)
    assert reason.endswith("The latency of all is untrusted.")


def test_training_that_is_not_worth_it_is_said_plainly(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("qkv", "all"),
        gains={"qkv": -0.02, "all": 0.003},
        tasks=TWO_TASKS,
        seeds=SEEDS,
        examples=400,
    )
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice, verdict.if_today) == ("train nothing", BASE, BASE)
    inputs = {each.variant: each for each in verdict.inputs}
    high, gain = inputs[BASE].mean_regret_high, inputs["all"].difference
    assert verdict.headline.startswith(
        "Train nothing with this recipe: with 95% confidence, no target set gains more than "
        f"{high:.3f} over the base in mean score over 2 tasks (tolerance: 0.02). The highest, all, "
        f"gains {gain:+.3f} ("
    )
    assert verdict.what_would_decide is None
    assert any(
        each.startswith("base is within the tolerance. Mean score lost: ")
        for each in verdict.reasons
    )
    assert "Without any one task: still train nothing." in verdict.what_would_flip_it


@pytest.mark.parametrize(("count", "expected"), [(40, "undecided"), (1000, "train nothing")])
def test_equal_scores_on_many_examples_are_worth_no_training(
    tmp_path: Path, count: int, expected: str
) -> None:
    study = tmp_path / "study"
    write_run(study, BASE, "fincot", scores=np.full(count, 0.5))
    for target_set in ("qkv", "all"):
        for seed in SEEDS:
            write_run(study, target_set, "fincot", seed=seed, scores=np.full(count, 0.5))
    assert recommend_study(study).verdict == expected


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (-0.1, r"The highest, q, loses 0\.100 \(0\.09\d to 0\.10\d\)\."),
        (-0.002, r"The highest, q, loses 0\.002 \(a gain of 0\.00\d to a loss of 0\.00\d\)\."),
        (0.002, r"The highest, q, gains \+0\.002 \(-0\.00\d to \+0\.00\d\)\."),
    ],
)
def test_a_loss_is_called_a_loss_and_has_the_interval_of_one(gain: float, words: str) -> None:
    change = np.random.default_rng(0).normal(0, 0.1, (1, 2000)).clip(-0.3, 0.3)
    change += gain - change.mean()
    scores = {BASE: np.full((1, 2000), 0.5)}
    scores |= {"q": np.repeat(0.5 + change, 2, axis=0), "k": np.full((2, 2000), 0.3)}
    verdict = recommend(*make_tables({"t": scores}))
    assert verdict.verdict == "train nothing"
    assert re.search(words, verdict.headline), verdict.headline


def test_no_difference_of_shares_reaches_beyond_1() -> None:
    """As it did from few examples: a gain of up to +1.028."""
    own = np.tile([1.0, 1.0, 1.0, 0.0], 8)
    scores = {"t": {BASE: np.zeros((1, 8)), "q": np.ones((2, 8)), "k": np.array([own[:8]] * 2)}}
    comparison = compare(*make_tables(scores))
    found = comparison.scores.compare("q", BASE)
    assert found is not None
    assert found.value + found.reach(0.025) > 1
    rows = comparison.by_task.set_index("variant")
    assert rows.loc["q", "difference_high"] == 1.0
    assert rows.loc[BASE, "regret_high"] == 1.0
    for name in ("difference_high", "mean_regret_high"):
        assert comparison.overall[name].max() == 1.0
    assert compare_pairs(comparison.scores)["high"].max() <= 1.0
    # Scores that are no shares may differ by more.
    percent = {"t": {name: 100 * table for name, table in scores["t"].items()}}
    wide = compare(*make_tables(percent)).by_task.set_index("variant")
    assert wide.loc["q", "difference_high"] > 100


def test_a_missing_base_is_a_caveat(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=TWO_TASKS, seeds=SEEDS, examples=300, base=False)
    verdict = recommend_study(study)
    assert verdict.verdict == "chosen"
    assert " a gain of" not in verdict.headline
    assert any("base was not scored" in caveat for caveat in verdict.caveats)


def test_one_set_is_no_choice_and_against_the_base_is_one(tmp_path: Path) -> None:
    study = write_study(
        *(tmp_path / "study", ("qkv",), TWO_TASKS), seeds=SEEDS, examples=300, base=False
    )
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice) == ("undecided", None)
    assert verdict.headline == (
        "Undecided: only qkv has scores, so there is nothing to compare it with."
    )
    for task in TWO_TASKS:
        write_run(study, BASE, task, examples=300)
    assert recommend_study(study).choice == "qkv"


def test_one_example_never_decides(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_run(study, BASE, "fincot", scores=[0.0])
    for target_set, score in (("qkv", 0.5), ("all", 1.0)):
        for seed in SEEDS:
            write_run(study, target_set, "fincot", seed=seed, scores=[score])
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice, verdict.runners_up) == ("undecided", None, ())
    assert set(verdict.candidates) == {BASE, "qkv", "all"}
    assert verdict.reasons == (
        "fincot takes no part in the verdict: it has 1 independent example, and 30 are needed.",
        "No task is left that counts.",
    )
    plain = verdict.to_dict()
    assert all(each["mean_regret_high"] is None for each in plain["inputs"])
    assert {row["choice"] for row in (*verdict.by_profile, *verdict.by_delta)} == {None}


def test_only_base_or_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "study", BASE, "fincot", gain=0.1)
    verdict = recommend_study(tmp_path / "study")
    assert (verdict.verdict, verdict.headline) == (
        "undecided",
        "Undecided: only the base has scores, so there is no target set to recommend.",
    )
    assert verdict.what_would_decide == "Run at least two target sets."
    assert verdict.reasons == (
        "fincot takes no part in the verdict: no target set has scores on it.",
        "Only the base has scores, so there is no target set to recommend.",
    )
    assert not any("base was not scored" in each for each in verdict.caveats)
    (own,) = verdict.inputs
    score = load_results(tmp_path / "study")["score"].iloc[0]
    assert own.score == pytest.approx(score)
    build_report(tmp_path / "study")
    results, examples = load_results(tmp_path / "study"), load_examples(tmp_path / "study")
    nothing = recommend(results.iloc[:0], examples.iloc[:0])
    assert nothing.headline == "Undecided: no run has a score."


def test_sets_that_each_lack_a_task_are_said_to(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), TWO_TASKS, seeds=SEEDS, examples=300)
    for name, task in (("qkv", "fincot"), ("all", "medmcqa")):
        for seed in SEEDS:
            (folder,) = study.glob(f"runs/tiny--{task}--{name}--lora--s{seed}--*")
            shutil.rmtree(folder)
    verdict = recommend_study(study)
    gap = "no task has scores for every target set, so they cannot be compared."
    assert verdict.headline == f"Undecided: {gap}"
    assert verdict.reasons == (f"N{gap[1:]}",)
    assert (
        "No task has scores of every target set: all lacks medmcqa; qkv lacks fincot."
        in verdict.caveats
    )
    assert not any("base" in each and "no score" in each for each in verdict.caveats)
    build_report(study)
    page = (study / "report.md").read_text()
    assert "ruled out" not in page
    assert "lacks a task" in page


def test_one_set_alone_with_every_task_is_no_choice(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study", ("all",), TWO_TASKS, seeds=SEEDS, examples=300, base=False
    )
    write_study(study, ("qkv",), TWO_TASKS[:1], seeds=SEEDS, examples=300, base=False)
    assert recommend_study(study).headline == (
        "Undecided: only all has scores on every task, and a choice among one is none."
    )


def test_a_failed_set_is_named_and_not_chosen(tmp_path: Path) -> None:
    study = write_study(
        *(tmp_path / "study", ("qkv", "all"), TWO_TASKS),
        gains={"qkv": 0.2, "all": 0.2},
        seeds=SEEDS,
        examples=300,
    )
    error = ErrorRecord("FloatingPointError", "loss is nan\nat step 3", "Traceback ...")
    for seed in SEEDS:
        write_run(study, "o_proj", "fincot", seed=seed, gain=0.2, ratio=1.0, examples=300)
    write_run(study, "o_proj", "medmcqa", error=error)
    verdict = recommend_study(study)
    assert verdict.choice == "qkv"
    assert verdict.failures == (
        "o_proj on medmcqa (seed 0) failed: FloatingPointError: loss is nan",
    )
    assert "o_proj" not in verdict.candidates


def test_a_set_that_failed_everywhere_is_a_caveat_with_its_reason(tmp_path: Path) -> None:
    study = write_study(
        *(tmp_path / "study", ("qkv", "all"), TWO_TASKS),
        gains={"qkv": 0.2, "all": 0.2},
        seeds=SEEDS,
        examples=300,
    )
    error = ErrorRecord("OutOfMemoryError", "tried to allocate 2 GiB\nmore", "Traceback ...")
    other = ErrorRecord("ValueError", "loss is nan", "Traceback ...")
    for task in TWO_TASKS:
        write_run(study, "o_proj", task, error=error)
        write_run(study, "fc1", task, error=error if task == "fincot" else other)
    verdict = recommend_study(study)
    assert verdict.choice == "qkv"
    reason = "Its runs ended like this: failed: OutOfMemoryError: tried to allocate 2 GiB"
    o_proj, fc1 = (
        next(each for each in verdict.caveats if each.startswith(f"{name} has no score on any"))
        for name in ("o_proj", "fc1")
    )
    assert o_proj.endswith(f"{reason}.")
    assert fc1.endswith("(and 1 more; see the failures).")
    assert not any(each.startswith("all has no score") for each in verdict.caveats)


def test_several_seeds_are_named_where_seed_noise_is_estimated(tmp_path: Path) -> None:
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
    assert "seed" not in verdict.headline
    assert any(caveat.endswith("estimated from 3 seeds.") for caveat in verdict.caveats)


def test_worse_than_base_on_a_task_is_a_caveat(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for task, gain in (("fincot", 0.3), ("medmcqa", -0.05)):
        write_run(study, BASE, task, examples=400)
        for seed in SEEDS:
            write_run(study, "qkv", task, seed=seed, gain=gain, ratio=1.01, examples=400)
            write_run(study, "all", task, seed=seed, gain=gain, ratio=1.2, examples=400)
    verdict = recommend_study(study)
    assert (verdict.verdict, verdict.choice) == ("chosen", "qkv")
    assert any("below the base on medmcqa" in caveat for caveat in verdict.caveats)


def test_stand_ins_are_a_caveat(tmp_path: Path) -> None:
    verdict = recommend_study(write_study(tmp_path / "study", tasks=("govreport",)))
    assert any("Multi-LexSum stands in for GovReport" in caveat for caveat in verdict.caveats)


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        (0, "is 0; .*nothing at all is lost"),
        (-0.1, "is -0.1; "),
        (math.nan, "is nan; "),
        (math.inf, "is inf; "),
        (1, "is 1; .*1% is 0.01"),
        (2.0, "is 2.0; .*2% is 0.02"),
        ("0.02", "is 0.02; "),
    ],
)
def test_a_tolerance_that_makes_no_sense_is_refused_wherever_it_is_given(
    tmp_path: Path, delta: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",), seeds=SEEDS)
    results, examples = load_results(study), load_examples(study)
    comparison = compare(results, examples)
    for give in (
        lambda: recommend(results, examples, delta),
        lambda: decide(comparison, results, delta),
        lambda: leave_tasks_out(comparison, delta, BALANCED),
        lambda: plot_regret(comparison, delta),
        lambda: build_report(study, delta),
        lambda: compare_studies([study, study], delta),
    ):
        with pytest.raises(UserError, match=rf"the tolerance \(delta\) {words}") as refused:
            give()
        assert len(str(refused.value).splitlines()) == 1
    if not isinstance(delta, str):
        assert report_main([str(study), f"--delta={delta}"]) == 2
        assert studies_main([str(study), str(study), f"--delta={delta}"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2
        assert all(line.startswith("error: the tolerance (delta) is ") for line in lines)
    # It was refused before anything was looked at.
    assert {path.name for path in study.iterdir()} == {"runs"}


def test_a_tolerance_beyond_all_scores_is_not_offered(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for name, scores in ((BASE, [0.0] * 30), ("qkv", [0.0, 1.0] * 15), ("all", [1.0, 0.0] * 15)):
        for seed in (0,) if name == BASE else SEEDS:
            write_run(study, name, "fincot", seed=seed, scores=scores)
    verdict = recommend_study(study)
    assert all(row["delta_from"] < 1 for row in verdict.by_delta)


def test_json_is_strict_and_complete(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=("fincot",), rounds=0)
    verdict = recommend_study(study)
    values = json.loads(to_json("study", [verdict]), parse_constant=pytest.fail)
    assert values["choice"] == verdict.choice
    (model,) = values["models"]
    expected = {"choice", "rule", "delta", "inputs", "reasons", "candidates", "runners_up"}
    assert expected | {"failures", "caveats", "if_today"} <= set(model)
    ratios = {each["variant"]: each["end_to_end_ratio"] for each in model["inputs"]}
    assert ratios == {BASE: 1.0} | dict.fromkeys(FIVE)


@pytest.mark.parametrize("count", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_planted_truth_is_found_and_a_worse_set_is_not_chosen(count: int) -> None:
    """A set that is worse by far more than delta is next to never chosen, though it is faster."""
    rng = np.random.default_rng(0)
    chosen = [simulate_choice(rng, gap=0.1) for _ in range(count)]
    assert chosen.count("slow") >= count - max(1, count // 12)
    assert "fast" not in chosen


def simulate_choice(rng: np.random.Generator, gap: float) -> str | None:
    means = {BASE: -0.2, "slow": 0.0, "fast": -gap}
    scores: dict[str, dict[str, np.ndarray]] = {}
    for task in TWO_TASKS:
        shared = rng.normal(0.5, 0.1, 120)
        scores[task] = {
            name: shared + shift + rng.normal(0, 0.04, (1 if name == BASE else 2, 120))
            for name, shift in means.items()
        }
    return recommend(*make_tables(scores, ratios={"slow": 1.3, "fast": 1.05})).choice
