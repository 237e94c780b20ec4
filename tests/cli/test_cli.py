"""The command as a user runs it: exit status, one line of error, what is left on disk."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, TINY, Command

from harness import load_results


def start_harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_sweep_ends_in_a_report_and_a_rerun_trains_nothing(
    run_harness: Command, tmp_path: Path
) -> None:
    command = ["--multirun", *TINY, f"results_dir={tmp_path}", "study=s"]
    arguments = [*command, "target_modules=q,[o_proj,fc2]", "task=medmcqa,invoice_ocr"]
    done = start_harness(*arguments)
    assert done.returncode == 0, done.stderr
    assert "plan: 4 variants" in done.stderr
    assert "o_proj+fc2" in done.stdout
    study = tmp_path / "s"
    for name in (
        "summary.csv",
        "summary.parquet",
        "report.md",
        "report.html",
        "recommendation.json",
    ):
        assert (study / name).stat().st_size > 0
    assert list((study / "plots").glob("*.png"))
    assert list((study / "plots").glob("*.svg"))
    results = load_results(study)
    assert sorted(set(results.target_set)) == ["base", "o_proj+fc2", "q"]
    assert len(results) == 6
    before = {path: path.read_bytes() for path in study.glob("runs/*/record.json")}
    again = run_harness(*arguments)
    assert again.status == 0
    assert "4 already finished" in again.stderr
    assert {path: path.read_bytes() for path in study.glob("runs/*/record.json")} == before
    for run in study.glob("runs/*--q--*"):
        assert (run / ".hydra" / "overrides.yaml").is_file()


@pytest.mark.parametrize("mode", [(), ("--multirun", "target_modules=q,k")])
def test_an_unknown_size_is_one_line_with_the_choices(
    run_harness: Command, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    command = (*mode, "experiment=quickstart", "task=medmcqa", "variables.size=huge")
    done = run_harness(*command, f"results_dir={tmp_path}")
    assert done.status == 2
    assert done.stderr.splitlines() == [
        "error: variables.size is 'huge'; expected one of xxs, xs, s, m, l, xl, auto"
    ]


@pytest.mark.slow
def test_other_launchers_run_the_same_jobs(run_harness: Command, tmp_path: Path) -> None:
    done = run_harness(
        "--multirun",
        "hydra/launcher=basic",
        *TINY,
        "latency=off",
        f"results_dir={tmp_path}",
        "study=s",
        "target_modules=q,k",
    )
    assert done.status == 0, done.stderr
    assert sorted(load_results(tmp_path / "s").target_set) == ["base", "k", "q"]


def test_a_failed_variant_makes_the_exit_status_and_is_in_the_report(
    run_harness: Command, tmp_path: Path
) -> None:
    done = run_harness(
        "--multirun",
        *TINY,
        "latency=off",
        f"results_dir={tmp_path}",
        "study=s",
        "train.learning_rate=1e-2,1e30",
        "train.epochs=5",
        "target_modules=all",
    )
    assert done.status == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "lower train.learning_rate" in done.stderr.splitlines()[-1]
    results = load_results(tmp_path / "s")
    assert sorted(results.status) == ["failed", "ok", "ok"]  # and one base for both
    assert "lower train.learning_rate" in (tmp_path / "s" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["task=nothing"], "task/nothing"),
        (["target_modules=banana"], "'banana' in 'banana' is not a role"),
        (["model=nothing"], "model/nothing"),
        (["train.lr=1"], "lr"),
        (["adapter.rank=0"], "adapter.rank is 0"),
        (["--multirun", "target_modules=o_proj,q", "train.learning_rate=1e-3,-1"], "learning_rate"),
        (["model=local", "model.path=/nonexistent"], "no config.json found"),
    ],
)
def test_bad_input_is_one_line_and_a_status(
    run_harness: Command, tmp_path: Path, arguments: list[str], named: str
) -> None:
    done = run_harness(*arguments, f"results_dir={tmp_path}")
    assert done.status == 2
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("error: ")
    assert named in errors[0]
    assert not list(tmp_path.rglob("record.json"))


def test_hub_without_a_network_is_one_line(run_harness: Command, tmp_path: Path) -> None:
    done = run_harness("model=hub", "model.path=a/b", f"results_dir={tmp_path}")
    assert done.status == 2
    assert done.stderr.splitlines()[-1].startswith("error: model: a/b cannot be loaded")
    done = run_harness(*TINY, "task.source=hub", f"results_dir={tmp_path}")
    assert done.status == 2
    *said, last = done.stderr.splitlines()
    assert said == ["medmcqa: reading and tokenizing the hub data"]
    assert last.startswith("error: openlifescienceai/medmcqa: the hub cannot be reached")
    assert "source=local" in last


@pytest.mark.parametrize(
    "sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_sweep_says_so_and_goes_on_from_there(
    run_harness: Command, tmp_path: Path, sent: signal.Signals
) -> None:
    arguments = ["--multirun", *TINY, "latency=off", f"results_dir={tmp_path}", "study=s"]
    arguments += ["target_modules=q,k", "train.epochs=20"]
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.rglob("record.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, sent)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert set(load_results(tmp_path / "s").status) <= {"interrupted", "ok"}
    assert run_harness(*arguments).status == 0
    assert set(load_results(tmp_path / "s").status) == {"ok"}
