"""A sweep that fits itself: the largest of its sizes that ends in about ten minutes here.

An experiment offers sizes under `variables.sizes`, each a number of training and of test examples a
task, and leaves `variables.size` at `auto` (conf/experiment/quickstart.yaml). The choice is kept in
the study's folder, so that the same command goes on with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.analysis.size_choice import describe_larger_size, describe_size
from harness.config.schema import Config
from harness.models.devices import resolve_device
from harness.progress import announce
from harness.records.study_size import SizeChoice, Sizes, read_size, write_size
from harness.sweep.packing import estimate_seconds, survey_room
from harness.sweep.plan import Plan, VariantPlan, format_speed, plan_sweep, warm_cache

LIMIT_SECONDS = 600.0


def fit_size(study: Path, sizes: Sizes, configs: Sequence[Config]) -> str:
    """Return the size that the study has, or choose one for it, say which, and keep it.

    `configs` are the sweep's variants at the largest size.
    """
    kept = read_size(study)
    if kept is not None and kept.size in sizes:
        announce(f"size {kept.size}, which this study began with ({study / 'size.json'})")
        return kept.size
    choice = choose_size(sizes, configs)
    announce(describe_size(choice))
    announce(describe_larger_size(choice))
    write_size(study, choice)
    return choice.size


def choose_size(sizes: Sizes, configs: Sequence[Config]) -> SizeChoice:
    """Estimate what every size takes, and choose the largest within the limit, else the smallest.

    What a variant trains and scores shrinks with the number of its examples.
    """
    room = survey_room(resolve_device(configs[0].model.device), in_processes=True)
    warm_cache(configs)
    plan = plan_sweep(configs, room.count_workers(len(configs)))
    largest = sizes[list(sizes)[-1]]

    def shrink(variant: VariantPlan, counts: Mapping[str, Mapping[str, int]]) -> VariantPlan:
        task = variant.config.task.name
        trained, scored = (
            counts[part][task] / largest[part][task] for part in ("train_examples", "test_examples")
        )
        return replace(
            variant,
            train_seconds=variant.train_seconds * trained,
            score_seconds=variant.score_seconds * scored,
            scored_examples=round(variant.scored_examples * scored),
        )

    seconds = {
        size: estimate_seconds(Plan(tuple(shrink(each, counts) for each in plan.variants)), room)
        for size, counts in sizes.items()
    }
    fitting = [size for size, needed in seconds.items() if needed <= LIMIT_SECONDS]
    chosen = fitting[-1] if fitting else next(iter(sizes))
    return SizeChoice(chosen, sizes, seconds, LIMIT_SECONDS, format_speed(plan.speeds[0]))
