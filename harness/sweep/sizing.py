"""A sweep that fits itself: the largest of its sizes that ends in about ten minutes here.

An experiment offers sizes under `variables.sizes`, each a number of training and of test examples a
task, and leaves `variables.size` at `auto` (conf/experiment/quickstart.yaml). The choice is kept in
the study's folder, so that the same command goes on with it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.config.schema import Config
from harness.models.devices import resolve_device
from harness.progress import announce, format_seconds
from harness.records.files import write_json
from harness.sweep.packing import START_SECONDS, survey_room
from harness.sweep.plan import format_speed, plan_sweep, warm_cache

FILE = "size.json"
LIMIT_SECONDS = 600.0

Sizes = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Size -> `train_examples` and `test_examples` -> task -> number; smallest first."""


@dataclass(frozen=True)
class SizeChoice:
    size: str
    sizes: Sizes
    seconds: Mapping[str, float]
    """Size -> estimated wall time of the whole sweep."""
    limit_seconds: float
    speed: str
    """What the estimates rest on, in words."""


def fit_size(study: Path, sizes: Sizes, variants: Sequence[tuple[Config, int]]) -> str:
    """Return the size that the study has, or choose one for it, say which, and keep it.

    `variants` are at the largest size: one for each task, with how many there are of it.
    """
    kept = study / FILE
    size = _read_size(kept)
    if size in sizes:
        announce(f"size {size}, as this study was begun with ({kept})")
        return str(size)
    choice = choose_size(sizes, variants)
    announce(describe_choice(choice))
    write_json(kept, asdict(choice))
    return choice.size


def choose_size(sizes: Sizes, variants: Sequence[tuple[Config, int]]) -> SizeChoice:
    """Estimate what every size takes, and choose the largest within the limit, else the smallest.

    What a variant trains and scores shrinks with the number of its examples.
    """
    configs = [config for config, _ in variants]
    sweep_size = sum(count for _, count in variants)
    room = survey_room(resolve_device(configs[0].model.device), in_processes=True)
    workers = room.count_workers(sweep_size)
    warm_cache(configs)
    plan = plan_sweep(configs, workers)
    largest = sizes[list(sizes)[-1]]
    seconds = {}
    for size, counts in sizes.items():
        # A pack a task and worker, each in a process of its own.
        work = START_SECONDS * workers * len(variants)
        for variant, (config, count) in zip(plan.variants, variants, strict=True):
            trained, scored = (
                counts[part][config.task.name] / largest[part][config.task.name]
                for part in ("train_examples", "test_examples")
            )
            work += count * variant.train_seconds * trained
            work += (count + 1) * variant.score_seconds * scored
        # Tasks and seeds share a timing where its calls are alike; target sets do not.
        timing = plan.latency_seconds * max(count for _, count in variants)
        seconds[size] = work / workers + timing
    fitting = [size for size, needed in seconds.items() if needed <= LIMIT_SECONDS]
    chosen = fitting[-1] if fitting else next(iter(sizes))
    return SizeChoice(chosen, sizes, seconds, LIMIT_SECONDS, format_speed(plan.speeds[0]))


def describe_choice(choice: SizeChoice) -> str:
    """Say in a line which size was taken, and why."""
    needed, limit = choice.seconds[choice.size], choice.limit_seconds
    listed = ", ".join(f"{size} {format_seconds(each)}" for size, each in choice.seconds.items())
    why = (
        f"the largest that ends within {format_seconds(limit)}"
        if needed <= limit
        else f"the smallest; none ends within {format_seconds(limit)}"
    )
    return (
        f"size {choice.size}: {why} on this machine ({choice.speed}). Estimates: {listed}. "
        f"Set another by hand with variables.size={list(choice.sizes)[-1]}, say"
    )


def _read_size(path: Path) -> str | None:
    """The size that a study was begun with; None where it is not known."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
