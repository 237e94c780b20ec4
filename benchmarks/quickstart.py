"""What the quickstart sweep costs and reaches, measured from outside.

    python benchmarks/quickstart.py [--results-dir DIR] [--repeat-task invoice_ocr]

Runs the very command of `make sweep` into a fresh folder and prints: wall time, peak memory, the
gain and the spread on invoice_ocr, the time of a second run (which must train nothing), and whether
the sweep of one task, run twice, gives the same scores bit for bit.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import psutil

from harness import load_results

SWEEP = [sys.executable, "-m", "harness", "--multirun", "experiment=quickstart"]


def run_measured(command: list[str]) -> tuple[float, int]:
    """Run a command; return its seconds and the most memory that it took, in bytes.

    That is what the machine had less of than before, on which nothing else may run. To ask each
    process for its share of what they share takes a tenth of a second of a core, which the command
    would see in what it times.
    """
    started = time.perf_counter()
    free = psutil.virtual_memory().available
    process = subprocess.Popen(command)
    peak = 0

    def sample() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, free - psutil.virtual_memory().available)
            time.sleep(0.5)

    sampler = threading.Thread(target=sample)
    sampler.start()
    status = process.wait()
    sampler.join()
    if status:
        sys.exit(f"{' '.join(command)} ended with status {status}")
    return time.perf_counter() - started, peak


def score_table(study: Path, task: str) -> pd.Series:
    results = load_results(study)
    rows = results[(results.task == task) & (results.status == "ok")]
    return rows.set_index("target_set").score


def same_scores(first: Path, second: Path, task: str) -> bool:
    """Whether every example of a task was predicted and scored alike in two studies."""
    tables = [
        {
            folder.name: pd.read_parquet(folder / "examples.parquet")
            for folder in (study / "runs").glob(f"*--{task}--*")
        }
        for study in (first, second)
    ]
    a, b = tables
    return bool(a) and a.keys() == b.keys() and all(a[name].equals(b[name]) for name in a)


def show(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results-dir", type=Path, default=None)
    parser.add_argument("--repeat-task", default="invoice_ocr")
    options = parser.parse_args()
    results_dir = options.results_dir or Path(tempfile.mkdtemp(prefix="quickstart-"))
    study = results_dir / "quickstart"
    seconds, peak = run_measured([*SWEEP, f"results_dir={results_dir}"])
    show(sweep_seconds=round(seconds, 1), peak_memory_bytes=peak)
    again, _ = run_measured([*SWEEP, f"results_dir={results_dir}"])
    show(second_sweep_seconds=round(again, 1))
    scores = score_table(study, "invoice_ocr")
    variants = scores.drop("base")
    show(
        invoice_ocr_base_field_f1=round(float(scores["base"]), 4),
        invoice_ocr_best_field_f1=round(float(variants.max()), 4),
        invoice_ocr_gain=round(float(variants.max() - scores["base"]), 4),
        invoice_ocr_spread=round(float(variants.max() - variants.min()), 4),
    )
    task, folders = options.repeat_task, [results_dir / "first", results_dir / "second"]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        run_measured([*SWEEP, f"results_dir={folder}", f"task={task}", "latency.enabled=false"])
    first, second = (folder / "quickstart" for folder in folders)
    same = same_scores(first, second, task)
    show(repeated_task=options.repeat_task, same_seed_same_scores=same)


if __name__ == "__main__":
    main()
