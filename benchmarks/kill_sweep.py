"""Does a sweep that was killed end, when run again, as one that was left alone?

    python benchmarks/kill_sweep.py --kills 50

Each trial starts a small sweep (random weights, two tasks, three target sets), kills its whole
process tree with SIGKILL, or one of its processes alone, at a random moment, and runs the same
command again. The rerun has to end well, with the very scores and predictions of a sweep that was
never disturbed, and must not touch a run that had finished. Counts go to
benchmarks/results/kill-sweep.json.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil

RESULTS = Path(__file__).resolve().parent / "results" / "kill-sweep.json"
TASKS, SETS = ("medmcqa", "invoice_ocr"), ("qkv", "o_proj", "all")
SWEEP = (
    *("--multirun", f"task={','.join(TASKS)}", f"target_modules={','.join(SETS)}"),
    *("model=random", "model.shape=tiny-llama", "model.dtype=float32", "model.device=cpu"),
    *("task.train_examples=24", "task.test_examples=6", "task.max_completion_tokens=24"),
    *("train.batch_size=4", "train.epochs=4", "train.learning_rate=1e-2"),
    *("latency.fresh_processes=false", "latency.max_rounds=6", "latency.max_output_tokens=4"),
    "study=killed",
)


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "harness", *SWEEP, f"results_dir={folder}"]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def find_processes(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def read_outcome(folder: Path) -> dict[str, tuple[object, ...]]:
    """Run id -> what must be the same in every sweep."""
    outcome = {}
    for path in sorted(folder.glob("killed/runs/*/record.json")):
        record = json.loads(path.read_text())
        examples = pd.read_parquet(path.parent / "examples.parquet")
        outcome[record["run_id"]] = (
            record["status"],
            record["eval"]["scores"],
            examples["prediction"].tolist(),
        )
    return outcome


def find_finished(folder: Path) -> dict[Path, bytes]:
    finished = {}
    for path in folder.glob("killed/runs/*/record.json"):
        text = path.read_bytes()
        if json.loads(text)["status"] == "ok":
            finished[path] = text
    return finished


def disturb(folder: Path, draw: random.Random, longest: float) -> str:
    """Start a sweep and kill all of it, or one process of it, at a random moment."""
    process = start(folder)
    moment = draw.uniform(0, longest)
    time.sleep(moment)
    tree = find_processes(process.pid)
    children = [each for each in tree[1:] if "forkserver" in " ".join(each.cmdline())]
    alone = draw.random() < 0.5 and children
    victims = [draw.choice(children)] if alone else tree
    for victim in victims:
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    return f"{'one process' if alone else 'the whole sweep'} after {moment:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    counts = {"kills": 0, "reruns_ended_well": 0, "same_outcome": 0, "finished_runs_touched": 0}
    counts |= {"runs_finished_before_the_kill": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "undisturbed"
        began = time.monotonic()
        assert start(folder).wait() == 0
        longest = time.monotonic() - began
        expected = read_outcome(folder)
        assert len(expected) == len(TASKS) * (len(SETS) + 1)
        for number in range(options.kills):
            folder = Path(name) / str(number)
            what = disturb(folder, draw, longest)
            finished = find_finished(folder)
            status = start(folder).wait()
            same = read_outcome(folder) == expected
            touched = sum(path.read_bytes() != text for path, text in finished.items())
            counts["kills"] += 1
            counts["reruns_ended_well"] += status == 0
            counts["same_outcome"] += same
            counts["finished_runs_touched"] += touched
            counts["runs_finished_before_the_kill"] += len(finished)
            print(f"{number}: {what}: status {status}, same {same}, touched {touched}", flush=True)
    RESULTS.write_text(json.dumps(counts | {"sweep_seconds": longest}, indent=2) + "\n")
    print(json.dumps(counts, indent=2))


if __name__ == "__main__":
    main()
