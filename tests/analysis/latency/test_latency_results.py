"""Latency studies read and tabulated: known truth found, bad files refused in one line."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_latency import AXES, MACHINE, RULE, SINGLES, find_truth, write_latency_study

import harness
from harness.analysis.latency.latency_results import NOISE, find_versions, load_latency_study
from harness.analysis.latency.latency_tables import (
    check_gates,
    select_held_out,
    tabulate_costs,
    tabulate_noise,
    tabulate_operations,
    tabulate_pairs,
    tabulate_ratios,
    tabulate_times,
)
from harness.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_latency_study(tmp_path_factory.mktemp("results") / "study")


def refuse(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_latency_study(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def edit_facts(folder: Path, **changes: object) -> None:
    facts = json.loads((folder / "latency.json").read_text())
    (folder / "latency.json").write_text(json.dumps(facts | changes))


def pair_by_hand(calls: pd.DataFrame, arm: str, variant: str, *, base: str = "base") -> float:
    """The statistic, written down again: median over (process, round) of the logs' difference."""
    keys = ["process", "round"]
    own = calls[(calls["arm"] == arm) & (calls["variant"] == variant)].set_index(keys)
    reference = calls[calls["arm"] == base].set_index(keys)
    logs = np.log(own["end_to_end_seconds"]) - np.log(reference["end_to_end_seconds"])
    return float(np.exp(np.median(logs)))


def test_a_study_reads_back(folder: Path) -> None:
    study = harness.load_latency_study(folder)
    assert study.name == "study"
    assert len(study.calls_of(0)) == 3 * 8 * (3 + 2 * 3 + 1)
    assert study.calls_of(1).empty
    assert study.facts.points[0].axes == AXES
    assert study.facts.rule.half_width == 0.02
    assert ("base_again", "base") in study.facts.points[0].preregistered


def test_ratios_find_the_truth_and_say_so(folder: Path) -> None:
    study = load_latency_study(folder)
    rows = tabulate_ratios(study).set_index(["arm", "variant", "time"])
    for arm, variant, time in rows.index:
        row = rows.loc[(arm, variant, time)]
        truth = find_truth(arm, variant)
        assert row["ratio"] == pytest.approx(truth, abs=0.006), (arm, variant, time)
        assert row["half_width"] == pytest.approx((row["ratio_high"] - row["ratio_low"]) / 2)
    for variant in ("qkv", "all"):
        expected = pair_by_hand(study.calls, "unmerged", variant)
        assert rows.loc[("unmerged", variant, "end_to_end"), "ratio"] == pytest.approx(expected)
    verdicts = rows["verdict"].xs("end_to_end", level="time")
    assert verdicts["unmerged", "all"] == "slower"
    assert verdicts["mixed", "mixed"] == "slower"
    assert verdicts["merged", "all"] == verdicts["base_again", "base"] == "equivalent"
    assert verdicts["base", "base"] == "reference"
    assert rows["trusted"].all()
    assert rows.loc[rows["verdict"] != "reference", "is_publishable"].all()


def test_only_what_was_named_beforehand_is_preregistered(folder: Path) -> None:
    rows = tabulate_ratios(load_latency_study(folder))
    named = rows[rows["is_preregistered"]]
    assert set(named["time"]) == {"end_to_end"}
    assert set(named["arm"]) == {"base_again", "unmerged", "merged"}
    assert len(named) == 7


def test_rounds_of_two_processes_are_not_taken_for_one(tmp_path: Path) -> None:
    """Round 0 of one process says nothing of round 0 of another, ten times slower one."""
    folder = write_latency_study(tmp_path / "s", processes=4, rounds=5)
    calls = pd.read_parquet(folder / "latency.parquet")
    times = ["ttft_seconds", "tpot_seconds", "end_to_end_seconds"]
    calls[times] = calls[times].mul(10.0 ** calls["process"], axis=0)
    # The slow process has lost the sets in its first round: a base of another must not fill in.
    calls = calls[~((calls["process"] == 3) & (calls["round"] == 0) & (calls["arm"] == "base"))]
    calls.sample(frac=1, random_state=0).to_parquet(folder / "latency.parquet")
    rows = tabulate_ratios(load_latency_study(folder)).set_index(["arm", "variant", "time"])
    row = rows.loc[("unmerged", "all", "end_to_end")]
    assert row["ratio"] == pytest.approx(find_truth("unmerged", "all"), abs=0.01)
    assert (row["rounds"], row["processes"]) == (19, 4)


def test_pairs_are_compared_directly(folder: Path) -> None:
    study = load_latency_study(folder)
    pairs = tabulate_pairs(study).set_index(["arm", "variant", "reference_variant"])
    assert len(pairs) == 2 * 3
    row = pairs.loc[("unmerged", "all", "qkv")]
    truth = find_truth("unmerged", "all") / find_truth("unmerged", "qkv")
    assert row["ratio"] == pytest.approx(truth, abs=0.006)
    assert row["ratio_low"] < truth < row["ratio_high"]
    assert row["verdict"] == "slower"
    assert pairs.loc[("merged", "all", "qkv"), "verdict"] == "equivalent"


def test_sets_that_never_met_in_a_round_are_not_compared(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", sets=("qkv", "all"))
    calls = pd.read_parquet(folder / "latency.parquet")
    late = calls["process"] == 2
    calls = calls[~(late & (calls["variant"] == "qkv")) & ~(~late & (calls["variant"] == "all"))]
    calls.to_parquet(folder / "latency.parquet")
    pairs = tabulate_pairs(load_latency_study(folder))
    assert pairs["ratio"].isna().all()
    assert (pairs["rounds"] == 0).all()
    assert set(pairs["verdict"]) == {"unresolved"}


def test_one_token_has_no_tpot(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", points=[{"output_tokens": 1}])
    rows = tabulate_ratios(load_latency_study(folder))
    tpot = rows[rows["time"] == "tpot"]
    assert set(tpot["verdict"]) == {"undefined"}
    assert tpot[["seconds", "ratio", "ratio_low"]].isna().all(axis=None)
    assert rows[rows["time"] == "ttft"]["ratio"].notna().all()


def test_a_base_that_differs_from_itself_is_not_trusted(tmp_path: Path) -> None:
    good = {"batch_size": 1}
    folder = write_latency_study(
        tmp_path / "s", points=[good], ratios={("base_again", "base"): 1.08}, busy=True
    )
    study = load_latency_study(folder)
    gate = check_gates(study)[0]
    assert not gate.is_trusted
    assert gate.reasons
    assert not tabulate_ratios(study)["trusted"].any()
    assert not tabulate_pairs(study)["trusted"].any()


def test_each_time_goes_by_its_own_control(tmp_path: Path) -> None:
    """A base whose TTFT differs from itself says nothing of TTFT, and no less of the whole call."""
    folder = write_latency_study(tmp_path / "s")
    calls = pd.read_parquet(folder / "latency.parquet")
    calls.loc[calls["arm"] == "base_again", "ttft_seconds"] *= 1.2
    calls.to_parquet(folder / "latency.parquet")
    study = load_latency_study(folder)
    rows = tabulate_ratios(study)
    assert rows.groupby("time")["trusted"].agg(["all", "any"]).to_dict("index") == {
        "ttft": {"all": False, "any": False},
        "tpot": {"all": True, "any": True},
        "end_to_end": {"all": True, "any": True},
    }
    assert not check_gates(study, "ttft")[0].is_trusted
    assert check_gates(study)[0].is_trusted


def test_a_time_that_does_not_exist_has_no_gate(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", points=[{"output_tokens": 1}, {}], rounds=5)
    assert set(check_gates(load_latency_study(folder), "tpot")) == {1}


def test_too_few_rounds_and_processes_are_not_publishable(tmp_path: Path) -> None:
    for processes, rounds in ((3, 4), (2, 15)):
        name = f"{processes}-{rounds}"
        folder = write_latency_study(tmp_path / name, processes=processes, rounds=rounds)
        assert not tabulate_ratios(load_latency_study(folder))["is_publishable"].any()


def test_an_outlier_is_counted_and_kept(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s")
    calls = pd.read_parquet(folder / "latency.parquet")
    hit = calls.index[(calls["arm"] == "merged") & (calls["variant"] == "qkv")][3]
    calls.loc[hit, "end_to_end_seconds"] *= 3
    calls.to_parquet(folder / "latency.parquet")
    rows = tabulate_ratios(load_latency_study(folder)).set_index(["arm", "variant", "time"])
    row = rows.loc[("merged", "qkv", "end_to_end")]
    assert row["outliers"] >= 1
    assert row["rounds"] == 24


def test_times_and_operations_are_medians_with_their_range(folder: Path) -> None:
    study = load_latency_study(folder)
    times = tabulate_times(study).set_index(["arm", "variant"])
    own = study.calls[(study.calls["arm"] == "unmerged") & (study.calls["variant"] == "all")]
    assert times.loc[("unmerged", "all"), "cpu_seconds"] == np.median(own["cpu_seconds"])
    operations = tabulate_operations(study).set_index(["arm", "variant"])
    raw = study.operations
    loads = raw[(raw["operation"] == "load") & (raw["variant"] == "qkv")]["seconds"]
    row = operations.loc[("unmerged", "qkv")]
    assert row["load_seconds"] == np.median(loads)
    assert (row["load_seconds_min"], row["load_seconds_max"]) == (min(loads), max(loads))
    memory = raw[(raw["operation"] == "memory") & (raw["arm"] == "base")]["bytes"]
    assert operations.loc[("base", "base"), "memory_bytes"] == np.median(memory)
    assert math.isnan(operations.loc[("base", "base"), "merge_seconds"])
    assert next(iter(operations.index)) == ("base", "base")


def test_noise_is_given_in_cores(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", busy=True)
    study = load_latency_study(folder)
    row = tabulate_noise(study).iloc[0]
    seconds = study.calls["end_to_end_seconds"].sum()
    assert row["other_cores"] == pytest.approx(0.3 * len(study.calls) / seconds)
    assert row["gpu_throttle"] == ""
    assert math.isnan(row["gpu_clock_mhz_max"])


def test_noise_that_nobody_read_is_unknown_and_not_zero(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s")
    calls = pd.read_parquet(folder / "latency.parquet").drop(columns=[*NOISE, "gpu_throttle"])
    calls.to_parquet(folder / "latency.parquet")
    row = tabulate_noise(load_latency_study(folder)).iloc[0]
    assert math.isnan(row["steal_cores"])
    assert math.isnan(row["load_average"])


def test_throttling_is_gathered_over_all_calls(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s")
    calls = pd.read_parquet(folder / "latency.parquet")
    calls["gpu_throttle"] = ""
    calls.loc[3, "gpu_throttle"] = "sw power cap, hw thermal slowdown"
    calls.loc[9, "gpu_throttle"] = "sw power cap"
    calls.to_parquet(folder / "latency.parquet")
    row = tabulate_noise(load_latency_study(folder)).iloc[0]
    assert row["gpu_throttle"] == "hw thermal slowdown, sw power cap"


def test_costs_predict_every_set_and_name_points_without(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", sets=(*SINGLES, "qkv", "all"))
    costs = tabulate_costs(load_latency_study(folder))
    assert len(costs.predictions) == 63
    assert costs.predictions["trusted"].all()
    predicted = costs.predictions.set_index("target_set")["ratio"]
    assert predicted["o_proj+fc2"] == pytest.approx(find_truth("unmerged", "o_proj+fc2"), abs=0.01)
    few = write_latency_study(tmp_path / "few", sets=("qkv", "qkv+o_proj+fc2"), rounds=1)
    costs = tabulate_costs(load_latency_study(few))
    assert not costs.models
    assert "\n" not in costs.problems[0]
    assert costs.predictions.empty


def test_sets_of_a_later_run_stand_against_the_first_ones_prediction(tmp_path: Path) -> None:
    """Each run has a machine state and a base of its own; only ratios may cross over."""
    later = {"added_to": 0, "target_sets": ["o_proj+fc2", "all"]}
    folder = write_latency_study(tmp_path / "s", SINGLES, points=[{}, later])
    slower = pd.read_parquet(folder / "latency.parquet")
    times = ["ttft_seconds", "tpot_seconds", "end_to_end_seconds"]
    slower.loc[slower["point"] == 1, times] *= 3
    slower.to_parquet(folder / "latency.parquet")
    costs = tabulate_costs(load_latency_study(folder))
    checks = costs.checks.set_index("target_set")
    assert list(checks.index) == ["o_proj+fc2", "all"]
    assert set(checks["added_to"]) == {0}
    assert set(checks["point"]) == {1}
    assert checks["trusted"].all()
    assert set(checks["found"]) == {"no departure found"}
    for name, row in checks.iterrows():
        truth = find_truth("unmerged", str(name))
        assert row["ratio_low"] < truth < row["ratio_high"]
        assert row["measured_low"] < truth < row["measured_high"]
        assert row["excess"] == pytest.approx(row["measured"] - row["ratio"])
        # The two are independent: the excess is less sure than either.
        width = row["excess_high"] - row["excess_low"]
        assert width > max(
            row["ratio_high"] - row["ratio_low"], row["measured_high"] - row["measured_low"]
        )
    first = costs.models[0].predictions.set_index("target_set")
    assert math.isnan(first.loc["all", "measured"])


def test_a_later_set_that_departs_is_found_and_its_doubt_is_kept(tmp_path: Path) -> None:
    later = {"added_to": 0, "target_sets": ["o_proj+fc2", "all"]}
    points = [{}, later]
    folder = write_latency_study(
        tmp_path / "s", SINGLES, points=points, interaction=0.05, processes=6
    )
    checks = tabulate_costs(load_latency_study(folder)).checks
    assert set(checks["found"]) == {"departs"}
    assert checks["excess"].tolist() == pytest.approx([0.05, 0.05], abs=0.015)
    # The model's own point fails its gate, the later one passes.
    calls = pd.read_parquet(folder / "latency.parquet")
    doubted = (calls["point"] == 0) & (calls["arm"] == "base_again")
    calls.loc[doubted, "end_to_end_seconds"] *= 1.2
    calls.to_parquet(folder / "latency.parquet")
    assert not tabulate_costs(load_latency_study(folder)).checks["trusted"].any()


def test_a_set_that_could_not_be_tested_is_not_called_as_predicted(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", sets=(*SINGLES, "qkv", "all"), interaction=0.04)
    model = tabulate_costs(load_latency_study(folder)).models[0]
    assert select_held_out(model).set_index("target_set")["found"].to_dict() == {
        "qkv": "departs",
        "all": "departs",
    }
    untested = dataclasses.replace(model.additivity, holds=None, departing=(), p_value=None)
    rows = select_held_out(dataclasses.replace(model, additivity=untested))
    assert set(rows["found"]) == {"not tested"}
    torn = dataclasses.replace(model.additivity, alternatives=(("qkv", "all"),))
    rows = select_held_out(dataclasses.replace(model, additivity=torn))
    assert rows["found"].tolist() == ["departs, or all does", "departs, or qkv does"]


def test_what_an_older_study_does_not_say_is_none(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", rounds=1)
    facts = json.loads((folder / "latency.json").read_text())
    del facts["versions"], facts["points"][0]["added_to"], facts["points"][0]["mixed_sets"]
    (folder / "latency.json").write_text(json.dumps(facts))
    study = load_latency_study(folder)
    assert study.facts.points[0].added_to is None
    assert study.facts.points[0].mixed_sets == ()
    assert find_versions(study)["torch"] == "2.9.0"


def test_a_study_without_a_single_call_still_reads(tmp_path: Path) -> None:
    points = [{"status": "out of memory", "message": "no room", "stopped": None}]
    folder = write_latency_study(tmp_path / "s", points=points)
    assert not (folder / "latency.parquet").exists()
    study = load_latency_study(folder)
    for table in (tabulate_ratios, tabulate_pairs, tabulate_times, tabulate_operations):
        assert table(study).empty
    assert check_gates(study) == {}
    assert find_versions(study)["torch"] == "2.9.0"


def test_axes_are_those_that_ran(tmp_path: Path) -> None:
    points = [{"dtype": "auto", "ran": {"dtype": "bfloat16"}}]
    folder = write_latency_study(tmp_path / "s", points=points)
    assert set(tabulate_ratios(load_latency_study(folder))["dtype"]) == {"bfloat16"}


@pytest.mark.parametrize("name", ["latency.json", "latency.parquet", "operations.parquet"])
@pytest.mark.parametrize("damage", ["missing", "torn", "empty"])
def test_a_missing_or_torn_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    folder = write_latency_study(tmp_path / "s", rounds=1)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage != "missing":
        (folder / name).write_bytes(content[: len(content) // 2] if damage == "torn" else b"")
    assert name in refuse(folder)


def test_what_is_no_study_is_refused(tmp_path: Path) -> None:
    assert "latency.json" in refuse(tmp_path / "nowhere")
    folder = write_latency_study(tmp_path / "s", rounds=1, facts={"schema_version": 2})
    assert "schema_version is 2, expected 1" in refuse(folder)
    for changes in ({"points": 3}, {"rule": None}, {"points": [{"point": 0}]}, {"machine": 1}):
        folder = write_latency_study(tmp_path / "s", rounds=1)
        edit_facts(folder, **changes)
        assert "latency.json" in refuse(folder)
    (folder / "latency.json").write_text("[]")
    refuse(folder)


def test_tables_of_another_study_are_refused(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", rounds=1, points=[{}, {"batch_size": 8}])
    edit_facts(folder, points=json.loads((folder / "latency.json").read_text())["points"][:1])
    assert "point 1" in refuse(folder)


def test_columns_that_lack_or_are_text_are_named(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", rounds=1)
    calls = pd.read_parquet(folder / "latency.parquet")
    calls.drop(columns="ttft_seconds").to_parquet(folder / "latency.parquet")
    assert "ttft_seconds" in refuse(folder)
    calls.assign(ttft_seconds="fast").to_parquet(folder / "latency.parquet")
    assert "ttft_seconds is not numeric" in refuse(folder)


def test_studies_of_one_machine_stand_side_by_side(tmp_path: Path) -> None:
    old = write_latency_study(tmp_path / "old", rounds=5)
    new = write_latency_study(tmp_path / "new", rounds=5, environment={"torch": "2.10.0"}, seed=1)
    table = harness.compare_latency([old, new])
    rows = table[(table["variant"] == "all") & (table["arm"] == "unmerged")]
    assert list(rows["study"]) == ["old", "new"] * 3
    assert list(rows["time"].drop_duplicates()) == ["ttft", "tpot", "end_to_end"]
    assert set(rows.loc[rows["study"] == "new", "torch"]) == {"2.10.0"}
    assert set(rows["git_commit"]) == {"0123abc"}
    assert set(table["margin"]) == {0.03}
    assert set(table["target_half_width"]) == {0.02}


def test_rules_that_differ_stand_beside_the_verdicts(tmp_path: Path) -> None:
    paths = [write_latency_study(tmp_path / name, rounds=2) for name in ("one", "two")]
    edit_facts(paths[1], rule=RULE | {"margin": 0.2, "half_width": 0.1})
    margins = harness.compare_latency(paths).groupby("study")[["margin", "target_half_width"]]
    assert margins.first().to_numpy().tolist() == [[0.03, 0.02], [0.2, 0.1]]


def test_two_studies_of_one_name_stay_apart(tmp_path: Path) -> None:
    paths = [write_latency_study(tmp_path / each / "s", rounds=2) for each in ("a", "b")]
    assert set(harness.compare_latency(paths)["study"]) == {str(path) for path in paths}


@pytest.mark.parametrize(
    "fact", [{"cpu": "another cpu"}, {"gpu": "H100", "device_type": "cuda"}, {"torch_threads": 1}]
)
def test_studies_of_two_machines_are_refused(tmp_path: Path, fact: dict[str, object]) -> None:
    one = write_latency_study(tmp_path / "one", rounds=1)
    two = write_latency_study(tmp_path / "two", rounds=1, machine=MACHINE | fact)
    with pytest.raises(UserError, match="different machines") as caught:
        harness.compare_latency([one, two])
    assert str(next(iter(fact.values()))) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_two_studies_are_held_against_each_other(tmp_path: Path) -> None:
    """Memory may differ by a GiB: both others agree with the first and not with each other."""
    paths = [
        write_latency_study(tmp_path / str(size), rounds=1, machine=MACHINE | {"memory_gib": size})
        for size in (16, 15, 17)
    ]
    harness.compare_latency(paths[:2])
    with pytest.raises(UserError, match="memory in GiB differs: 15 and 17"):
        harness.compare_latency(paths)


def test_machines_that_nobody_named_are_not_one_machine(tmp_path: Path) -> None:
    paths = [write_latency_study(tmp_path / name, rounds=1) for name in ("one", "two")]
    for machine in ({}, dict.fromkeys(MACHINE)):
        for path in paths:
            edit_facts(path, machine=machine)
        with pytest.raises(UserError, match="neither the CPU nor the GPU") as caught:
            harness.compare_latency(paths)
        assert "\n" not in str(caught.value)


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(UserError, match="no study"):
        harness.compare_latency([])
