"""What the docs tell a newcomer to type, typed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, TINY, Command

import harness

DOCS = ROOT / "docs" / "own_task.md"
OWN_SIZES = [each for each in TINY if not each.startswith("task.max_completion")] + ["latency=off"]


def read_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def write_tickets(folder: Path) -> None:
    """The file of the example, with more tickets of its kind."""
    header, *rows = read_blocks("csv")[0].strip().splitlines()
    lines = [
        row.replace(",c-", f",c{i}-").replace(" ", f" {i} ", 1) for i in range(30) for row in rows
    ]
    (folder / "tickets.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def read_arguments(command: str) -> list[str]:
    """What a command of the docs gives to the harness, on a model of two blocks."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == [".venv/bin/python", "-m", "harness"]
    return [*words[3:], *OWN_SIZES]


@pytest.mark.slow
def test_the_worked_example_goes_from_a_csv_file_to_the_report(tmp_path: Path) -> None:
    write_tickets(tmp_path)
    arguments = read_arguments(read_blocks("sh")[0])
    subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=tmp_path, check=True)
    study = tmp_path / "results" / "tickets"
    summary = pd.read_csv(study / "summary.csv")
    assert set(summary["target_set"]) == {
        "base",
        "qkv",
        "o_proj",
        "qkv+o_proj",
        "o_proj+fc2",
        "all",
    }
    assert set(summary["task"]) == {"tickets", "(all)"}
    page = (study / "report.html").read_text(encoding="utf-8")
    assert "tickets.csv" in page
    assert "always " in page


def test_the_same_task_as_a_file_beside_one_that_comes_along(
    run_harness: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tickets(tmp_path)
    folder = tmp_path / "my_conf" / "task"
    folder.mkdir(parents=True)
    (folder / "tickets.yaml").write_text(read_blocks("yaml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_harness(*read_arguments(read_blocks("sh")[1])).status == 0
    summary = pd.read_csv(tmp_path / "results" / "tickets" / "summary.csv")
    assert set(summary["task"]) == {"tickets", "medmcqa", "(all)"}
    assert set(summary["target_set"]) == {"base", "qkv", "o_proj", "all"}


def test_chat_rows_go_to_the_report(
    run_harness: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = read_blocks("jsonl")[0].strip().splitlines()
    # With more conversations of their kind.
    many = [line.replace("?", f" {n}?") for n in range(20) for line in lines]
    (tmp_path / "chats.jsonl").write_text("\n".join(many), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_harness(*read_arguments(read_blocks("sh")[2])).status == 0
    study = tmp_path / "results" / "chats"
    summary = pd.read_csv(study / "summary.csv")
    assert set(summary["target_set"]) == {"base", "qkv", "o_proj", "all"}
    assert "ROUGE-L" in (study / "report.md").read_text(encoding="utf-8")


def test_a_reasoning_and_a_metric_of_ones_own_go_to_the_report(
    run_harness: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = json.loads(read_blocks("json")[0])
    many = [row | {"bill": f"{n}.50"} for n in range(20) for row in rows]
    (tmp_path / "tips.json").write_text(json.dumps(many), encoding="utf-8")
    (tmp_path / "my_metrics.py").write_text(read_blocks("python")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_harness(*read_arguments(read_blocks("sh")[3])).status == 0
    study = tmp_path / "results" / "tips"
    results = harness.load_results(study)
    assert set(results["metric"]) == {"closeness"}
    assert results["score_closeness"].between(0, 1).all()
    page = (study / "report.md").read_text(encoding="utf-8")
    assert "The metric closeness is that of my_metrics.py" in page
