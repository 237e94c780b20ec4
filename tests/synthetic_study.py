"""Writes studies with planted means and latencies, through `record.write_record` as runs do."""

import dataclasses
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.files import write_table
from harness.records.record import (
    BASE,
    AdapterRecord,
    ErrorRecord,
    EvalRecord,
    LatencyRecord,
    Record,
    Status,
    TrainRecord,
    make_run_id,
    read_record,
    write_record,
)

TASKS = ("medmcqa", "govreport", "fincot", "invoice_ocr")
METRICS = {"medmcqa": "accuracy", "govreport": "rougeL", "fincot": "accuracy"}
FIVE = ("qkv", "o_proj", "qkv+o_proj", "o_proj+fc2", "all")
ELEVEN = (*FIVE, "q+v", "fc1", "fc2", "fc1+fc2", "o_proj+fc1+fc2", "qkv+fc1+fc2")
MODULE_NAMES = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "fc1": ("gate_proj", "up_proj"),
    "fc2": ("down_proj",),
}
"""Names of a Llama-like model; others are their own."""
STAND_IN = "Multi-LexSum stands in for GovReport"


def write_study(
    study: Path,
    sets: Sequence[str] = FIVE,
    tasks: Sequence[str] = TASKS,
    *,
    gains: Mapping[str, float] | None = None,
    ratios: Mapping[str, float] | None = None,
    seeds: Sequence[int] = (0,),
    examples: int = 60,
    rounds: int = 15,
    base: bool = True,
    scored: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write every set on every task.

    `gains` (over base) and `ratios` (to base) are by set; `scored` (fields of the EvalRecord) is
    by task.
    """
    for task in tasks:
        fields = (scored or {}).get(task, {})
        if base:
            write_run(study, BASE, task, examples=examples, rounds=rounds, scored=fields)
        for index, target_set in enumerate(sets):
            for seed in seeds:
                gain = (gains or {}).get(target_set, 0.15 + 0.01 * index)
                ratio = (ratios or {}).get(target_set, 1.02 + 0.015 * index)
                write_run(
                    study,
                    target_set,
                    task,
                    seed=seed,
                    gain=gain,
                    ratio=ratio,
                    examples=examples,
                    rounds=rounds,
                    scored=fields,
                )
    return study


def write_run(
    study: Path,
    target_set: str,
    task: str,
    *,
    seed: int = 0,
    gain: float = 0.0,
    ratio: float = 1.0,
    examples: int = 60,
    rounds: int = 15,
    rank: int = 8,
    model: str = "tiny",
    learning_rate: float = 2e-4,
    status: Status = "ok",
    error: ErrorRecord | None = None,
    scores: Sequence[float] | None = None,
    ids: Sequence[str] | None = None,
    stand_in: str | None = None,
    scored: Mapping[str, Any] | None = None,
    trained: Mapping[str, Any] | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> Path:
    """Write one run and return its folder; `rounds=0` leaves latency out.

    `scored` and `trained` replace fields of the record's sections, of which `scores` are added to;
    `columns` are further columns of examples.parquet.
    """
    is_base = target_set == BASE
    method = "none" if is_base else "lora"
    config: dict[str, Any] = {
        "model": {"name": model},
        "task": {"name": task},
        "target_modules": {"label": target_set},
        "adapter": {"method": "lora", "rank": rank, "alpha": 2.0 * rank, "dropout": 0.0},
        "train": {"learning_rate": learning_rate},
        "seed": seed,
    }
    digest = hashlib.sha256(str((config, target_set)).encode()).hexdigest()[:8]
    run_id = make_run_id(model, task, target_set, method, seed, digest)
    folder = study / "runs" / run_id
    rng = np.random.default_rng([zlib.crc32(run_id.encode()), 1])
    metric = METRICS.get(task, "score")
    failed = error is not None
    values = draw_scores(task, gain, examples, rng) if scores is None else np.asarray(scores)
    if not failed:
        write_examples(folder, metric, values, ids, columns)
        if rounds:
            write_table(folder / "latency.parquet", draw_calls(ratio, is_base, rounds, rng))
    write_record(
        folder,
        Record(
            run_id=run_id,
            status="failed" if failed else status,
            config=config,
            adapter=describe_adapter(target_set, rank),
            train=None if is_base or failed else describe_training(target_set, rng, trained),
            eval=None if failed else describe_scoring(task, metric, values, stand_in, scored),
            latency=None if failed or not rounds else LatencyRecord(1, 256, 32, rounds, 0.1, 0.2),
            environment={"torch": "2.9.0", "transformers": "5.10.0", "cpu": "test cpu"},
            error=error,
        ),
    )
    return folder


def draw_scores(task: str, gain: float, examples: int, rng: np.random.Generator) -> np.ndarray:
    """Scores that share each example's difficulty between variants, as real ones do."""
    shared = np.random.default_rng(zlib.crc32(task.encode())).normal(0.4, 0.15, examples)
    return np.clip(shared + gain + rng.normal(0, 0.05, examples), 0, 1)


def write_examples(
    folder: Path,
    metric: str,
    values: np.ndarray,
    ids: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    names = ids if ids is not None else [f"e{index}" for index in range(len(values))]
    rows = [
        {
            "id": name,
            "prediction": "<script>alert(1)</script>",
            "reference": "b",
            "truncated": False,
            metric: float(value),
            "parsed": 1.0,
        }
        for name, value in zip(names, values, strict=True)
    ]
    further = columns or {}
    for index, row in enumerate(rows):
        row |= {name: items[index] for name, items in further.items()}
    write_table(folder / "examples.parquet", rows)


def draw_calls(
    ratio: float, is_base: bool, rounds: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    arms = {"base": 1.0} if is_base else {"base": 1.0, "unmerged": ratio, "merged": 1.0}
    calls = []
    for number in range(rounds):
        drift = 1 + 0.3 * rng.random()
        for position, (arm, factor) in enumerate(arms.items()):
            seconds = 0.02 * factor * drift * float(np.exp(rng.normal(0, 0.01)))
            calls.append(
                {
                    "round": number,
                    "position": position,
                    "arm": arm,
                    "batch_size": 1,
                    "prompt_tokens": 256,
                    "output_tokens": 32,
                    "ttft_seconds": 3 * seconds,
                    "tpot_seconds": seconds,
                    "end_to_end_seconds": 34 * seconds,
                }
            )
    return calls


def time_session(
    study: Path,
    ratios: Mapping[str, float],
    *,
    seeds: Sequence[int] = (0, 1),
    rounds: int = 25,
    base_seconds: float = 1.0,
    base_noise: float = 0.0,
    noise: float = 0.005,
    session: str = "the base",
) -> None:
    """Time the base and these sets' runs of some seeds in the same rounds, as a sweep does.

    The noises are of logarithms, from call to call; all calls of a round share a drift.
    """
    rng = np.random.default_rng(int(1000 * base_seconds))
    drift = base_seconds * (1 + 0.3 * rng.random(rounds))
    spreads = {BASE: base_noise} | dict.fromkeys(ratios, noise)
    times = {
        name: drift * ({BASE: 1.0} | dict(ratios))[name] * np.exp(rng.normal(0, spread, rounds))
        for name, spread in spreads.items()
    }
    for folder in study.glob("runs/*"):
        record = read_record(folder)
        name = record.adapter.target_set if record.adapter else ""
        if name not in times or (name != BASE and record.config["seed"] not in seeds):
            continue
        arms = {"base": times[BASE]} | ({} if name == BASE else {"unmerged": times[name]})
        columns = ("ttft_seconds", "tpot_seconds", "end_to_end_seconds")
        calls = [
            {"round": number, "position": place, "arm": arm}
            | dict.fromkeys(columns, float(seconds[number]))
            for number in range(rounds)
            for place, (arm, seconds) in enumerate(arms.items())
        ]
        write_table(folder / "latency.parquet", calls)
        timed = LatencyRecord(1, 256, 32, rounds, 0.1, 0.2, session=session)
        write_record(folder, dataclasses.replace(record, latency=timed))


def describe_adapter(target_set: str, rank: int) -> AdapterRecord:
    if target_set == BASE:
        return AdapterRecord(BASE, (), "none", 0, 0.0, 0, 0, 0, True)
    roles = tuple(target_set.split("+"))
    size = 100_000 * len(target_set) * rank
    names = tuple(name for each in roles for name in MODULE_NAMES.get(each, (each,)))
    return AdapterRecord(
        target_set, roles, "lora", rank, 2.0 * rank, 30, size, 4 * size, True, names
    )


def describe_training(
    target_set: str, rng: np.random.Generator, fields: Mapping[str, Any] | None = None
) -> TrainRecord:
    steps = np.arange(60)
    loss = 2.5 * np.exp(-steps / (15 + len(target_set))) + 0.4 + rng.normal(0, 0.08, len(steps))
    record = TrainRecord(
        steps=60,
        examples=240,
        tokens=48_000,
        completion_tokens=9_000,
        truncated_examples=0,
        seconds=75.0 + len(target_set),
        tokens_per_second=640.0,
        peak_memory_bytes=2 * 1024**3,
        loss=tuple(float(value) for value in loss),
        final_loss=float(loss[-6:].mean()),
    )
    return dataclasses.replace(record, **(fields or {}))


def describe_scoring(
    task: str,
    metric: str,
    values: np.ndarray,
    stand_in: str | None,
    fields: Mapping[str, Any] | None = None,
) -> EvalRecord:
    known = values[np.isfinite(values)]
    replaced = dict(fields or {})
    scores = {metric: float(known.mean()) if len(known) else float("nan"), "parsed": 1.0}
    replaced["scores"] = scores | replaced.get("scores", {})
    record = EvalRecord(
        source="embedded",
        dataset=f"{task} (embedded)",
        stand_in=stand_in or (STAND_IN if task == "govreport" else None),
        split="test",
        examples=len(values),
        metric=metric,
        scores=scores,
        seconds=12.0,
        truncated_examples=3 if task == "govreport" else 0,
        truncated_tokens_ratio=0.04 if task == "govreport" else 0.0,
        skipped_rows=0,
    )
    return dataclasses.replace(record, **replaced)
