"""A sweep in processes of its own: what dies takes nothing else along, and scores stay the same."""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from harness.analysis.comparison import compare
from harness.analysis.results import load_examples, load_results
from harness.config.schema import Config
from harness.errors import UserError
from harness.progress import Progress
from harness.records.record import BASE, Record, read_record
from harness.sweep import run
from harness.sweep.packing import PackPlan
from harness.sweep.stages import Outcome

ConfigMaker = Callable[..., Config]
run_pack, time_pack = run.run_pack, run.time_pack
UNTIMED = ("latency=off",)
TIMED = ("latency.max_rounds=2",)


def die(how: str) -> None:
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(3)


def die_together(pack: PackPlan, progress: Progress) -> None:
    """Killed wherever `k` is not alone."""
    if len(pack.plans) > 1 and "k" in pack.labels:
        die("killed")
    run_pack(pack, progress)


def die_trained(pack: PackPlan, progress: Progress) -> None:
    """Killed after everything has been trained and scored, but for the last word."""
    run_pack(pack, progress)
    if len(pack.plans) > 1:
        die("killed")


def die_always(pack: PackPlan, progress: Progress) -> None:
    if "k" in pack.labels:
        die("exit")
    run_pack(pack, progress)


def die_timing(pack: PackPlan, progress: Progress) -> None:
    if len(pack.plans) > 1:
        die("killed")
    time_pack(pack, progress)


def make_configs(tiny_config: ConfigMaker, name: str, *overrides: str) -> list[Config]:
    """Two variants, without timing unless it is asked for: each process costs seconds to start."""
    return [
        tiny_config(f"target_modules={each}", f"study={name}", *(overrides or UNTIMED))
        for each in ("q", "k")
    ]


def read(configs: list[Config]) -> list[Record]:
    return [read_record(c.study_folder / "runs" / c.run_id) for c in configs]


def read_predictions(configs: list[Config]) -> list[Any]:
    folders = [config.study_folder / "runs" / config.run_id for config in configs]
    return [pd.read_parquet(f / "examples.parquet")["prediction"].tolist() for f in folders]


def statuses(outcomes: list[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


@pytest.mark.parametrize(
    ("stage", "broken", "packs"),
    [
        pytest.param("run_pack", die_together, 1, marks=pytest.mark.slow),
        ("run_pack", die_trained, 2),
        ("time_pack", die_timing, 2),
    ],
)
def test_variants_of_a_process_that_died_are_tried_apart(
    tiny_config: ConfigMaker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    broken: Callable[..., None],
    packs: int,
) -> None:
    calm = make_configs(tiny_config, "calm")
    assert statuses(run.run_sweep(calm)) == ["ok"] * 2
    configs = make_configs(tiny_config, "broken", *(TIMED if stage == "time_pack" else UNTIMED))
    monkeypatch.setattr(run, stage, broken)
    assert statuses(run.run_sweep(configs, in_processes=True)) == ["ok"] * 2
    printed = capsys.readouterr().err
    assert printed.count("was killed (signal 9), probably out of memory") == 1
    assert "running its variants separately" in printed
    assert read_predictions(configs) == read_predictions(calm)
    records = read(configs)
    assert [len(record.train.pack) for record in records if record.train] == [packs] * 2
    base = read_record(configs[0].study_folder / "runs" / configs[0].base_run_id)
    assert base.status == "ok"


def test_a_variant_that_dies_alone_too_fails_and_the_others_do_not(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = make_configs(tiny_config, "broken")
    monkeypatch.setattr(run, "run_pack", die_always)
    outcomes = run.run_sweep(configs, in_processes=True)
    assert statuses(outcomes) == ["ok", "failed"]
    assert outcomes[1].error == "its process exited unexpectedly (exit status 3)"
    assert read(configs)[1].status == "failed"
    monkeypatch.undo()
    assert statuses(run.run_sweep(configs)) == ["ok"] * 2


def test_processes_and_this_one_score_alike_and_the_plan_is_what_ran(
    tiny_config: ConfigMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    here, apart = make_configs(tiny_config, "here"), make_configs(tiny_config, "apart", *TIMED)
    run.run_sweep(here)
    capsys.readouterr()
    run.run_sweep(apart, in_processes=True)
    assert "packs of variants trained together, " in capsys.readouterr().err
    for first, second in zip(read(here), read(apart), strict=True):
        assert first.train is not None
        assert second.train is not None
        assert first.train.loss == pytest.approx(second.train.loss, rel=1e-5)
        assert second.latency is not None
    assert read_predictions(here) == read_predictions(apart)
    plan = json.loads((apart[0].study_folder / "plan.json").read_text())
    planned = {
        run_id: tuple(pack["run_ids"]) for pack in plan["packs"] for run_id in pack["run_ids"]
    }
    for record in read(apart):
        assert record.train is not None
        assert record.train.pack == planned[record.run_id]
    assert sum(pack["scores_base"] for pack in plan["packs"]) == 1


def test_a_finished_sweep_starts_no_process(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = make_configs(tiny_config, "done")
    run.run_sweep(configs)
    monkeypatch.setattr(run, "run_apart", lambda *_: pytest.fail("started"))
    assert statuses(run.run_sweep(configs, in_processes=True)) == ["ok"] * 2


def test_finished_runs_are_left_alone(tiny_config: ConfigMaker) -> None:
    configs = make_configs(tiny_config, "kept")
    run.run_sweep(configs[:1])
    before = {p: p.read_bytes() for p in configs[0].study_folder.glob("runs/*/record.json")}
    run.run_sweep(configs, in_processes=True)
    assert {path: path.read_bytes() for path in before} == before


def count_timings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    timed: list[str] = []

    def count(pack: PackPlan, progress: Progress) -> None:
        timed.append(pack.first.config.task.name)
        time_pack(pack, progress)

    monkeypatch.setattr(run, "time_pack", count)
    return timed


def make_grid(tiny_config: ConfigMaker, name: str, *overrides: str) -> list[Config]:
    return [
        tiny_config(
            f"task={task}", f"target_modules={each}", f"seed={seed}", f"study={name}", *overrides
        )
        for task in ("medmcqa", "fincot")
        for seed in (0, 1)
        for each in ("q", "k")
    ]


def test_calls_of_the_same_lengths_are_timed_once_for_all_tasks_and_seeds(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = ("latency.prompt_tokens=9", "latency.output_tokens=2", "latency.max_rounds=6")
    configs = make_grid(tiny_config, "shared", *lengths)
    timed = count_timings(monkeypatch)
    assert statuses(run.run_sweep(configs)) == ["ok"] * 8
    assert timed == ["medmcqa"]
    results = load_results(configs[0].study_folder)
    assert set(results["status"]) == {"ok"}
    assert results["latency_session"].nunique() == 1
    for _, rows in results.groupby("target_set"):
        assert rows["end_to_end_seconds"].nunique() == 1
    # Four times the same measurement is known no better than once. (The gate is another matter.)
    believed = results.assign(latency_trusted=True)
    overall = compare(believed, load_examples(configs[0].study_folder, texts=False)).overall
    for row in overall[overall["target_set"] != BASE].to_dict("records"):
        own = results[results["target_set"] == row["target_set"]].iloc[0]
        for bound in ("", "_low", "_high"):
            name = f"end_to_end_ratio{bound}"
            assert row[name] == pytest.approx(own[name], nan_ok=True)


def test_tasks_of_different_lengths_are_timed_apart(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Prompts of each task's own length: of FinCoT's the first tokens are enough.
    short = ("latency.output_tokens=2", "task.max_prompt_tokens=120", "task.train_examples=3")
    configs = [each for each in make_grid(tiny_config, "apart", *short) if each.seed == 0]
    timed = count_timings(monkeypatch)
    assert statuses(run.run_sweep(configs)) == ["ok"] * 4
    assert sorted(timed) == ["fincot", "medmcqa"]


def test_whose_times_are_shared_shares_their_failure(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("the clock stands still")

    configs = make_grid(tiny_config, "failed", "latency.prompt_tokens=9", "latency.output_tokens=2")
    monkeypatch.setattr("harness.sweep.timing_stage._measure", fail)
    outcomes = run.run_sweep(configs)
    assert statuses(outcomes) == ["failed"] * 8
    assert all("the clock stands still" in str(outcome.error) for outcome in outcomes)
    monkeypatch.undo()
    assert statuses(run.run_sweep(configs)) == ["ok"] * 8
