"""Reading studies: whole ones, and those that a crash or a hand has damaged."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from synthetic_study import write_run, write_study

from harness.analysis.results import (
    COLUMNS,
    KEYS,
    load_examples,
    load_latency,
    load_losses,
    load_results,
    load_study,
)
from harness.errors import UserError
from harness.records.record import BASE, ErrorRecord, read_record, write_record

SETS = ("qkv", "all")
ERROR = ErrorRecord("FloatingPointError", "loss is nan at step 3", "Traceback ...")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study", SETS, ("fincot", "govreport"), examples=20)


def test_one_row_a_record(study: Path) -> None:
    results = load_results(study)
    assert len(results) == 2 * (1 + len(SETS))
    assert [name for name in results if not name.startswith("score_")] == list(COLUMNS)
    assert set(results["status"]) == {"ok"}
    assert set(results["study"]) == {"study"}
    base = results[results["target_set"] == BASE]
    assert base["train_seconds"].isna().all()
    assert base["end_to_end_ratio"].isna().all()


def test_values_are_the_records(study: Path) -> None:
    row = load_results(study).query("target_set == 'qkv' and task == 'fincot'").iloc[0]
    folder = study / "runs" / row["run_id"]
    record = read_record(folder)
    assert record.eval is not None
    assert row["score"] == record.eval.scores["accuracy"] == row["score_accuracy"]
    assert math.isnan(row["score_rougeL"])
    calls = pd.read_parquet(folder / "latency.parquet")
    unmerged = calls[calls["arm"] == "unmerged"].set_index("round")["end_to_end_seconds"]
    base = calls[calls["arm"] == "base"].set_index("round")["end_to_end_seconds"]
    assert row["end_to_end_seconds"] == unmerged.median()
    assert row["end_to_end_ratio"] == pytest.approx((unmerged / base).median())
    assert row["end_to_end_ratio_low"] < row["end_to_end_ratio"] < row["end_to_end_ratio_high"]


def test_base_seconds_are_of_its_own_arm(study: Path) -> None:
    row = load_results(study).query("target_set == 'base'").iloc[0]
    calls = pd.read_parquet(study / "runs" / row["run_id"] / "latency.parquet")
    assert row["ttft_seconds"] == calls["ttft_seconds"].median()


def test_machines_are_told_apart_by_more_than_their_cpu(study: Path) -> None:
    path = next((study / "runs").glob("tiny--fincot--qkv--*")) / "record.json"
    record = json.loads(path.read_text())
    record["environment"] |= {"cpu_count": 4, "memory_bytes": 16 * 2**30}
    path.write_text(json.dumps(record))
    machines = load_results(study)["machine"].map(json.loads)
    assert {machine["cpu"] for machine in machines} == {"test cpu"}
    assert sorted(machine["cpu_count"] or 0 for machine in machines) == [0] * 5 + [4]
    assert max(machine["memory_gib"] or 0 for machine in machines) == 16


def test_long_tables(study: Path) -> None:
    examples, latency, losses = load_examples(study), load_latency(study), load_losses(study)
    assert len(examples) == 6 * 20
    assert {"id", "score", "prediction", "reference", "score_parsed"} <= set(examples)
    assert "prediction" not in load_examples(study, texts=False)
    assert set(latency["arm"]) == {"base", "unmerged", "merged"}
    assert len(losses) == 4 * 60
    assert losses.groupby("run_id")["step"].agg(["min", "max"]).drop_duplicates().shape == (1, 2)


def test_a_study_holds_the_scores_that_load_examples_gives(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", SETS, ("fincot", "govreport"), seeds=(0, 1), examples=9)
    write_run(study, "all", "medmcqa", error=ERROR)
    expected = load_examples(study)[[*KEYS, "id", "score"]]
    found = load_study(study).examples
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].tolist() == expected[name].tolist(), name
    assert (tmp_path / "study").name in set(found["study"])


def test_clusters_are_read_where_a_run_names_them(tmp_path: Path) -> None:
    study, names = tmp_path / "study", ["one", "one", "two"]
    write_run(study, BASE, "fincot", examples=3)
    write_run(study, "qkv", "fincot", examples=3, columns={"cluster": names})
    for examples in (
        load_examples(study),
        load_examples(study, texts=False),
        load_study(study).examples,
    ):
        by_run = examples.groupby("run_id", observed=True)["cluster"].agg(list).to_dict()
        named, unnamed = sorted(by_run.values(), key=lambda own: own != names)
        assert named == names
        assert pd.isna(unnamed).all()


def test_texts_that_nobody_asked_for_are_not_read(study: Path) -> None:
    folder = next((study / "runs").glob("tiny--fincot--qkv--*"))
    path = folder / "examples.parquet"
    expected = load_examples(study, texts=False)
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        chunk = file.metadata.row_group(0).column(names.index("prediction"))
    content = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"?" * chunk.total_compressed_size
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.testing.assert_frame_equal(load_examples(study, texts=False), expected)
    assert load_study(study).problems == ()
    with pytest.warns(UserWarning, match=folder.name):
        assert folder.name not in set(load_examples(study)["run_id"])


def test_ids_that_became_an_index_are_read(study: Path) -> None:
    path = next((study / "runs").glob("tiny--fincot--qkv--*")) / "examples.parquet"
    expected = load_examples(study)
    pd.read_parquet(path).set_index("id").to_parquet(path)
    pd.testing.assert_frame_equal(load_examples(study), expected)


def test_several_studies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_study(tmp_path / name, sets=("qkv",), tasks=("fincot",), examples=5)
    assert set(load_results(tmp_path)["study"]) == {"a", "b"}
    assert len(load_results([tmp_path / "a", tmp_path / "b"])) == 4


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_no_study_is_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="pass a study's folder"):
        load_results(tmp_path / name)


def corrupt(folder: Path, damage: str) -> None:
    record = folder / "record.json"
    if damage == "empty":
        record.write_text("")
    elif damage == "cut":
        record.write_text(record.read_text()[:200])
    elif damage == "list":
        record.write_text("[]")
    elif damage == "binary":
        record.write_bytes(b"\xff\xfe\x00")
    elif damage == "gone":
        record.unlink()
    else:
        values = json.loads(record.read_text())
        section, field, value = json.loads(damage)
        values[section][field] = value
        record.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "damage",
    [
        *("empty", "cut", "list", "binary", "gone"),
        '["eval", "scores", "high"]',
        '["eval", "scores", {"accuracy": [1]}]',
        '["adapter", "rank", "eight"]',
        '["train", "loss", 3]',
        '["adapter", "roles", null]',
    ],
)
def test_a_bad_record_stops_no_other(study: Path, damage: str) -> None:
    folder = next((study / "runs").glob("tiny--fincot--qkv--*"))
    corrupt(folder, damage)
    with pytest.warns(UserWarning, match=folder.name):
        results = load_results(study)
    assert len(results) == 5
    assert any(folder.name in problem for problem in load_study(study).problems)


def test_nothing_readable_leaves_empty_tables(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "study", "qkv", "fincot")
    corrupt(folder, "cut")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = load_results(tmp_path / "study")
        assert len(load_examples(tmp_path / "study")) == 0
        assert len(load_latency(tmp_path / "study")) == 0
    assert len(results) == 0
    assert list(results) == list(COLUMNS)


def test_a_copied_run_counts_once(study: Path) -> None:
    folder = next((study / "runs").glob("tiny--fincot--qkv--*"))
    shutil.copytree(folder, folder.with_name("zzz-copy"))
    with pytest.warns(UserWarning, match="a copy of run"):
        assert load_results(study)["run_id"].is_unique


def test_a_renamed_run_keeps_its_tables(study: Path) -> None:
    folder = next((study / "runs").glob("tiny--fincot--qkv--*"))
    before = load_examples(study).sort_values(["run_id", "id"], ignore_index=True)
    folder.rename(folder.with_name("renamed"))
    after = load_examples(study).sort_values(["run_id", "id"], ignore_index=True)
    pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize("name", ["examples.parquet", "latency.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really"])
def test_a_bad_table_is_named(study: Path, name: str, content: bytes | None) -> None:
    path = next((study / "runs").glob("tiny--fincot--qkv--*")) / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    loaded = load_study(study)
    assert len(loaded.results) == 6
    assert [path.parent.name in problem for problem in loaded.problems] == [True]


def test_a_failed_run_has_a_row_with_its_error(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv",), tasks=("fincot",))
    write_run(study, "all", "fincot", error=ERROR)
    row = load_results(study).query("target_set == 'all'").iloc[0]
    assert (row["status"], row["error_type"]) == ("failed", "FloatingPointError")
    assert math.isnan(row["score"])


def test_a_run_cut_off_before_its_adapter_is_named_by_its_id(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "study", "qkv+o_proj", "fincot", error=ERROR)
    record = dataclasses.replace(read_record(folder), adapter=None, config={}, status="interrupted")
    write_record(folder, record)
    row = load_results(tmp_path / "study").iloc[0]
    assert (row["model"], row["task"], row["target_set"]) == ("tiny", "fincot", "qkv+o_proj")
    assert (row["method"], row["seed"], row["status"]) == ("lora", 0, "interrupted")


def test_copies_of_timed_calls_give_each_run_what_its_own_record_allows(tmp_path: Path) -> None:
    study = tmp_path / "study"
    first, copied, ruled, untimed, other = (
        write_run(study, "qkv", "fincot", seed=seed) for seed in range(5)
    )
    base = write_run(study, BASE, "fincot")
    for folder in (copied, ruled, untimed, base):
        shutil.copyfile(first / "latency.parquet", folder / "latency.parquet")
    record = read_record(ruled)
    assert record.latency is not None
    timed = dataclasses.replace(record.latency, half_width=0.01, margin=0.03)
    write_record(ruled, dataclasses.replace(record, latency=timed))
    # As a process leaves it that was killed between the copy and the record.
    write_record(untimed, dataclasses.replace(read_record(untimed), latency=None))
    rows = load_results(study).set_index("run_id")
    times = ["end_to_end_seconds", "merged_tpot_ratio", "end_to_end_ratio_low"]
    for folder in (copied, ruled):
        assert rows.loc[folder.name, times].equals(rows.loc[first.name, times])
    assert rows.loc[untimed.name, times].isna().all()
    assert (rows.loc[other.name, times] != rows.loc[first.name, times]).all()
    assert rows.index[rows["latency_trusted"].notna()].tolist() == [ruled.name]
    assert math.isnan(rows.loc[base.name, "end_to_end_ratio_low"])


@pytest.mark.parametrize("content", [None, b"PAR1 not really"])
def test_each_copy_that_cannot_be_read_is_named(study: Path, content: bytes | None) -> None:
    for folder in (study / "runs").iterdir():
        (folder / "latency.parquet").unlink()
        if content is not None:
            (folder / "latency.parquet").write_bytes(content)
    assert len(load_study(study).problems) == 6


def test_missing_latency_is_nan(tmp_path: Path) -> None:
    write_run(tmp_path / "study", "qkv", "fincot", rounds=0)
    row = load_results(tmp_path / "study").iloc[0]
    assert math.isnan(row["end_to_end_ratio"])
    assert math.isnan(row["latency_rounds"])


def test_few_rounds_say_so(tmp_path: Path) -> None:
    write_run(tmp_path / "study", "qkv", "fincot", rounds=3)
    assert load_results(tmp_path / "study")["latency_interval_coverage"].iloc[0] == 0.75


def test_variants_are_named_by_what_varies(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for rank in (8, 16):
        write_run(study, "qkv", "fincot", rank=rank)
    write_run(study, "all", "fincot", rank=8)
    write_run(study, BASE, "fincot")
    variants = load_results(study)["variant"]
    # Rank alone tells them apart, so alpha, which varies with it, is not named.
    assert set(variants) == {"qkv, rank 8", "qkv, rank 16", "all, rank 8", "base"}


def test_recipes_that_differ_by_task_are_one_variant(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_run(study, "qkv", "fincot", learning_rate=1e-3)
    write_run(study, "qkv", "medmcqa", learning_rate=2e-3)
    assert set(load_results(study)["variant"]) == {"qkv"}


def test_seeds_are_one_variant(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / "study", "qkv", "fincot", seed=seed)
    assert set(load_results(tmp_path / "study")["variant"]) == {"qkv"}


def test_nan_losses_are_kept(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "study", "qkv", "fincot")
    record = read_record(folder)
    assert record.train is not None
    losses = (2.0, math.nan, 1.0)
    write_record(
        folder, dataclasses.replace(record, train=dataclasses.replace(record.train, loss=losses))
    )
    np.testing.assert_equal(load_losses(tmp_path / "study")["loss"].to_numpy(), np.array(losses))


def test_records_from_before_a_field_was_there_are_read(study: Path) -> None:
    added = {
        "eval": ("majority_prediction", "majority_score", "scoring", "truncation"),
        "train": ("truncated_tokens_ratio", "skipped_rows"),
    }
    added["eval"] += ("completion_tokens", "reasoning_tokens")
    for path in study.glob("runs/*/record.json"):
        values = json.loads(path.read_text())
        for section, names in added.items():
            for name in names if values[section] else ():
                del values[section][name]
        path.write_text(json.dumps(values))
    results = load_results(study)
    assert len(results) == 6
    unknown = ["majority_prediction", "majority_score", "has_skill", "scoring", "truncation"]
    unknown += ["completion_tokens", "reasoning_tokens", "train_truncated_tokens_ratio"]
    assert results[unknown].isna().all(axis=None)
    assert set(results.loc[results["target_set"] != BASE, "train_skipped_rows"]) == {0}


def test_lengths_cuts_and_ways_of_scoring_are_the_records(tmp_path: Path) -> None:
    scored = {"scoring": "generation", "truncation": "head_tail", "completion_tokens": 41.5}
    trained = {"truncated_examples": 3, "truncated_tokens_ratio": 0.02, "skipped_rows": 4}
    write_run(tmp_path / "study", "qkv", "fincot", scored=scored, trained=trained)
    row = load_results(tmp_path / "study").iloc[0]
    assert {name: row[name] for name in scored} == scored
    assert {name: row[f"train_{name}"] for name in trained} == trained
    assert math.isnan(row["reasoning_tokens"])


def test_corpus_scores_and_further_columns_are_no_obstacle(tmp_path: Path) -> None:
    write_run(
        tmp_path / "study",
        "qkv",
        "fincot",
        examples=3,
        scored={"scores": {"field_f1_micro": 0.25}},
        columns={
            "completion_tokens": [5, 7, None],
            "reasoning_tokens": [None, None, None],
            "log_likelihoods": [[-1.0, -2.0], [], None],
        },
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_results(tmp_path / "study")["score_field_f1_micro"].tolist() == [0.25]
        examples = load_examples(tmp_path / "study")
    assert "score_field_f1_micro" not in examples
    np.testing.assert_equal(examples["completion_tokens"].to_numpy(), np.array([5, 7, math.nan]))
    assert examples["reasoning_tokens"].isna().all()
    assert examples["score"].notna().all()


def test_the_analysis_side_imports_nothing_heavy() -> None:
    modules = ("analysis.verdict.recommendation", "analysis.latency.latency_tables")
    modules += ("analysis.studies.study_comparison", "reporting.study_report")
    code = (
        f"import sys\nfor name in {modules}: __import__('harness.' + name)\n"
        "heavy = {'torch', 'hydra', 'omegaconf', 'transformers', 'peft', 'tasks', 'datasets'}\n"
        "heavy |= {'matplotlib.pyplot'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
