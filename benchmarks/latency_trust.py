"""Does the timing tell the base from itself, and does it find a slowdown of known size?

    python benchmarks/latency_trust.py --studies 40
    python benchmarks/latency_trust.py --studies 40 --loaded
    python benchmarks/latency_trust.py --summarize

Each study is an independent one, of fresh processes, on the embedded model: the base, the base
again (the A/A control), and the base slowed down by 2%, 5% and 10% of each call's own time.
`--loaded` adds a re-cloned base, and keeps another process busy meanwhile, in random bursts, half
of the time. Every call's row is kept in benchmarks/results/latency-trust-<idle|loaded>.parquet,
from which `--summarize` derives the counts in latency-trust.json; a run that was cut off goes on
with its next study.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from harness.analysis.latency.ratios import paired_ratio
from harness.analysis.latency.timing_verdicts import Rule, check_gate, judge
from harness.config.schema import ModelConfig
from harness.errors import UserError
from harness.models.devices import describe_environment
from harness.models.embedded import embedded_folder
from harness.records.files import write_json, write_table
from harness.records.machine import describe_difference, identify_machine
from harness.timing.budget import Budget
from harness.timing.controller import PointState, Series, measure
from harness.timing.points import Build, Point, name_planted
from harness.timing.processes import FreshProcess

RESULTS = Path(__file__).resolve().parent / "results"
PLANTED = (0.02, 0.05, 0.10)
RULE = Rule(half_width=0.02, margin=0.03, min_rounds=15, min_processes=3)
PROMPT_TOKENS, OUTPUT_TOKENS = 16, 2
TIME = "end_to_end_seconds"


def name_run(loaded: bool) -> str:
    return f"latency-trust-{'loaded' if loaded else 'idle'}"


def burn(seed: int) -> None:
    """Multiply and rest in turns of random length, as long as the parent lives."""
    parent = os.getppid()
    torch.set_num_threads(1)
    turns = random.Random(seed)
    matrix = torch.randn(512, 512)
    while os.getppid() == parent:
        end = time.perf_counter() + turns.uniform(0.05, 2)
        while time.perf_counter() < end:
            matrix @ matrix
        time.sleep(turns.uniform(0.05, 2))


@contextmanager
def load(is_on: bool) -> Iterator[None]:
    """A bursting process beside the block, if asked for."""
    burner = multiprocessing.get_context("spawn").Process(target=burn, args=(0,), daemon=True)
    if is_on:
        burner.start()
    try:
        yield
    finally:
        if is_on:
            burner.kill()
            burner.join()


def run_study(seed: int, max_seconds: float, is_cloned_too: bool) -> pd.DataFrame:
    """Time one study; return its calls."""
    build = Build(
        model=ModelConfig(), adapters=(), planted=PLANTED, is_cloned_too=is_cloned_too, seed=seed
    )
    prompt = tuple(random.Random(seed).randrange(40_000) for _ in range(PROMPT_TOKENS))
    budget = Budget(rule=RULE, max_seconds=max_seconds)
    series = Series(build, [PointState(Point(0, (prompt,), OUTPUT_TOKENS))])
    measured = measure(series, budget, FreshProcess)
    state = measured.states[0]
    return pd.DataFrame(measured.calls).assign(
        study=seed, seconds=state.seconds, stopped=state.stopped
    )


def run(studies: int, loaded: bool, max_seconds: float) -> None:
    """Run what is missing of `studies` studies, keeping each as it is done."""
    embedded_folder()
    file = RESULTS / f"{name_run(loaded)}.parquet"
    done = pd.read_parquet(file) if file.exists() else pd.DataFrame({"study": []})
    facts = {
        "max_seconds": max_seconds,
        "rule": dataclasses.asdict(RULE),
        "environment": describe_environment(torch.device("cpu")),
    }
    about = RESULTS / f"{name_run(loaded)}.json"
    if len(done):
        _check_same(json.loads(about.read_text()), facts)
    else:
        write_json(about, facts)
    with load(loaded):
        for seed in range(studies):
            if seed in set(done["study"]):
                continue
            calls = run_study(seed, max_seconds, is_cloned_too=loaded)
            done = pd.concat([done, calls], ignore_index=True) if len(done) else calls
            write_table(file, done)
            print(f"study {seed}: {describe(summarize_study(calls))}", flush=True)


def _check_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """A run that goes on must go on as it began."""
    machines = [identify_machine(facts["environment"]) for facts in (before, now)]
    difference = describe_difference(*machines)
    if difference or any(before[key] != now[key] for key in ("max_seconds", "rule")):
        raise UserError(f"the run was begun otherwise ({difference or 'another rule or budget'})")


def summarize_study(calls: pd.DataFrame) -> pd.DataFrame:
    """Ratio, interval and verdict of every arm of one study."""
    arms = [("base_again", "base", 0.0), ("base_cloned", "base", 0.0)]
    arms += [("planted", name_planted(share), share) for share in PLANTED]
    arms = [each for each in arms if each[0] in set(calls["arm"])]
    rows = []
    for arm, variant, share in arms:
        ratio = paired_ratio(calls, TIME, arm, variant=variant)
        rows.append(
            {
                "arm": arm if arm != "planted" else variant,
                "truth": 1 + share,
                "ratio": ratio.estimate,
                "low": ratio.low,
                "high": ratio.high,
                "rounds": ratio.rounds,
                "processes": ratio.processes,
                "verdict": judge(ratio, RULE),
                "excludes_one": ratio.low > 1 or ratio.high < 1,
                "covers": ratio.low <= 1 + share <= ratio.high,
                "is_trusted": check_gate(calls, RULE).is_trusted,
                "seconds": calls["seconds"].iloc[0],
            }
        )
    return pd.DataFrame(rows)


def describe(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    ratios = ", ".join(
        f"{r.arm} {r.ratio:.3f} ({r.low:.3f}-{r.high:.3f})" for r in table.itertuples()
    )
    return f"{ratios}; {first.rounds} rounds in {first.processes}, {first.seconds:.0f} s"


def summarize() -> None:
    """Write the counts of both runs, from their rows."""
    summary = {}
    for loaded in (False, True):
        file = RESULTS / f"{name_run(loaded)}.parquet"
        if not file.exists():
            continue
        calls = pd.read_parquet(file)
        facts = json.loads((RESULTS / f"{name_run(loaded)}.json").read_text())
        studies = [summarize_study(rows) for _, rows in calls.groupby("study")]
        table = pd.concat(studies, ignore_index=True)
        summary["loaded" if loaded else "idle"] = facts | {
            "studies": len(studies),
            "trusted_studies": int(table[table["arm"] == "base_again"]["is_trusted"].sum()),
            "median_seconds": float(np.median([each["seconds"].iloc[0] for each in studies])),
            "max_seconds_of_a_study": float(max(each["seconds"].iloc[0] for each in studies)),
            "median_load_average": float(calls["load_average"].median()),
            "median_other_cpu_share": float(
                (calls["other_cpu_seconds"].sum()) / calls["end_to_end_seconds"].sum()
            ),
            "arms": [_count(arm, rows) for arm, rows in table.groupby("arm", sort=False)],
        }
    (RESULTS / "latency-trust.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps({k: v["arms"] for k, v in summary.items()}, indent=2))


def _count(arm: object, rows: pd.DataFrame) -> dict[str, object]:
    verdicts = rows["verdict"].value_counts()
    return {
        "arm": arm,
        "truth": float(rows["truth"].iloc[0]),
        "studies": len(rows),
        "slower": int(verdicts.get("slower", 0)),
        "faster": int(verdicts.get("faster", 0)),
        "equivalent": int(verdicts.get("equivalent", 0)),
        "unresolved": int(verdicts.get("unresolved", 0)),
        "interval_excludes_1": int(rows["excludes_one"].sum()),
        "interval_covers_truth": int(rows["covers"].sum()),
        "sign_right": int(((rows["ratio"] - 1) * (rows["truth"] - 1) > 0).sum()),
        "median_half_width": float(((rows["high"] - rows["low"]) / 2).median()),
        "median_error": float((rows["ratio"] - rows["truth"]).abs().median()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--loaded", action="store_true")
    parser.add_argument("--max-seconds", type=float, default=120)
    parser.add_argument("--summarize", action="store_true")
    options = parser.parse_args()
    if not options.summarize:
        run(options.studies, options.loaded, options.max_seconds)
    summarize()


if __name__ == "__main__":
    main()
