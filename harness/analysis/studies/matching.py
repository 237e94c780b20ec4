"""Which tasks and target sets of several studies can be compared, and what else differs.

Scores may where the studies scored the same examples in the same way; times never may, but as
ratios to each study's own base. What is refused leaves a note with the reason, and so does every
setting, version and machine that differs. For `harness.analysis.studies.study_comparison`.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.latency.run_times import RATIO_COLUMNS
from harness.analysis.runs import Run, read_run_table
from harness.analysis.studies.study_sides import Side
from harness.errors import UserError
from harness.formatting import join_words
from harness.records.machine import describe_difference
from harness.records.record import BASE

DATA = {
    "source": "source",
    "dataset": "data set",
    "split": "split",
    "metric": "metric",
    "scoring": "scoring",
    "example_count": "number of examples",
}
"""What must agree for scores of a task to be compared: column -> its name in notes."""

VERSIONS = ("target-module-harness", "torch", "transformers", "peft", "git_commit")
SETTINGS = ("adapter.", "train.", "task.")
"""Sections of the configuration that bear on scores."""

PLACES = ("task.name", "task.source", "task.path", "task.dataset", "task.revision")
"""Settings that say where data is; whether it is the same is seen from the data."""


def find_common_tasks(sides: Sequence[Side], notes: list[str]) -> list[str]:
    """Return the tasks that all studies scored on the same data; raises UserError without one."""
    having = {side.name: set(side.scored["task"]) for side in sides}
    partial_tasks = _list_partial(having)
    if partial_tasks:
        notes.append(f"tasks not in every study are left out: {partial_tasks}")
    common = []
    for task in sorted(set.intersection(*having.values())):
        reason = _find_data_difference(sides, task)
        if reason is None:
            common.append(task)
        else:
            notes.append(f"{task} is not compared: {reason}")
    if not common:
        raise UserError(
            f"no task can be compared: {'; '.join(notes)}; run the studies on the same tasks and "
            "data"
        )
    return common


def find_common_sets(sides: Sequence[Side], notes: list[str]) -> list[str]:
    """Return the target sets that all studies have scores of; raises UserError without one."""
    having = {side.name: side.sets for side in sides}
    common = sorted(set.intersection(*having.values()))
    partial_sets = _list_partial(having)
    if not common:
        raise UserError(
            f"no target set is in every study: {partial_sets}; run at least one common set"
        )
    if partial_sets:
        notes.append(f"target sets not in every study are left out: {partial_sets}")
    return common


def _list_partial(having: Mapping[str, set[str]]) -> str:
    """What some studies have and others lack: `all (only in before); q+v (only in after)`."""
    holders: defaultdict[str, list[str]] = defaultdict(list)
    common = set.intersection(*having.values())
    for name in sorted(set.union(*having.values()) - common):
        holders[join_words([study for study, own in having.items() if name in own])].append(name)
    return "; ".join(
        f"{join_words(names)} (only in {studies})" for studies, names in holders.items()
    )


def _find_data_difference(sides: Sequence[Side], task: str) -> str | None:
    described = [_describe_data(side, task) for side in sides]
    for side, facts in zip(sides, described, strict=True):
        mixed = [f"{DATA[key]} {join_words(each)}" for key, each in facts.items() if len(each) > 1]
        if mixed:
            return f"{side.name} mixes data within the study ({'; '.join(mixed)})"
    values = {key: [facts[key][0] for facts in described] for key in DATA}
    differing = [
        f"{DATA[key]}: {_list_by_side(sides, each)}"
        for key, each in values.items()
        if len(set(each)) > 1
    ]
    if differing:
        return f"data or scoring differ ({'. '.join(differing)})"
    if len({_read_answers(side, task) for side in sides}) > 1:
        return "the examples or their references differ under the same data set name"
    return None


def _describe_data(side: Side, task: str) -> dict[str, list[str]]:
    rows = side.scored[side.scored["task"] == task]
    facts = {key: sorted({_spell(value) for value in rows[key]}) for key in DATA}
    if facts["source"] == ["local"]:
        # A file's name carries a digest of its content; the folder is each machine's own.
        facts["dataset"] = sorted({Path(name).name for name in facts["dataset"]})
    return facts


def _read_answers(side: Side, task: str) -> frozenset[tuple[str, str]]:
    """(id, right answer) of each scored example, from the first run that has them."""
    for run in side.runs:
        if run.task == task and run.record.eval is not None:
            table = read_run_table(run, "examples.parquet", ("id", "reference"), [], others=())
            if len(table):
                return frozenset(
                    zip(table["id"].map(str), table["reference"].map(str), strict=True)
                )
    return frozenset()


def list_differences(sides: Sequence[Side]) -> Iterator[str]:
    """Yield one line for each difference between the studies besides their target sets."""
    models = [side.model for side in sides]
    if len(set(models)) > 1:
        yield f"model differs: {_list_by_side(sides, models)}"
    for name in VERSIONS:
        values = [_join(_find_version(side, name)) for side in sides]
        if len(set(values)) > 1:
            yield f"{name} differs: {_list_by_side(sides, values)}"
    yield from _list_settings(sides)
    yield from _list_by_task(sides, "seed", _find_seeds)
    yield from _list_machines(sides)
    yield from _list_by_task(sides, "timed call", _find_calls)


def _find_version(side: Side, name: str) -> set[Any]:
    # A run that failed early may have recorded nothing.
    return {run.record.environment.get(name) for run in side.runs if run.record.environment}


def _list_settings(sides: Sequence[Side]) -> Iterator[str]:
    """Settings of the trained runs, but those that some study, such as an older one, lacks."""
    # Two models are two anyway, wherever each is read from.
    sections = (*SETTINGS, "model.") if len({side.model for side in sides}) == 1 else SETTINGS
    recorded = [{key for run in side.runs for key in run.settings} for side in sides]
    for key in sorted(set.intersection(*recorded) - set(PLACES)):
        if key.startswith(sections):
            yield from _list_by_task(sides, key, partial(_find_setting, key=key))


def _find_setting(side: Side, task: str, key: str) -> set[str]:
    values = [run.settings.get(key) for run in _list_trained(side, task)]
    return {value if isinstance(value, str) else json.dumps(value) for value in values}


def _find_seeds(side: Side, task: str) -> set[int]:
    return {run.seed for run in _list_trained(side, task)}


def _list_trained(side: Side, task: str) -> list[Run]:
    return [run for run in side.runs if run.task == task and run.target_set != BASE]


def _find_calls(side: Side, task: str) -> set[str]:
    timed = _find_timed(side)
    sizes = timed.loc[timed["task"] == task, ["batch_size", "prompt_tokens", "output_tokens"]]
    return {
        f"batch {batch:.0f}, {prompt:.0f} + {output:.0f} tokens"
        for batch, prompt, output in sizes.dropna().itertuples(index=False)
    }


def _list_by_task(
    sides: Sequence[Side], what: str, find: Callable[[Side, str], Iterable[Any]]
) -> Iterator[str]:
    """Say where the studies' values differ; tasks that differ alike share a line."""
    tasks = sorted({task for side in sides for task in side.results["task"]})
    groups: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for task in tasks:
        groups[tuple(_join(find(side, task)) for side in sides)].append(task)
    for values, where in groups.items():
        if len(set(values)) > 1:
            place = "" if len(where) == len(tasks) else f" on {join_words(where)}"
            yield f"{what} differs{place}: {_list_by_side(sides, values)}"


def _list_machines(sides: Sequence[Side]) -> Iterator[str]:
    machines = {side.name: _find_machines(side) for side in sides}
    for name, own in machines.items():
        if any(each.get("cpu") is None and each.get("gpu") is None for each in own):
            yield (
                f"{name} records neither the CPU nor the GPU it was timed on: do not compare its "
                "latency ratios with other studies'"
            )
    for one, other in combinations(machines, 2):
        pairs = ((a, b) for a in machines[one] for b in machines[other])
        difference = next(filter(None, (describe_difference(a, b) for a, b in pairs)), None)
        if difference is not None:
            yield (
                f"{one} and {other} were timed on different machines ({difference}): do not "
                "compare their latency ratios"
            )


def _find_machines(side: Side) -> list[Mapping[str, Any]]:
    return [json.loads(each) for each in sorted(_find_timed(side)["machine"].unique())]


def _find_timed(side: Side) -> pd.DataFrame:
    return side.results[side.results[list(RATIO_COLUMNS)].notna().any(axis=1)]


def _list_by_side(sides: Sequence[Side], values: Sequence[str]) -> str:
    """`8 in before; 16 in after and later`."""
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for side, value in zip(sides, values, strict=True):
        holders[value].append(side.name)
    return "; ".join(f"{value} in {join_words(names)}" for value, names in holders.items())


def _join(values: Iterable[Any]) -> str:
    return join_words(sorted({_spell(value) for value in values})) or "none"


def _spell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "not recorded"
    return f"{value:g}" if isinstance(value, float) else str(value)
