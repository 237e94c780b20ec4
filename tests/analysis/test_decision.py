"""What would change a recommendation: another profile, another tolerance, one task fewer."""

from pathlib import Path

import pytest
from synthetic_study import write_run, write_study

from harness.analysis.comparison import Comparison, compare, restrict_tasks
from harness.analysis.decision import (
    BALANCED,
    PROFILES,
    choose_by_profile,
    find_profile,
    leave_tasks_out,
    trace_delta,
)
from harness.analysis.recommendation import decide, recommend
from harness.analysis.results import load_examples, load_results
from harness.errors import UserError
from harness.records.record import BASE
from harness.reporting.report_tables import make_profile_table

TWO_TASKS = ("fincot", "medmcqa")


def compare_study(study: Path) -> Comparison:
    return compare(load_results(study), load_examples(study, texts=False), resamples=400)


@pytest.fixture
def traded(tmp_path: Path) -> Path:
    """A fast set that gives up three points, and a slow one of the highest scores."""
    return write_study(
        tmp_path / "study",
        sets=("qkv+o_proj", "all"),
        gains={"qkv+o_proj": 0.17, "all": 0.2},
        ratios={"qkv+o_proj": 1.02, "all": 1.3},
        tasks=TWO_TASKS,
        examples=800,
    )


def test_profiles_weigh_accuracy_and_cost_differently(traded: Path) -> None:
    chosen = choose_by_profile(compare_study(traded)).set_index("profile")["choice"].to_dict()
    assert chosen["accuracy_first"] == chosen["balanced"] == "all"
    assert chosen["latency_first"] == "qkv+o_proj"


def test_a_profile_without_a_choice_says_undecided(tmp_path: Path) -> None:
    """Where some profiles choose and others do not, the table has words, not gaps."""
    study = write_study(
        tmp_path / "study",
        sets=("qkv", "all"),
        gains={"qkv": 0.185, "all": 0.2},
        tasks=TWO_TASKS,
        examples=25,
    )
    verdict = recommend(load_results(study), load_examples(study, texts=False), delta=0.001)
    outcomes = [row[-1] for row in make_profile_table(verdict).rows]
    assert len({row["choice"] for row in verdict.by_profile}) > 1
    assert set(outcomes) <= {"qkv", "all", "undecided"}


def test_merged_goes_by_size_and_not_by_latency(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("o_proj+fc2", "all"),
        gains={"o_proj+fc2": 0.2, "all": 0.2},
        ratios={"o_proj+fc2": 1.02, "all": 1.3},
        tasks=TWO_TASKS,
        examples=400,
    )
    results, examples = load_results(study), load_examples(study, texts=False)
    assert recommend(results, examples).choice == "o_proj+fc2"
    merged = recommend(results, examples, profile="merged")
    assert (merged.choice, merged.profile, merged.delta) == ("all", "merged", 0.02)
    assert "fewest trainable parameters" in merged.rule
    assert "latency" not in merged.rule
    assert "end-to-end time" not in merged.headline
    assert any("fewest trainable parameters" in reason for reason in merged.reasons)


def test_a_profile_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="profile is 'cheap'; expected one of accuracy_first, bal"):
        find_profile("cheap")


def test_the_trace_agrees_with_the_rule_at_every_delta(traded: Path) -> None:
    comparison, results = compare_study(traded), load_results(traded)
    steps = trace_delta(comparison, BALANCED).to_dict("records")
    # The set of the highest scores gives up nothing, whatever is allowed.
    assert [step["choice"] for step in steps] == ["all", "qkv+o_proj"]
    assert steps[0]["delta_from"] == 0.0
    for step, after in zip(steps, [*steps[1:], {"delta_from": 1.0}], strict=True):
        for delta in (step["delta_from"] or 1e-6, (step["delta_from"] + after["delta_from"]) / 2):
            assert decide(comparison, results, delta).choice == step["choice"]
    flips = decide(comparison, results).what_would_flip_it
    assert flips[0].startswith("With a tolerance of 0.0")
    assert flips[0].endswith("or more: qkv+o_proj.")


def test_a_task_that_alone_speaks_against_a_set_flips_the_choice(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for task in ("fincot", "medmcqa", "invoice_ocr"):
        write_run(study, BASE, task, examples=300)
        gain = 0.05 if task == "fincot" else 0.2
        write_run(study, "qkv", task, gain=gain, ratio=1.01, examples=300)
        write_run(study, "all", task, gain=0.2, ratio=1.3, examples=300)
    comparison = compare_study(study)
    table = leave_tasks_out(comparison, 0.02, BALANCED).set_index("without_task")["choice"]
    assert table.to_dict() == {"fincot": "qkv", "invoice_ocr": "all", "medmcqa": "all"}
    verdict = decide(comparison, load_results(study))
    assert verdict.choice == "all"
    assert "Without fincot: qkv." in verdict.what_would_flip_it


def test_fewer_tasks_give_what_a_study_of_fewer_tasks_gives(tmp_path: Path) -> None:
    both = write_study(tmp_path / "both", sets=("qkv", "all"), tasks=TWO_TASKS)
    alone = write_study(tmp_path / "alone", sets=("qkv", "all"), tasks=("fincot",))
    restricted = restrict_tasks(compare_study(both), {"fincot"})
    expected = compare_study(alone)
    assert restricted.tasks == expected.tasks
    columns = ["variant", "score", "mean_regret_high", "end_to_end_ratio", "train_seconds"]
    left, right = (each.overall[columns] for each in (restricted, expected))
    assert left.equals(right)


def test_one_task_cannot_be_left_out(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    assert leave_tasks_out(compare_study(study), 0.02, BALANCED).empty


def test_an_undecided_study_names_examples_and_seeds(tmp_path: Path) -> None:
    """Seeds that move the scores apart call for seeds; examples alone would not do."""
    study = tmp_path / "study"
    for task in TWO_TASKS:
        write_run(study, BASE, task, examples=400)
        for index, name in enumerate(("qkv", "o_proj", "all")):
            for seed in (0, 1, 2):
                shift = {0: 0.03, 1: -0.03, 2: 0.0}[(seed + index) % 3]
                write_run(study, name, task, seed=seed, gain=0.2 + shift, examples=400)
    verdict = recommend(load_results(study), load_examples(study, texts=False), delta=0.015)
    assert verdict.verdict == "undecided"
    assert verdict.what_would_decide is not None
    assert "seeds (now 3)" in verdict.what_would_decide
    assert "times as many test examples" not in verdict.what_would_decide


def test_every_profile_is_found_by_its_name() -> None:
    assert [find_profile(each.name) for each in PROFILES] == list(PROFILES)


@pytest.mark.parametrize("single", ["aaa", "medmcqa"])
def test_one_task_of_a_single_example_decides_nothing(tmp_path: Path, single: str) -> None:
    """The worse set is the faster one; only an unknown bound taken for 0 could let it pass."""
    study = tmp_path / "study"
    for task, examples in (("fincot", 300), (single, 1)):
        write_run(study, BASE, task, examples=examples)
        for name, low, ratio in (("qkv", 0.2, 1.01), ("all", 0.9, 1.3)):
            scores = [low] if examples == 1 else None
            write_run(study, name, task, gain=0.2, ratio=ratio, examples=examples, scores=scores)
    comparison = compare_study(study)
    sets = comparison.overall[comparison.overall["target_set"] != BASE]
    bounds = [f"{name}_regret_{end}" for name in ("mean", "worst") for end in ("low", "high")]
    assert sets[bounds].isna().all(axis=None)
    verdict = recommend(load_results(study), load_examples(study, texts=False))
    assert (verdict.verdict, verdict.choice, verdict.runners_up) == ("undecided", None, ())
    assert all("no bound, because a task has only one example" in why for why in verdict.reasons)
    assert {row["choice"] for row in (*verdict.by_profile, *verdict.by_delta)} == {None}
    # Without that task the bounds are known, and do decide.
    without = {row["without_task"]: row["choice"] for row in verdict.without_task}
    assert without == {single: "qkv", "fincot": None}
    plain = verdict.to_dict()
    assert all(each["mean_regret_high"] is None for each in plain["inputs"])
