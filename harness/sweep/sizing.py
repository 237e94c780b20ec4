"""A sweep that fits itself: the largest of its sizes that ends in about ten minutes here.

An experiment offers sizes under `variables.sizes`, each a number of training and of test examples a
task, and leaves `variables.size` at `auto` (conf/experiment/quickstart.yaml). The choice is kept in
the study's folder, so that the same command goes on with it.
"""

from collections.abc import Sequence
from pathlib import Path

from harness.analysis.size_choice import describe_larger_size, describe_size
from harness.config.schema import Config
from harness.models.devices import resolve_device
from harness.progress import announce
from harness.records.study_size import SizeChoice, Sizes, read_size, write_size
from harness.sweep.packing import START_SECONDS, survey_room
from harness.sweep.plan import format_speed, plan_sweep, warm_cache

LIMIT_SECONDS = 600.0


def fit_size(study: Path, sizes: Sizes, variants: Sequence[tuple[Config, int]]) -> str:
    """Return the size that the study has, or choose one for it, say which, and keep it.

    `variants` are at the largest size: one for each task, with how many there are of it.
    """
    kept = read_size(study)
    if kept is not None and kept.size in sizes:
        announce(f"size {kept.size}, which this study began with ({study / 'size.json'})")
        return kept.size
    choice = choose_size(sizes, variants)
    announce(describe_size(choice))
    announce(describe_larger_size(choice))
    write_size(study, choice)
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
