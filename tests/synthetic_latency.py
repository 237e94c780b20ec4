"""Writes latency studies whose true ratios are known, in the layout of a real one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.target_sets import parse_target_set
from harness.records.files import write_table, write_text

COSTS = {"q": 0.012, "k": 0.008, "v": 0.010, "o": 0.028, "fc1": 0.060, "fc2": 0.027}
"""True cost of a role, unmerged, as a share of the base's time."""
SINGLES = ("q", "k", "v", "o_proj", "fc1", "fc2")
AXES: dict[str, Any] = {
    "batch_size": 1,
    "prompt_tokens": 128,
    "output_tokens": 33,
    "dtype": "float32",
    "adapter_dtype": "float32",
    "rank": 8,
    "attention": "sdpa",
    "cache": "dynamic",
    "compile": "off",
}
RULE = {
    "half_width": 0.02,
    "margin": 0.03,
    "min_rounds": 15,
    "min_processes": 3,
    "max_seconds": 300,
}
MACHINE = {
    "cpu": "test cpu",
    "cpu_count": 2,
    "gpu": None,
    "torch_threads": 2,
    "device_type": "cpu",
    "memory_gib": 16,
}
ENVIRONMENT = {
    "python": "3.11.9",
    "torch": "2.9.0",
    "transformers": "5.10.0",
    "peft": "0.19.0",
    "device": "cpu",
    "cpu": "test cpu",
    "cpu_count": 2,
    "gpu": None,
    "torch_threads": 2,
    "memory_bytes": 16 * 1024**3,
    "git_commit": "0123abc",
    "git_dirty": False,
}


def find_truth(arm: str, variant: str, interaction: float = 0.0) -> float:
    """True ratio of an arm to the base: unmerged the sum of its roles, mixed 1.25, others 1.

    `interaction` is what sets of several roles take on top.
    """
    if arm == "mixed":
        return 1.25
    if arm != "unmerged":
        return 1.0
    roles = tuple(COSTS) if variant == "all" else parse_target_set(variant).roles
    return 1 + sum(COSTS[role] for role in roles) + interaction * (len(roles) > 1)


def write_latency_study(
    folder: Path,
    sets: Sequence[str] = ("qkv", "o_proj", "all"),
    *,
    points: Sequence[Mapping[str, Any]] = ({},),
    processes: int = 3,
    rounds: int = 8,
    noise: float = 0.004,
    ratios: Mapping[tuple[str, str], float] | None = None,
    interaction: float = 0.0,
    busy: bool = False,
    facts: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Write a study and return its folder.

    A point of `points` replaces some of AXES and fields of its entry in latency.json, as `facts`
    does for the whole file; one that failed or ran out of memory has no calls. `ratios` replaces
    the true ratio of an (arm, variant); `noise` is the standard deviation of a call's log time;
    `busy` plants other programs' CPU time. `sets` are those of points that do not name their own
    target_sets.
    """
    rng = np.random.default_rng(seed)
    calls: list[dict[str, Any]] = []
    operations: list[dict[str, Any]] = []
    started: list[dict[str, Any]] = []
    listed = [describe_point(number, sets, changes) for number, changes in enumerate(points)]
    for point in listed:
        if point["status"] in ("failed", "out of memory"):
            continue
        arms = list_arms(point["target_sets"])
        truth = {each: find_truth(*each, interaction) for each in arms} | dict(ratios or {})
        for process in range(len(started), len(started) + processes):
            place = {"point": point["point"], "process": process}
            operations += [place | row for row in draw_operations(list(truth), rng)]
            for number in range(rounds):
                rows = draw_round(point, truth, noise, busy, rng)
                calls += [place | {"round": number} | row for row in rows]
            started.append(
                {
                    **place,
                    "warmup_rounds": 4,
                    "settled": True,
                    "startup_seconds": 9.1,
                    "environment": {**ENVIRONMENT, **(environment or {})},
                }
            )
    document = {
        "schema_version": 1,
        "model": "tiny",
        "device": "cpu",
        "seed": seed,
        "rule": RULE,
        "machine": dict(machine or MACHINE),
        "versions": {name: ENVIRONMENT[name] for name in ("torch", "transformers", "peft")},
        "points": listed,
        "processes": started,
        "failures": [],
        **(facts or {}),
    }
    if calls:
        write_table(folder / "latency.parquet", calls)
        write_table(folder / "operations.parquet", operations)
    write_text(folder / "latency.json", json.dumps(document))
    return folder


def describe_point(number: int, sets: Sequence[str], changes: Mapping[str, Any]) -> dict[str, Any]:
    sets = changes.get("target_sets", sets)
    ratios = [["base_again", "base"]]
    ratios += [[arm, name] for name in sets for arm in ("unmerged", "merged")]
    return {
        "point": number,
        **AXES,
        "added_to": None,
        "target_sets": list(sets),
        "mixed_sets": [sets[row % len(sets)] for row in range(4)],
        "preregistered": ratios,
        "status": "done",
        "message": None,
        "stopped": "target reached" if changes.get("status", "done") == "done" else None,
        "seconds": 61.0,
        **changes,
    }


def draw_round(
    point: Mapping[str, Any],
    truth: Mapping[tuple[str, str], float],
    noise: float,
    busy: bool,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Every arm once; what the machine does in a round, all its calls share."""
    shared = np.exp(rng.normal(0, 0.1))
    axes = {name: point[name] for name in AXES}
    arms = list(truth)
    return [
        {
            "position": position,
            "arm": arms[index][0],
            "variant": arms[index][1],
            **axes,
            **draw_times(axes, shared * truth[arms[index]] * np.exp(rng.normal(0, noise))),
            **draw_noise(busy, rng),
        }
        for position, index in enumerate(rng.permutation(len(arms)))
    ]


def list_arms(sets: Sequence[str]) -> list[tuple[str, str]]:
    controls = [(arm, "base") for arm in ("base", "base_again", "base_cloned")]
    adapted = [(arm, name) for arm in ("unmerged", "merged") for name in sets]
    return [*controls, *adapted, ("mixed", "mixed")]


def draw_times(axes: Mapping[str, Any], scale: float) -> dict[str, float]:
    """Prefill by the prompt, then a step a token; a batch of 8 takes twice the time of one."""
    batch, tokens = axes["batch_size"], axes["output_tokens"]
    growth = scale * batch ** (1 / 3)
    first = 0.0005 * axes["prompt_tokens"] * growth
    step = 0.004 * growth
    total = first + step * (tokens - 1)
    return {
        "ttft_seconds": first,
        "tpot_seconds": step if tokens > 1 else float("nan"),
        "end_to_end_seconds": total,
        "cpu_seconds": 1.9 * total,
        "tokens_per_second": batch * tokens / total,
    }


def draw_noise(busy: bool, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "steal_seconds": 0.05 if busy else 0.0,
        "other_cpu_seconds": 0.3 if busy else float(rng.uniform(0, 0.002)),
        "involuntary_switches": int(rng.poisson(20 if busy else 1)),
        "load_average": 4.2 if busy else 1.1,
        **dict.fromkeys(("gpu_clock_mhz", "gpu_temperature_celsius", "gpu_power_watts")),
        "gpu_throttle": None,
    }


def draw_operations(
    arms: Sequence[tuple[str, str]], rng: np.random.Generator
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for arm, variant in arms:
        names = {"unmerged": ("load", "switch"), "merged": ("merge", "unmerge")}.get(arm, ())
        for name in (*names, "cold_call", "memory"):
            rows.append(
                {
                    "variant": variant,
                    "arm": arm,
                    "operation": name,
                    "seconds": float(rng.uniform(0.01, 0.02)),
                    "bytes": int(rng.integers(10**8, 2 * 10**8)) if name == "memory" else None,
                }
            )
    return rows
