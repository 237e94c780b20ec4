"""What would change a recommendation: another profile, another tolerance, one task fewer."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from score_tables import draw_binary, make_tables
from synthetic_study import write_run, write_study

from harness.analysis.comparison import Comparison, compare, restrict_tasks
from harness.analysis.regret import find_needs
from harness.analysis.results import load_examples, load_results
from harness.analysis.verdict.decision import (
    BALANCED,
    PROFILES,
    choose_by_profile,
    find_profile,
    leave_tasks_out,
    trace_delta,
)
from harness.analysis.verdict.recommendation import decide, recommend
from harness.errors import UserError
from harness.records.record import BASE
from harness.reporting.report_tables import make_profile_table

TWO_TASKS = ("fincot", "medmcqa")
SEEDS = (0, 1)


def compare_study(study: Path) -> Comparison:
    return compare(load_results(study), load_examples(study, texts=False))


@pytest.fixture
def traded(tmp_path: Path) -> Path:
    """A fast set that gives up three points, and a slow one of the highest scores."""
    return write_study(
        tmp_path / "study",
        sets=("qkv+o_proj", "all"),
        gains={"qkv+o_proj": 0.17, "all": 0.2},
        ratios={"qkv+o_proj": 1.02, "all": 1.3},
        tasks=TWO_TASKS,
        seeds=SEEDS,
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
        seeds=SEEDS,
        examples=40,
    )
    verdict = recommend(load_results(study), load_examples(study, texts=False), delta=0.001)
    outcomes = {row[0]: row[-1] for row in make_profile_table(verdict).rows}
    assert (outcomes["accuracy_first"], outcomes["latency_first"]) == ("undecided", "qkv")


def test_a_profile_that_would_train_nothing_says_so(tmp_path: Path) -> None:
    """A gain of 0.03 is more than one tolerance and less than another."""
    study = write_study(
        tmp_path / "study",
        sets=("qkv", "all"),
        gains={"qkv": 0.03, "all": 0.0},
        tasks=TWO_TASKS,
        seeds=SEEDS,
        examples=800,
    )
    verdict = recommend(load_results(study), load_examples(study, texts=False))
    assert (verdict.verdict, verdict.choice) == ("chosen", "qkv")
    outcomes = {row[0]: row[-1] for row in make_profile_table(verdict).rows}
    assert (outcomes["balanced"], outcomes["latency_first"]) == ("qkv", "train nothing")
    assert any(each.endswith(" or more: train nothing.") for each in verdict.what_would_flip_it)


def test_merged_goes_by_size_and_not_by_latency(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study",
        sets=("o_proj+fc2", "all"),
        gains={"o_proj+fc2": 0.2, "all": 0.2},
        ratios={"o_proj+fc2": 1.02, "all": 1.3},
        tasks=TWO_TASKS,
        seeds=SEEDS,
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
    # The set of the highest scores loses nothing, whatever is allowed; the base loses most.
    assert [step["choice"] for step in steps] == ["all", "qkv+o_proj", BASE]
    assert [step["verdict"] for step in steps] == ["chosen", "chosen", "train nothing"]
    assert steps[0]["delta_from"] == 0.0
    for step, after in zip(steps, [*steps[1:], {"delta_from": 1.0}], strict=True):
        for delta in (step["delta_from"] or 1e-6, (step["delta_from"] + after["delta_from"]) / 2):
            assert decide(comparison, results, delta).choice == step["choice"]
    flips = decide(comparison, results).what_would_flip_it
    limit = f"{steps[1]['delta_from']:.3f}"
    assert 0.03 < steps[1]["delta_from"] < 0.05
    assert flips == (
        f"With a tolerance of {limit} or more: qkv+o_proj.",
        "Without any one task: still all.",
    )


def test_a_tolerance_too_small_for_the_study_is_named(tmp_path: Path) -> None:
    """Equal sets are shown to be equal to within a bound, and to no less."""
    study = write_study(
        *(tmp_path / "study", ("qkv", "all"), TWO_TASKS),
        gains={"qkv": 0.2, "all": 0.2},
        seeds=SEEDS,
        examples=400,
    )
    comparison, results = compare_study(study), load_results(study)
    steps = trace_delta(comparison, BALANCED).to_dict("records")
    assert (steps[0]["delta_from"], steps[0]["verdict"]) == (0.0, "undecided")
    limit = steps[1]["delta_from"]
    highs = comparison.overall.set_index("variant")["mean_regret_high"]
    worst = comparison.overall.set_index("variant")["worst_regret"] / 2
    assert limit == np.maximum(highs, worst).min() > 0
    assert decide(comparison, results, 0.999 * limit).verdict == "undecided"
    assert decide(comparison, results, limit).choice == steps[1]["choice"]
    flips = decide(comparison, results, max(0.02, limit)).what_would_flip_it
    assert any("With a tolerance below" in each for each in flips)


def test_a_task_that_alone_speaks_against_a_set_flips_the_choice(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for task in ("fincot", "medmcqa", "invoice_ocr"):
        write_run(study, BASE, task, examples=300)
        gain = 0.05 if task == "fincot" else 0.2
        for seed in SEEDS:
            write_run(study, "qkv", task, seed=seed, gain=gain, ratio=1.01, examples=300)
            write_run(study, "all", task, seed=seed, gain=0.2, ratio=1.3, examples=300)
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
    text = verdict.what_would_decide
    assert text is not None
    assert re.search(r"would qualify soonest with \d+ seeds \(seed=0,1,\.\.\.,\d+; about", text)
    assert "times the test examples" not in text
    assert "At a tolerance of" in text


@pytest.mark.parametrize("examples", [300, 600])
def test_the_examples_that_it_asks_for_are_what_it_takes(examples: int) -> None:
    """Sets of equal means; seeds only flip examples, so that examples alone would do."""
    means = {BASE: 0.4, "q": 0.6, "k": 0.6}

    def plant(count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        return make_tables({"t": draw_binary(np.random.default_rng(0), means, count)})

    tables = plant(examples)
    verdict = recommend(*tables)
    assert verdict.verdict == "undecided"
    found = re.search(r"([\d.]+) times the test examples", str(verdict.what_would_decide))
    assert found is not None
    factor = float(found[1])
    assert factor > 1.2
    for share, is_enough in ((1.3, True), (0.6, False)):
        comparison = compare(*plant(round(share * factor * examples)), look=2)
        assert (decide(comparison, tables[0]).verdict == "chosen") is is_enough


def test_what_it_asks_for_is_by_the_bounds_of_the_rule() -> None:
    """Of nine sets: at the bound itself nothing is needed, and a little below it a little."""
    means = {BASE: 0.4} | dict.fromkeys("abcdefgh", 0.6)
    comparison = compare(*make_tables({"t": draw_binary(np.random.default_rng(0), means, 300)}))
    highs = comparison.overall.set_index("variant")["mean_regret_high"]
    for name in "adh":
        assert find_needs(comparison.scores, name, 1.0001 * highs[name], comparison.level) == (0, 0)
        seeds, factor = find_needs(comparison.scores, name, 0.98 * highs[name], comparison.level)
        assert 1 < factor < 1.15
        assert seeds >= 3


def test_no_number_of_seeds_is_promised_to_a_set_that_a_task_vetoes() -> None:
    """Two sets of one mean; the smaller one is 0.05 below the other on a task."""
    rng = np.random.default_rng(0)
    scores = {
        "t": draw_binary(rng, {BASE: 0.4, "qkv": 0.55, "all": 0.6}, 300),
        "u": draw_binary(rng, {BASE: 0.4, "qkv": 0.6, "all": 0.55}, 300),
    }
    verdict = recommend(*make_tables(scores))
    assert (verdict.verdict, verdict.if_today) == ("undecided", "qkv")
    assert str(verdict.what_would_decide).startswith(
        "While qkv stays 0.050 below the best variant on t (allowed 0.04), neither seeds nor "
        "examples let it qualify."
    )


def test_every_profile_is_found_by_its_name() -> None:
    assert [find_profile(each.name) for each in PROFILES] == list(PROFILES)
