"""Damaged, mixed and incomplete studies: what is said of them, and that the rest is analysed."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_study import write_run, write_study

from harness.analysis.comparison import Comparison, compare
from harness.analysis.results import load_examples, load_results, load_study
from harness.analysis.verdict.recommendation import Recommendation, recommend
from harness.cli.report import main
from harness.errors import UserError
from harness.records.record import BASE, ErrorRecord, read_record, write_record
from harness.records.study_size import read_size
from harness.reporting.rendering import escape_markdown

ERROR = ErrorRecord("RuntimeError", "boom", "Traceback ...")


def analyse(study: Path) -> tuple[Comparison, Recommendation]:
    results, examples = load_results(study), load_examples(study, texts=False)
    return compare(results, examples), recommend(results, examples)


def find_caveat(verdict: Recommendation, words: str) -> str:
    (caveat,) = (each for each in verdict.caveats if words in each)
    return caveat


def edit_record(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "record.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sound sets, and of every kind of damage one set."""
    folder = write_study(
        tmp_path_factory.mktemp("results") / "damaged", ("qkv", "all"), ("fincot",), rounds=6
    )
    (write_run(folder, "fc1", "fincot") / "record.json").write_text("")
    half = write_run(folder, "fc2", "fincot") / "record.json"
    half.write_text(half.read_text()[:300])
    edit_record(write_run(folder, "q+v", "fincot"), lambda record: record.update(schema_version=99))
    table = write_run(folder, "fc1+fc2", "fincot") / "examples.parquet"
    table.write_bytes(table.read_bytes()[:200])
    calls = write_run(folder, "o_proj", "fincot") / "latency.parquet"
    calls.write_bytes(b"")
    write_run(folder, "q", "fincot", error=ERROR)
    write_run(folder, "k", "fincot", status="interrupted")
    write_run(folder, "v", "fincot", scores=[math.nan] * 60)
    return folder


def test_all_damage_is_named_on_the_page_and_the_status_is_0(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(damaged)]) == 0
    assert "fincot" in capsys.readouterr().out
    markdown = (damaged / "report.md").read_text(encoding="utf-8")
    page = (damaged / "report.html").read_text(encoding="utf-8")
    for words in (
        "--fc1--lora",
        "--fc2--lora",
        "--q+v--lora",
        "99",
        "--fc1+fc2--lora",
        "--o_proj--lora",
        "q on fincot (seed 0) failed: RuntimeError: boom",
        "k on fincot (seed 0) was interrupted",
        "v (seed 0) has scores for 0% of the examples; not compared",
        "fc1+fc2 (seed 0) has no scores by example; not compared",
    ):
        assert words in page, words
        assert escape_markdown(words) in markdown, words
    # Three records and two tables.
    for text in (page, markdown):
        assert "5 files could not be read" in text
        assert "runs did not finish" in text
    assert not [name for name in ("nan", "None") if f">{name}<" in page]


def test_what_could_not_be_read_is_named_on_the_terminal_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    broken = write_run(study, "fc1", "fincot", rounds=0) / "record.json"
    broken.write_text("{")
    assert main([str(study)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"warning: {broken}: not a record of this harness")
    assert "1 file could not be read" in (study / "report.md").read_text()
    for name in ("fc2", "q", "k", "v", "q+v", "k+v"):
        (write_run(study, name, "fincot", rounds=0) / "record.json").write_text("{")
    assert main([str(study)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 6
    assert lines[-1] == "warning: 2 more; the report lists them under Failures"


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"size": "xs"}'),
        '{"size": "xs", "sizes": ["xs"], "seconds": {"xs": 1}, "limit_seconds": 9, "speed": "s"}',
        '{"size": "xs", "sizes": {"xs": {"train_examples": {}, "test_examples": {}}},'
        ' "seconds": {}, "limit_seconds": 9, "speed": "s"}',
    ],
)
def test_a_damaged_size_is_named_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    (study / "size.json").write_text(text)
    assert main([str(study)]) == 0
    line = f"{study}/size.json: not the size of a study"
    assert f"warning: {line}" in capsys.readouterr().out
    page = (study / "report.html").read_text()
    assert line in page
    assert "1 file could not be read" in page
    # A sweep is told by the reader itself.
    assert read_size(study) is None
    assert line in capsys.readouterr().err


def test_damage_to_some_sets_changes_no_number_of_the_others(damaged: Path, tmp_path: Path) -> None:
    sound = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=6)
    loaded = load_study(damaged)
    hurt = compare(loaded.results, loaded.examples)
    whole = compare(load_results(sound), load_examples(sound))
    columns = ["score", "difference", "end_to_end_ratio", "examples", "seeds"]
    own = hurt.by_task.set_index("variant").loc[["base", "qkv", "all"], columns]
    expected = whole.by_task.set_index("variant").loc[["base", "qkv", "all"], columns]
    pd.testing.assert_frame_equal(own, expected, check_dtype=False)
    scored = hurt.by_task.set_index("variant")["score"].dropna()
    assert set(scored.index) == {"base", "qkv", "all", "o_proj", "k"}


def test_a_study_of_which_nothing_can_be_read_reports_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("qkv", "all"):
        (write_run(tmp_path / "study", name, "fincot") / "record.json").write_text("[]")
    assert main([str(tmp_path / "study")]) == 0
    assert "Undecided" in capsys.readouterr().out
    assert "2 files could not be read" in (tmp_path / "study/report.html").read_text()


@pytest.mark.parametrize("facts", [{"memory_bytes": "16 GB"}, {"memory_bytes": math.nan}])
def test_facts_of_the_wrong_type_are_named(tmp_path: Path, facts: dict[str, object]) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    folder = next(study.glob("runs/*--all--*"))
    edit_record(folder, lambda record: record["environment"].update(facts))
    loaded = load_study(study)
    assert set(loaded.results["variant"]) == {BASE, "qkv"}
    assert loaded.problems == (
        f"{folder}/record.json: environment.memory_bytes has the wrong type",
    )


def test_items_of_the_wrong_type_are_named(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    folder = next(study.glob("runs/*--all--*"))
    edit_record(folder, lambda record: record["adapter"].update(roles=["q", 1]))
    assert load_study(study).problems == (
        f"{folder}/record.json: adapter.roles has the wrong type",
    )


def test_one_seed_of_a_single_set_is_named_and_leaves_the_others_theirs(tmp_path: Path) -> None:
    """Its rivals' three seeds tell how far another seed of its own would move it."""
    study = write_study(
        tmp_path / "study", ("qkv", "all"), ("fincot",), seeds=(0, 1, 2), rounds=0, examples=200
    )
    write_run(study, "o_proj", "fincot", gain=0.3, rounds=0, examples=200)
    comparison, verdict = analyse(study)
    assert (verdict.choice, comparison.seed_count) == ("o_proj", 1)
    scores = load_results(study).query("variant == 'all'")["score"]
    rows = comparison.by_task.set_index("variant")
    row = rows.loc["all"]
    assert (row["score"], row["seeds"]) == (pytest.approx(scores.mean()), 3)
    widths = rows["score_high"] - rows["score_low"]
    assert widths["o_proj"] > widths[["qkv", "all"]].max()
    assert find_caveat(verdict, "different seeds") == (
        "fincot: the sets have different seeds, and each is averaged over its own: o_proj has the "
        "fewest (1)."
    )


def test_a_lucky_seed_that_a_rival_lacks_decides_nothing(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study", ("qkv", "all"), ("fincot",), seeds=(0, 1), rounds=0, examples=200
    )
    # With it, qkv leads; that it moved so far makes the next one's score anyone's guess.
    write_run(study, "qkv", "fincot", seed=2, gain=0.6, rounds=0, examples=200)
    write_run(study, "all", "fincot", seed=2, error=ERROR)
    comparison, verdict = analyse(study)
    rows = comparison.by_task.set_index("variant")
    assert rows.loc[["qkv", "all"], "seeds"].tolist() == [3, 2]
    assert rows.loc["qkv", "score"] > rows.loc["all", "score"] + 0.1
    assert rows.loc["all", "unfinished_runs"] == 1
    assert (verdict.verdict, verdict.choice) == ("undecided", None)
    assert {"qkv", "all"} <= set(verdict.candidates)
    assert verdict.failures == ("all on fincot (seed 2) failed: RuntimeError: boom",)
    assert "all has the fewest (2)" in find_caveat(verdict, "different seeds")


def test_a_base_that_failed_on_one_task_leaves_its_gains_unknown(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    write_study(study, ("qkv", "all"), ("medmcqa",), rounds=0, base=False)
    write_run(study, BASE, "medmcqa", error=ERROR)
    comparison, verdict = analyse(study)
    gains = comparison.by_task.set_index(["task", "variant"])["difference"]
    assert gains["fincot"].drop(BASE).notna().all()
    assert gains["medmcqa"].isna().all()
    # A gain over fewer tasks stands beside no mean over all of them.
    assert comparison.overall["difference"].isna().all()
    assert "over the base" not in verdict.headline
    assert "no score on medmcqa" in find_caveat(verdict, "The base has")
    assert verdict.failures == ("base on medmcqa failed: RuntimeError: boom",)


def test_a_task_of_nan_scores_leaves_the_others(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    for name in (BASE, "qkv", "all"):
        write_run(study, name, "medmcqa", scores=[math.nan] * 60, rounds=0)
    comparison, verdict = analyse(study)
    assert comparison.tasks == ("fincot",)
    assert comparison.overall["score"].notna().all()
    assert find_caveat(verdict, "left out of means").startswith("medmcqa: no run has scores")


def test_scores_that_are_no_shares_are_named(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    write_run(study, "o_proj", "fincot", scores=np.linspace(20, 80, 60), rounds=0)
    _, verdict = analyse(study)
    assert find_caveat(verdict, "outside 0 to 1").startswith("Scores of o_proj on fincot lie")


def test_sets_of_two_studies_that_were_trained_otherwise_are_named(tmp_path: Path) -> None:
    """No cell is there twice, so the names are plain, and the recipe could hide behind them."""
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    write_run(study, "o_proj", "fincot", rank=16, learning_rate=1e-3, rounds=0)
    _, verdict = analyse(study)
    caveat = find_caveat(verdict, "trained with different settings")
    assert "rank 8, alpha 16, learning rate 0.0002 (all and qkv)" in caveat
    assert "rank 16, alpha 32, learning rate 0.001 (o_proj)" in caveat
    # One set in both ways gives every set its learning rate in its name, which then tells.
    write_run(study, "qkv", "fincot", learning_rate=1e-3, rounds=0)
    write_run(study, "all", "fincot", learning_rate=1e-3, rounds=0)
    _, verdict = analyse(study)
    assert "qkv, lr 0.001" in {each.variant for each in verdict.inputs}
    assert "rank 16" in find_caveat(verdict, "trained with different settings")
    assert "learning rate" not in find_caveat(verdict, "trained with different settings")


def write_others(study: Path, *names: str, count: int = 60) -> None:
    """Runs on easier examples of a data set of the same name."""
    others = [f"other-{number}" for number in range(count)]
    for name in names:
        write_run(study, name, "fincot", gain=0.5, examples=count, ids=others, rounds=0)


def write_decided(study: Path) -> Path:
    """Two equal sets, of which the rule takes the first by name: `all`."""
    gains = {"qkv": 0.2, "all": 0.2}
    shape: dict[str, Any] = {"seeds": (0, 1), "examples": 300, "rounds": 0}
    return write_study(study, ("qkv", "all"), ("fincot",), gains=gains, **shape)


@pytest.mark.parametrize("count", [300, 1000])
def test_a_set_that_was_scored_on_other_examples_stops_no_other(tmp_path: Path, count: int) -> None:
    study = write_decided(tmp_path / "study")
    _, before = analyse(study)
    write_others(study, "o_proj", count=count)
    comparison, verdict = analyse(study)
    assert comparison.by_task.set_index("variant")["examples"].dropna().to_dict() == {
        BASE: 300,
        "qkv": 300,
        "all": 300,
    }
    assert verdict.choice == before.choice == "all"
    assert find_caveat(verdict, "o_proj (seed 0) has scores for 0% of the examples")


def test_of_two_halves_with_other_examples_one_is_compared(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    write_others(study, "o_proj", "fc1", "fc2")
    comparison, verdict = analyse(study)
    examples = comparison.by_task.set_index("variant")["examples"]
    assert set(examples.dropna()) == {60}
    assert len(examples.dropna()) == 3
    assert sum("has scores for 0% of the examples" in each for each in verdict.caveats) == 3


def test_infinite_scores_are_no_scores(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), seeds=(0, 1), rounds=0)
    for seed in (0, 1):
        bad = [-math.inf, *np.full(59, 0.9)]
        write_run(study, "o_proj", "fincot", seed=seed, scores=[math.inf] * 60, rounds=0)
        write_run(study, "fc1", "fincot", seed=seed, scores=bad, rounds=0)
    comparison, verdict = analyse(study)
    known = comparison.overall.set_index("variant")["score"].dropna()
    assert set(known.index) == {BASE, "qkv", "all", "fc1"}
    assert known["fc1"] == pytest.approx(0.9)
    assert verdict.choice == "fc1"
    assert find_caveat(verdict, "o_proj (seed 0) has scores for 0% of the examples")
    assert find_caveat(verdict, "1 of 60 examples")
    assert comparison.by_task.set_index("variant").loc["fc1", "examples"] == 59


def test_a_set_of_another_draw_of_the_data_is_left_out(tmp_path: Path) -> None:
    """Generated examples have the same ids whatever their seed."""
    study = write_decided(tmp_path / "study")
    for seed in (0, 1):
        other = write_run(study, "o_proj", "fincot", seed=seed, gain=0.5, examples=300, rounds=0)
        edit_record(other, lambda record: record["config"]["task"].update(data_seed=7))
    _, verdict = analyse(study)
    assert verdict.choice == "all"
    assert "/ test / 7 (o_proj)" in find_caveat(verdict, "metric, scoring or data")


def test_a_set_of_other_data_is_named_with_it(tmp_path: Path) -> None:
    study = write_decided(tmp_path / "study")
    other: dict[str, Any] = {"gain": 0.5, "scored": {"dataset": "other"}, "rounds": 0}
    for seed in (0, 1):
        write_run(study, "o_proj", "fincot", seed=seed, examples=300, **other)
    _, verdict = analyse(study)
    assert verdict.choice == "all"
    assert "/ other / test / unknown (o_proj)" in find_caveat(verdict, "metric, scoring or data")


def test_runs_of_two_versions_are_named_and_compared(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), rounds=0)
    for folder in study.glob("runs/*--all--*"):
        edit_record(folder, lambda record: record["environment"].update(transformers="5.11.0"))
    folder = write_run(study, "o_proj", "fincot", error=ERROR)
    write_record(folder, dataclasses.replace(read_record(folder), environment={}))
    comparison, verdict = analyse(study)
    assert comparison.overall.set_index("variant")["score"].notna()["all"]
    assert find_caveat(verdict, "versions") == (
        "Runs come from different machines or versions (transformers 5.10.0 and 5.11.0)."
    )


def test_studies_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    """Their runs have the same ids; taken for one study, each set would be there twice."""
    paths = [
        write_study(tmp_path / each / "study", ("qkv",), ("fincot",), rounds=0) for each in "ab"
    ]
    results = load_results(paths)
    assert results.groupby("study")["variant"].agg(list).to_dict() == {
        "a/study": [BASE, "qkv"],
        "b/study": [BASE, "qkv"],
    }
    with pytest.raises(UserError, match="study is a/study and b/study; compare one at a time"):
        compare(results, load_examples(paths))
    with pytest.warns(UserWarning, match="given more than once"):
        assert len(load_results([paths[0], paths[0]])) == 2


def test_a_run_that_stands_there_timed_as_well_is_no_variant_of_its_own(tmp_path: Path) -> None:
    """A sweep with latency=off in a study that was timed before."""
    study = tmp_path / "study"
    write_run(study, BASE, "fincot")
    folder = write_run(study, "qkv", "fincot")
    untimed = folder.with_name(folder.name[:-8] + "0" * 8)
    shutil.copytree(folder, untimed)

    def turn_off(record: dict[str, Any]) -> None:
        record |= {"run_id": untimed.name, "latency": None}
        record["config"]["latency"] = {"enabled": False}

    edit_record(untimed, turn_off)
    (untimed / "latency.parquet").unlink()
    with pytest.warns(UserWarning, match="timed under another id; ignored"):
        results = load_results(study)
    assert sorted(results["variant"]) == [BASE, "qkv"]
    assert results.set_index("variant").loc["qkv", "run_id"] == folder.name
