"""What dropping hopeless learning rates early costs: halving against the whole grid.

    python benchmarks/halving_regret.py results/methods

Takes a study whose rates were tuned by the grid (benchmarks/methods_study.py), tunes LoRA, rsLoRA
and LoRA-FA on each of its target sets again by halving, in a copy, and compares: regret is the
validation loss at halving's rate, trained to the end, less that at the grid's. Written to
benchmarks/results/halving-regret.json, with the optimizer steps that each took.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from methods_study import ARMS, MIDDLES, RECIPE

from harness.config.composing import compose
from harness.config.schema import Config
from harness.sweep.learning_rates import RUNGS, tune_rates
from harness.sweep.plan import plan_sweep
from harness.sweep.process_server import start_server
from harness.sweep.run import run_sweep

RESULTS = Path(__file__).resolve().parent / "results" / "halving-regret.json"
METHODS = ("lora", "rslora", "lora_fa")


def make_configs(folder: Path) -> list[Config]:
    return [
        compose(
            [
                *(f"adapter={method}", f"target_modules={target_set}"),
                f"adapter.learning_rate={MIDDLES.get(method, 2e-3)}",
                *RECIPE,
                *("train.tuning=halving", f"results_dir={folder}"),
            ]
        )
        for method in METHODS
        for target_set in ARMS[method]
    ]


def compare(before: dict[str, Any], after: dict[str, Any], steps: int) -> dict[str, Any]:
    """One search: what each chose, what that costs in loss, and what choosing took."""
    losses = before["losses"]
    best = min(losses.values())
    # Halving may stop short of the rates that the grid grew to, or go beyond them.
    known = losses | {rate: loss for rate, loss in after["losses"].items() if loss is not None}
    chosen = {name: f"{row['chosen']:g}" for name, row in (("grid", before), ("halving", after))}
    short = sum(
        math.ceil(share * steps) * len(rung)
        for share, rung in zip(RUNGS, after["rungs"], strict=True)
    )
    whole = sum(loss is not None for loss in after["losses"].values())
    return {
        "method": before["method"],
        "target_set": before["target_set"],
        "chosen": chosen,
        "loss": {"grid": best, "halving": known[chosen["halving"]]},
        "regret": known[chosen["halving"]] - best,
        "steps": {"grid": len(losses) * steps, "halving": short + whole * steps},
    }


def read_rows(study: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads((study / "tuning.json").read_text())
    # By method and set: a study that an older version wrote does not name its searches.
    return {f"{row['method']} on {row['target_set']}": row for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="a study that was tuned by the grid")
    study: Path = parser.parse_args().study
    start_server()
    grid = read_rows(study)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "methods"
        shutil.copytree(study / "tuning", copy / "tuning")
        plans = plan_sweep(make_configs(Path(folder))).variants
        tune_rates(plans, partial(run_sweep, in_processes=True))
        halved = read_rows(copy)
    steps = len(plans[0].steps)
    searches = [compare(grid[name], row, steps) for name, row in halved.items()]
    total = {name: sum(each["steps"][name] for each in searches) for name in ("grid", "halving")}
    summary = {
        "command": f"python benchmarks/halving_regret.py {study}",
        "searches": searches,
        "same_choice": sum(
            each["chosen"]["grid"] == each["chosen"]["halving"] for each in searches
        ),
        "mean_regret": sum(each["regret"] for each in searches) / len(searches),
        "worst_regret": max(each["regret"] for each in searches),
        "steps": total,
        "steps_ratio": total["halving"] / total["grid"],
    }
    RESULTS.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps({k: v for k, v in summary.items() if k != "searches"}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
