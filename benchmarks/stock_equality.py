"""Do variants that were trained in packs answer as stock PEFT's, trained one process each?

    python benchmarks/stock_equality.py --task medmcqa

For every target set, the harness's answers to the quickstart's test examples are held against those
of a process that trains PEFT's LoRA with transformers' Trainer on the same examples, from the same
initialisation, in fp32 and in bf16. Two seeds of the harness in bf16 say what a difference means.
Figures go to benchmarks/results/stock-equality-<task>.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from sweep_throughput import RESULTS, SETS, dump_work, make_overrides, name_answers

from harness.analysis.results import load_examples, load_results
from harness.config.composing import compose
from harness.models.devices import describe_environment, resolve_device
from harness.sweep.plan import plan_sweep


def run_harness(task: str, dtype: str, seed: int, folder: Path) -> pd.DataFrame:
    """A row an example and target set: `target_set`, `id`, `prediction`, and the headline score."""
    overrides = make_overrides(task, ",".join(SETS), folder, dtype)
    command = [sys.executable, "-m", "harness", "--multirun", *overrides, f"seed={seed}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load_examples(folder / "quickstart")


def run_stock(task: str, dtype: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Target set -> test example's id -> answer."""
    config = compose(make_overrides(task, "all", folder, dtype))
    (plan,) = plan_sweep([config]).variants
    work = folder / f"work-{dtype}.json"
    dump_work(plan, work)
    script = str(Path(__file__).with_name("sweep_throughput.py"))
    answers = {}
    for target_set in SETS:
        command = [sys.executable, script, "--stock", str(work), target_set, dtype]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        answers[target_set] = json.loads(name_answers(work, target_set, dtype).read_text())
    # A choice is left as its number.
    choices = {item.example.id: item.example.choices for item in plan.prepared.test}
    return {
        target_set: {
            name: choices[name][answer] if isinstance(answer, int) else answer
            for name, answer in each.items()
        }
        for target_set, each in answers.items()
    }


def count_same(ours: pd.DataFrame, theirs: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Target set -> test examples with the same answer."""
    return {
        target_set: int((rows["prediction"] == rows["id"].map(theirs[target_set])).sum())
        for target_set, rows in ours.groupby("target_set")
        if target_set in theirs
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="medmcqa")
    options = parser.parse_args()
    written: dict[str, Any] = {"task": options.task}
    with tempfile.TemporaryDirectory() as name:
        for dtype in ("float32", "bfloat16"):
            folder = Path(name) / dtype
            folder.mkdir()
            ours = run_harness(options.task, dtype, 0, folder)
            theirs = run_stock(options.task, dtype, folder)
            written[f"same_answers_{dtype}"] = count_same(ours, theirs)
            written["examples"] = int(ours["id"].nunique())
            print(json.dumps(written), flush=True)
        other = run_harness(options.task, "bfloat16", 1, Path(name) / "seed-1")
        by_set = {key: dict(zip(rows["id"], rows["prediction"], strict=True))
                  for key, rows in other.groupby("target_set")}  # fmt: skip
        written["same_answers_of_two_seeds"] = count_same(ours, by_set)
        scores = load_results(Path(name) / "bfloat16" / "quickstart")
        written["scores"] = dict(zip(scores["target_set"], scores["score"], strict=True))
    written["environment"] = describe_environment(resolve_device("auto"))
    path = RESULTS / f"stock-equality-{options.task}.json"
    path.write_text(json.dumps(written, indent=2, default=str) + "\n")
    print(json.dumps({key: written[key] for key in written if key != "environment"}, indent=2))


if __name__ == "__main__":
    main()
