"""Latency ratios of variants: untrusted ones set apart, the others averaged over runs and tasks."""

import json
from collections.abc import Iterator
from itertools import combinations

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


def average_ratios(runs: pd.DataFrame) -> dict[str, float]:
    """Means over the runs of a variant on a task; the times of a session count once."""
    means: dict[str, float] = {}
    for name in SHOWN_RATIOS:
        means |= _average(name, runs[runs[name].notna()], "latency_session")
    return means


def _average(name: str, rows: pd.DataFrame, session: str) -> dict[str, float]:
    """Geometric mean of a ratio; rows of one session were measured once, and count once."""
    first = np.unique(rows[session].to_numpy(), return_index=True)[1]
    values = rows[[f"{name}{bound}" for bound in BOUNDS]].to_numpy(dtype=float)[first]
    mean = geometric_mean(*values.T)
    return {name: mean.estimate, f"{name}_low": mean.low, f"{name}_high": mean.high}


def base_as_one(rows: pd.DataFrame, ratio: str = "end_to_end_ratio") -> pd.Series:
    """Return the ratios to base of `rows`, where the base's own is 1 by definition."""
    return rows[ratio].where(rows["target_set"] != BASE, 1.0)


def average_over_tasks(
    overall: pd.DataFrame, by_task: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """Geometric means of each ratio over the tasks that every timed, complete set has it for."""
    by_task = by_task[["variant", "task", "latency_sessions", *SHOWN_COLUMNS]]
    means: dict[str, dict[str, float]] = {variant: {} for variant in overall["variant"]}
    for name in SHOWN_RATIOS:
        timed = by_task[by_task[name].notna()]
        tasks = find_timed_tasks(overall, by_task, name)
        is_timed = timed["variant"].isin(overall.loc[overall["is_complete"], "variant"]).any()
        if name == "end_to_end_ratio" and is_timed and tasks != set(by_task["task"]):
            listed = ", ".join(sorted(tasks)) or "no task"
            notes.append(
                f"mean latency covers {listed}: not every set was timed on the other tasks"
            )
        for variant, own in means.items():
            rows = timed[(timed["variant"] == variant) & timed["task"].isin(tasks)]
            rows = rows if len(rows) == len(tasks) else rows.iloc[:0]
            own |= _average(name, rows, "latency_sessions")
    frame = pd.DataFrame(list(means.values()), index=overall.index)
    return frame.reindex(columns=list(SHOWN_COLUMNS))


def find_timed_tasks(overall: pd.DataFrame, by_task: pd.DataFrame, ratio: str) -> set[str]:
    """The tasks that every timed, complete set has a ratio for."""
    if by_task.empty:
        return set()
    complete = set(overall.loc[overall["is_complete"], "variant"]) - {BASE}
    counted = by_task[by_task[ratio].notna() & by_task["variant"].isin(complete)]
    having = counted.groupby("variant")["task"].agg(set)
    return set.intersection(*having) if len(having) else set()
