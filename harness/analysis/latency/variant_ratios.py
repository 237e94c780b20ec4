"""Latency ratios of variants: untrusted ones set apart, the others averaged over runs and tasks."""

import json
from collections.abc import Iterator
from itertools import chain, combinations

import numpy as np
import pandas as pd

from harness.analysis.latency.ratios import geometric_mean
from harness.analysis.latency.run_times import RATIO_COLUMNS
from harness.formatting import join_words
from harness.records.machine import describe_difference
from harness.records.record import BASE

BOUNDS = ("", "_low", "_high")
RATIOS = tuple(name for name in RATIO_COLUMNS if name.endswith("_ratio"))
UNTRUSTED = "untrusted_"
"""Begins the name of a ratio that is shown and takes no part in a verdict."""
SHOWN_RATIOS = (*RATIOS, *(f"{UNTRUSTED}{name}" for name in RATIOS))
SHOWN_COLUMNS = tuple(f"{name}{bound}" for name in SHOWN_RATIOS for bound in BOUNDS)


def leave_out_timing(
    results: pd.DataFrame, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Set the ratios apart that nothing may be concluded from; return why, by variant.

    Those are the ratios of runs that failed the A/A gate, and all of them where runs were timed on
    different machines. They are unknown under their own name, and stand under `untrusted_<name>`.
    """
    is_timed = results[list(RATIO_COLUMNS)].notna().any(axis=1)
    difference = _find_machine_difference(results.loc[is_timed, "machine"])
    if difference is not None:
        is_left_out, why = is_timed, "was taken on different machines"
        notes.append(
            f"latency is not compared: runs were timed on different machines ({difference})"
        )
    else:
        # No older record has a verdict of the gate.
        has_failed = results["latency_trusted"].eq(False).fillna(False).astype(bool)
        is_left_out, why = is_timed & has_failed, "is untrusted"
        notes += _name_untrusted(results[is_timed], results[is_left_out])
    ratios = {name: results[name].mask(is_left_out) for name in RATIO_COLUMNS}
    ratios |= {f"{UNTRUSTED}{name}": results[name].where(is_left_out) for name in RATIO_COLUMNS}
    return results.assign(**ratios), dict.fromkeys(results.loc[is_left_out, "variant"], why)


def _name_untrusted(timed: pd.DataFrame, untrusted: pd.DataFrame) -> Iterator[str]:
    for task, rows in untrusted.groupby("task"):
        is_part = len(rows) < (timed["task"] == task).sum()
        whose = f" of {join_words(sorted(rows['variant'].unique()))}" if is_part else ""
        yield f"latency{whose} on {task} is not used, because its timing is untrusted"


def _find_machine_difference(machines: pd.Series) -> str | None:
    """What differs between two machines, each as results have it; None where none do."""
    identities = [json.loads(machine) for machine in sorted(machines.dropna().unique())]
    differences = (describe_difference(one, two) for one, two in combinations(identities, 2))
    return next(filter(None, differences), None)


def average_ratios(ratios: np.ndarray, sessions: np.ndarray) -> dict[str, float]:
    """Means over the runs of a variant on a task, by column; the times of a session count once.

    `ratios` are rows of `stack_ratios`, `sessions` the names of theirs.
    """
    means = [_average(ratios[:, place], sessions) for place in range(len(SHOWN_RATIOS))]
    return dict(zip(SHOWN_COLUMNS, chain.from_iterable(means), strict=True))


def stack_ratios(rows: pd.DataFrame) -> np.ndarray:
    """Ratios with their bounds, [rows, ratios, 3]."""
    values: np.ndarray = rows[list(SHOWN_COLUMNS)].to_numpy(dtype=float)
    return values.reshape(len(rows), len(SHOWN_RATIOS), len(BOUNDS))


def _average(ratios: np.ndarray, sessions: np.ndarray) -> tuple[float, float, float]:
    """Geometric mean of known ratios [rows, 3]; rows of one session were measured once, and count
    once."""
    is_known = ~np.isnan(ratios[:, 0])
    first = np.unique(sessions[is_known].astype(str), return_index=True)[1]
    mean = geometric_mean(*ratios[is_known][first].T)
    return mean.estimate, mean.low, mean.high


def base_as_one(rows: pd.DataFrame, ratio: str = "end_to_end_ratio") -> pd.Series:
    """Return the ratios to base of `rows`, where the base's own is 1 by definition."""
    return rows[ratio].where(rows["target_set"] != BASE, 1.0)


def average_over_tasks(
    overall: pd.DataFrame, by_task: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """Geometric means of each ratio over the tasks that every timed, complete set has it for."""
    ratios, sessions = stack_ratios(by_task), by_task["latency_sessions"].to_numpy()
    variants, on_task = by_task["variant"].to_numpy(), by_task["task"].to_numpy()
    has_complete = np.isin(variants, overall.loc[overall["is_complete"], "variant"])
    means: dict[str, list[float]] = {variant: [] for variant in overall["variant"]}
    for place, name in enumerate(SHOWN_RATIOS):
        is_timed = ~np.isnan(ratios[:, place, 0])
        tasks = find_timed_tasks(overall, by_task, name)
        is_partial = (is_timed & has_complete).any() and tasks != set(on_task)
        if name == "end_to_end_ratio" and is_partial:
            listed = ", ".join(sorted(tasks)) or "no task"
            notes.append(
                f"mean latency covers {listed}: not every set was timed on the other tasks"
            )
        is_used = is_timed & np.isin(on_task, list(tasks))
        for variant, own in means.items():
            rows = is_used & (variants == variant)
            rows &= rows.sum() == len(tasks)
            own += _average(ratios[rows, place], sessions[rows])
    return pd.DataFrame(list(means.values()), index=overall.index, columns=list(SHOWN_COLUMNS))


def find_timed_tasks(overall: pd.DataFrame, by_task: pd.DataFrame, ratio: str) -> set[str]:
    """The tasks that every timed, complete set has a ratio for."""
    if by_task.empty:
        return set()
    complete = set(overall.loc[overall["is_complete"], "variant"]) - {BASE}
    counted = by_task[by_task[ratio].notna() & by_task["variant"].isin(complete)]
    having = counted.groupby("variant")["task"].agg(set)
    return set.intersection(*having) if len(having) else set()
