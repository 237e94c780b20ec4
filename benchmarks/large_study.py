"""How long does the report of a large study take, and how much memory?

    python benchmarks/large_study.py [--sets 20 --tasks 8 --seeds 5 --examples 5000]

Writes a study with made-up scores, texts, losses and timed calls into a temporary folder, with the
columns of a real one, and runs `python -m harness.report` on it in a fresh process. As in a real
one, a set's seeds share the timed calls of a task. Seconds, peak memory and sizes go to
benchmarks/results/large-study.json.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from harness.config.target_sets import ROLES, label_roles
from harness.models.devices import describe_environment
from harness.records.record import (
    BASE,
    AdapterRecord,
    EvalRecord,
    LatencyRecord,
    Record,
    TrainRecord,
    make_run_id,
    write_record,
)

RESULTS = Path(__file__).resolve().parent / "results" / "large-study.json"
SECONDS_LIMIT, MEMORY_LIMIT_BYTES = 60, 4 * 2**30
PROCESSES, ROUNDS, STEPS = 3, 10, 300


TIMING = LatencyRecord(
    batch_size=1,
    prompt_tokens=256,
    output_tokens=32,
    rounds=PROCESSES * ROUNDS,
    load_before=0.1,
    load_after=0.2,
    processes=PROCESSES,
    stopped="target reached",
    half_width=0.02,
    margin=0.03,
    min_rounds=15,
    min_processes=PROCESSES,
)


@dataclass(frozen=True)
class Kind:
    """What a task's examples look like."""

    metric: str
    others: tuple[str, ...]
    """Further scores."""
    characters: int
    """Of an answer."""
    is_chosen: bool = False
    """Picked among four choices by likelihood, not written."""


KINDS = {
    "choice": Kind("accuracy", ("has_answer", "accuracy_norm"), 1, is_chosen=True),
    "summary": Kind("rougeL", ("rouge1", "rouge2", "rougeLsum"), 600),
    "answer": Kind("answer_accuracy", ("has_answer",), 120),
    "fields": Kind("field_f1", ("field_precision", "field_recall", "exact_match"), 250),
}


class Writer:
    """Writes the runs of one task, which all answer the same examples."""

    def __init__(self, study: Path, task: str, kind: Kind, examples: int, number: int) -> None:
        self._study, self._task, self._kind = study, task, kind
        self._rng = np.random.default_rng([number, 0])
        self._ids = [f"{task}-{index:05d}" for index in range(examples)]
        self._difficulty = self._rng.normal(0, 0.2, examples)
        self._references = self._write_texts(examples)
        self._answers = self._write_texts(examples)
        self._calls: dict[str, pd.DataFrame] = {}
        self._environment = describe_environment(torch.device("cpu"))

    def _write_texts(self, count: int) -> np.ndarray:
        if self._kind.is_chosen:
            return self._rng.choice(np.array(list("ABCD"), dtype=object), count)
        words = np.array(["total", "invoice", "court", "revenue", "2014", "plaintiff", "of", "the"])
        drawn = self._rng.choice(words, (count, self._kind.characters // 6))
        return np.array([" ".join(row) for row in drawn], dtype=object)

    def write_run(self, roles: Sequence[str], seed: int, skill: float) -> None:
        """Write one run; without roles it is the base."""
        label = label_roles(roles) if roles else BASE
        method = "lora" if roles else "none"
        run_id = make_run_id("made-up", self._task, label, method, seed, f"{len(roles):08x}")
        folder = self._study / "runs" / run_id
        folder.mkdir(parents=True)
        examples = self._draw_examples(skill)
        examples.to_parquet(folder / "examples.parquet", index=False)
        if label not in self._calls:
            self._calls[label] = self._draw_calls(1 + 0.02 * len(roles), bool(roles))
        self._calls[label].to_parquet(folder / "latency.parquet", index=False)
        record = Record(
            run_id=run_id,
            status="ok",
            config=_describe_config(self._task, label, seed),
            adapter=_describe_adapter(label, tuple(roles), method),
            train=self._describe_training() if roles else None,
            eval=self._describe_scoring(examples),
            latency=TIMING,
            environment=self._environment,
        )
        write_record(folder, record)

    def _draw_examples(self, skill: float) -> pd.DataFrame:
        kind, count = self._kind, len(self._ids)
        scores = np.clip(skill + self._difficulty + self._rng.normal(0, 0.1, count), 0, 1)
        if kind.is_chosen:
            scores = (scores > self._rng.random(count)).astype(float)
        columns: dict[str, Any] = {"id": self._ids}
        columns |= {"prediction": self._rng.permutation(self._answers)}
        columns |= {"reference": self._references, "truncated": False, kind.metric: scores}
        columns |= {name: self._rng.permutation(scores) for name in kind.others}
        if kind.is_chosen:
            columns["log_likelihoods"] = list(self._rng.normal(-2, 1, (count, 4)))
        else:
            columns["completion_tokens"] = self._rng.integers(1, kind.characters, count)
        return pd.DataFrame(columns)

    def _draw_calls(self, ratio: float, has_adapter: bool) -> pd.DataFrame:
        arms = {"base": 1.0, "base_again": 1.0, "base_cloned": 1.0}
        arms |= {"unmerged": ratio, "merged": 1.0} if has_adapter else {}
        parts = {"process": range(PROCESSES), "round": range(ROUNDS), "arm": arms}
        calls = pd.MultiIndex.from_product(parts.values(), names=parts).to_frame(index=False)
        noise = np.exp(self._rng.normal(0, 0.005, len(calls)))
        seconds = 0.02 * calls["arm"].map(arms) * noise
        return calls.assign(
            position=calls.index % len(arms),
            batch_size=1,
            prompt_tokens=256,
            output_tokens=32,
            ttft_seconds=3 * seconds,
            tpot_seconds=seconds,
            end_to_end_seconds=34 * seconds,
            tokens_per_second=32 / seconds,
            steal_seconds=0.0,
            other_cpu_seconds=0.0,
            load_average=1.0,
        )

    def _describe_training(self) -> TrainRecord:
        noise = self._rng.normal(0, 0.08, STEPS)
        loss = (2.5 * np.exp(-np.arange(STEPS) / 60) + 0.4 + noise).tolist()
        return TrainRecord(
            steps=STEPS,
            examples=4 * STEPS,
            tokens=900 * STEPS,
            completion_tokens=200 * STEPS,
            truncated_examples=0,
            seconds=75.0,
            tokens_per_second=640.0,
            peak_memory_bytes=2 * 2**30,
            loss=tuple(loss),
            final_loss=loss[-1],
        )

    def _describe_scoring(self, examples: pd.DataFrame) -> EvalRecord:
        kind = self._kind
        means = {name: float(examples[name].mean()) for name in (kind.metric, *kind.others)}
        return EvalRecord(
            source="local",
            dataset=self._task,
            stand_in=None,
            split="test",
            examples=len(examples),
            metric=kind.metric,
            scores=means,
            seconds=12.0,
            truncated_examples=0,
            truncated_tokens_ratio=0.0,
            skipped_rows=0,
            scoring="likelihood" if kind.is_chosen else "generation",
        )


def _describe_config(task: str, label: str, seed: int) -> dict[str, Any]:
    return {
        "model": {"name": "made-up"},
        "task": {"name": task},
        "target_modules": {"label": label},
        "adapter": {"method": "lora", "rank": 8, "alpha": 16.0, "dropout": 0.0},
        "train": {"learning_rate": 2e-4},
        "seed": seed,
    }


def _describe_adapter(label: str, roles: tuple[str, ...], method: str) -> AdapterRecord:
    parameters = 100_000 * len(roles)
    return AdapterRecord(
        target_set=label,
        roles=roles,
        method=method,
        rank=8 if roles else 0,
        alpha=16.0 if roles else 0.0,
        module_count=30 * len(roles),
        trainable_parameters=parameters,
        adapter_bytes=4 * parameters,
        mergeable=True,
    )


def write_study(study: Path, sets: int, tasks: int, seeds: int, examples: int) -> None:
    """Write so many target sets on so many tasks, and the base on each."""
    sizes = range(1, len(ROLES) + 1)
    every = itertools.chain.from_iterable(itertools.combinations(ROLES, size) for size in sizes)
    chosen = list(itertools.islice(every, sets))
    for number, (name, kind) in zip(range(tasks), itertools.cycle(KINDS.items()), strict=False):
        writer = Writer(study, f"{name}_{number}", kind, examples, number)
        writer.write_run((), 0, 0.4)
        for place, seed in itertools.product(range(sets), range(seeds)):
            writer.write_run(chosen[place], seed, 0.5 + 0.003 * place + 0.002 * seed)


def measure_report(study: Path) -> dict[str, Any]:
    """Run the report in a process of its own; return its seconds and peak resident bytes."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "harness.report", str(study)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # Of this one process: not of any other that ran before it.
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        # Linux counts in KiB.
        "peak_memory_bytes": usage.ru_maxrss * 1024,
    }


def measure_sizes(study: Path) -> dict[str, int]:
    files = {path: path.stat().st_size for path in study.rglob("*") if path.is_file()}
    return {
        "runs": sum(path.name == "record.json" for path in files),
        "study_bytes": sum(files.values()),
        "report_html_bytes": files[study / "report.html"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=5000)
    options = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "large"
        write_study(study, **options)
        measured = measure_report(study)
        sizes = measure_sizes(study)
    within = (
        measured["seconds"] <= SECONDS_LIMIT and measured["peak_memory_bytes"] <= MEMORY_LIMIT_BYTES
    )
    report = {
        "command": "python benchmarks/large_study.py "
        + " ".join(f"--{name} {value}" for name, value in options.items()),
        **options,
        **sizes,
        **measured,
        "limits": {"seconds": SECONDS_LIMIT, "memory_bytes": MEMORY_LIMIT_BYTES},
        "is_within_limits": within,
        "environment": describe_environment(torch.device("cpu")),
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "environment"}))


if __name__ == "__main__":
    main()
