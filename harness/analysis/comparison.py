"""The variants of one study side by side, as two tables that every verdict and plot starts from.

    comparison = compare(load_results(study), load_examples(study))
    comparison.overall      # one row a variant
    comparison.by_task      # one row a variant and task

Bounds named _low and _high are a two-sided 95% interval for scores, differences and ratios. For
regrets each bound is one-sided at 95%: the true regret is above _high in 1 case of 20.
"""

import dataclasses
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from harness.analysis.latency.ratios import geometric_mean
from harness.analysis.majority import MajorityLine, add_majority, find_majority_line
from harness.analysis.pairing import pair_task
from harness.analysis.regret import (
    TaskDraws,
    average_draws,
    bound_loss,
    bound_regret,
    draw_task,
    find_complete,
    find_front,
)
from harness.analysis.results import LENGTHS, RATIO_COLUMNS
from harness.analysis.spread import measure_spread
from harness.errors import UserError
from harness.formatting import join_words
from harness.records.machine import describe_difference
from harness.records.record import BASE

RESAMPLES = 4000

BOUNDS = ("", "_low", "_high")
RATIOS = tuple(name for name in RATIO_COLUMNS if name.endswith("_ratio"))
UNTRUSTED = "untrusted_"
"""Begins the name of a ratio that is shown and takes no part in a verdict."""
SHOWN_RATIOS = (*RATIOS, *(f"{UNTRUSTED}{name}" for name in RATIOS))
SHOWN_COLUMNS = tuple(f"{name}{bound}" for name in SHOWN_RATIOS for bound in BOUNDS)
COSTS = ("trainable_parameters", "adapter_bytes", "train_seconds", "peak_memory_bytes")


@dataclass(frozen=True)
class Comparison:
    model: str
    tasks: tuple[str, ...]
    """Tasks that count in means and regrets."""
    by_task: pd.DataFrame
    """One row a variant and task: score, difference (to base) and regret with bounds, ratios, the
    task's majority line, and `has_skill` where it has one."""
    overall: pd.DataFrame
    """One row a variant: means over `tasks`, regrets, probability of being best, ratios, costs."""
    notes: tuple[str, ...]
    """What the comparison leaves out, and why."""
    seed_count: int
    """Fewest seeds behind any set's scores; with 1, seed noise is unknown."""
    majority: Mapping[str, MajorityLine]
    """Task -> its majority line, of tasks with fixed options. It takes no part in a verdict."""
    latency_doubts: Mapping[str, str]
    """Variant -> why timing of it was left out: such as `is untrusted`."""
    drawn: Mapping[str, TaskDraws]
    """Task -> its scores and their resamples, of `tasks`."""


def compare(
    results: pd.DataFrame, examples: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare the variants of one model in one study; the same input gives the same numbers.

    `results` and `examples` are the tables of `harness.load_results` and `harness.load_examples`.
    `resamples` is the number of bootstrap resamples, `seed` their random seed. Raises UserError if
    the tables hold several models or studies, which no mean may mix.
    """
    for column in ("model", "study"):
        names = sorted(results[column].dropna().unique())
        if len(names) > 1:
            raise UserError(
                f"{column} is {' and '.join(names)}; compare one at a time, for example "
                f"results[results.{column} == {names[0]!r}]"
            )
    notes: list[str] = []
    results = results.fillna({"latency_session": results["run_id"]})
    results, doubts = _leave_out_timing(results, notes)
    drawn = _draw_tasks(results, examples, resamples, seed, notes)
    tasks = _choose_tasks(drawn, notes)
    majority = _find_majority(results, drawn, notes)
    by_task = add_majority(_tabulate_tasks(results, drawn), majority)
    counted = {task: drawn[task] for task in tasks}
    overall = _tabulate_overall(by_task, counted, notes)
    seeds = [len(seeds) for each in drawn.values() for seeds in _trained_seeds(each)]
    model = str(results["model"].iloc[0]) if len(results) else "unknown"
    seed_count = min(seeds, default=0)
    return Comparison(
        model, tasks, by_task, overall, tuple(notes), seed_count, majority, doubts, counted
    )


def restrict_tasks(comparison: Comparison, tasks: Collection[str]) -> Comparison:
    """Return the comparison restricted to some of its tasks, with means and bounds recomputed."""
    drawn = {task: each for task, each in comparison.drawn.items() if task in tasks}
    by_task = comparison.by_task[comparison.by_task["task"].isin(tasks)]
    return dataclasses.replace(
        comparison,
        tasks=tuple(drawn),
        by_task=by_task,
        overall=_tabulate_overall(by_task, drawn, []),
        majority={task: line for task, line in comparison.majority.items() if task in tasks},
        drawn=drawn,
    )


def _leave_out_timing(
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


def _draw_tasks(
    results: pd.DataFrame, examples: pd.DataFrame, resamples: int, seed: int, notes: list[str]
) -> dict[str, TaskDraws]:
    drawn = {}
    for task in sorted(results["task"].unique()):
        rows = results[results["task"] == task]
        paired = pair_task(task, rows, examples[examples["task"] == task])
        notes += paired.notes
        each = draw_task(paired, resamples, seed)
        if each.sets:
            drawn[task] = each
        else:
            notes.append(f"{task}: no target set has scores; left out of means and regrets")
    return drawn


def _find_majority(
    results: pd.DataFrame, drawn: Mapping[str, TaskDraws], notes: list[str]
) -> dict[str, MajorityLine]:
    lines = {}
    for task, each in drawn.items():
        is_compared = (results["task"] == task) & results["variant"].isin(list(each.means))
        line = find_majority_line(task, results[is_compared], notes)
        if line is not None:
            lines[task] = line
    return lines


def _trained_seeds(drawn: TaskDraws) -> list[tuple[int, ...]]:
    return [drawn.paired.seeds[name] for name in drawn.sets]


def _choose_tasks(drawn: Mapping[str, TaskDraws], notes: list[str]) -> tuple[str, ...]:
    """All tasks, if some set has all of them; else the tasks that every set has."""
    sets = sorted({name for each in drawn.values() for name in each.sets})
    lacking = {
        name: [task for task, each in drawn.items() if name not in each.means] for name in sets
    }
    if sets and all(lacking.values()):
        common = [task for task in drawn if not any(task in tasks for tasks in lacking.values())]
        notes.append(
            "no target set has every task; compared on the common tasks: "
            f"{', '.join(common) or 'none'}"
        )
        return tuple(common)
    for name, tasks in lacking.items():
        if tasks:
            notes.append(
                f"{name} has no scores on {', '.join(tasks)}: its score lost covers the other "
                "tasks, and it cannot be recommended"
            )
    return tuple(drawn)


def _bounds(name: str, draws: np.ndarray, tail: float) -> dict[str, float]:
    low, high = np.quantile(draws, [tail, 1 - tail])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def _bound_score(draws: np.ndarray) -> dict[str, float]:
    return _bounds("score", np.clip(draws, 0, 1), 0.025)


def _tabulate_tasks(results: pd.DataFrame, drawn: Mapping[str, TaskDraws]) -> pd.DataFrame:
    rows = []
    # Only what is asked of a run: selecting rows of wide tables takes longer than the rest.
    used = ["task", "variant", "target_set", "method", "rank", "metric", "status"]
    used += ["latency_session", *LENGTHS, *COSTS, *SHOWN_COLUMNS]
    for (task, variant), runs in results[used].groupby(["task", "variant"], sort=True):
        row = {**_identify(runs), "task": task, "metric": runs["metric"].dropna().max()}
        row |= {"unfinished_runs": int((runs["status"] != "ok").sum())}
        each = drawn.get(task)
        if each is not None and variant in each.means:
            row |= _score_task(each, str(variant))
        row |= {name: runs[name].mean() for name in (*LENGTHS, *COSTS)}
        row |= {"latency_sessions": "; ".join(sorted(set(runs["latency_session"])))}
        rows.append(row | _average_ratios(runs))
    columns = ["variant", "target_set", "method", "rank", "task", "metric", "unfinished_runs"]
    columns += ["seeds", "examples"]
    columns += [f"{name}{bound}" for name in ("score", "difference", "regret") for bound in BOUNDS]
    columns += ["difference_p", *LENGTHS, *COSTS, "latency_sessions", *SHOWN_COLUMNS]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(on_front=_mark_fronts(frame))


def _identify(runs: pd.DataFrame) -> dict[str, object]:
    return {name: runs[name].iloc[0] for name in ("variant", "target_set", "method", "rank")}


def _score_task(drawn: TaskDraws, variant: str) -> dict[str, float]:
    regret = drawn.regret(variant)
    row: dict[str, float] = {
        "seeds": len(drawn.paired.seeds[variant]),
        "examples": drawn.paired.example_count,
    }
    row |= {"score": drawn.means[variant], **_bound_score(drawn.draws[variant])}
    row |= {"regret": regret.observed, "regret_low": bound_loss(drawn.draws, variant)}
    row["regret_high"], _ = bound_regret([drawn], variant)
    if BASE in drawn.means and variant != BASE:
        row |= _compare_to_base([drawn], variant)
    return row


def _average_ratios(runs: pd.DataFrame) -> dict[str, float]:
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


def _mark_fronts(by_task: pd.DataFrame) -> pd.Series:
    marks = pd.Series(False, index=by_task.index)
    for _, rows in by_task.groupby("task"):
        marks[rows.index] = find_front(base_as_one(rows), rows["score"])
    return marks


def base_as_one(rows: pd.DataFrame, ratio: str = "end_to_end_ratio") -> pd.Series:
    """Return the ratios to base of `rows`, where the base's own is 1 by definition."""
    return rows[ratio].where(rows["target_set"] != BASE, 1.0)


def _tabulate_overall(
    by_task: pd.DataFrame, drawn: Mapping[str, TaskDraws], notes: list[str]
) -> pd.DataFrame:
    rows = []
    for variant, own in by_task.groupby("variant", sort=True):
        row = {**_identify(own), "unfinished_runs": int(own["unfinished_runs"].sum())}
        row |= _score_overall(drawn, str(variant))
        rows.append(row | {name: own[name].mean() for name in COSTS})
    columns = ["variant", "target_set", "method", "rank", "unfinished_runs", "tasks", "is_complete"]
    names = ("score", "difference", "mean_regret", "worst_regret")
    columns += [f"{name}{bound}" for name in names for bound in BOUNDS]
    columns += ["difference_p", "seed_share", "best_probability"]
    frame = pd.DataFrame(rows, columns=[*columns, *COSTS])
    frame["is_complete"] = frame["is_complete"].fillna(False).astype(bool)
    frame["best_probability"] = frame["variant"].map(_best_probabilities(drawn, frame))
    frame = frame.join(_average_over_tasks(frame, by_task[by_task["task"].isin(drawn)], notes))
    return frame.assign(on_front=find_front(base_as_one(frame), frame["score"]))


def _score_overall(drawn: Mapping[str, TaskDraws], variant: str) -> dict[str, float | bool]:
    having = [each for each in drawn.values() if variant in each.means]
    row: dict[str, float | bool] = {"tasks": len(having)}
    row["is_complete"] = bool(drawn) and len(having) == len(drawn)
    if not having:
        return row
    regrets = [each.regret(variant).observed for each in having]
    row |= {"mean_regret": float(np.mean(regrets)), "worst_regret": max(regrets)}
    row["mean_regret_high"], row["worst_regret_high"] = bound_regret(having, variant)
    means = {name: average_draws(having, name) for name in {variant, *find_complete(having)}}
    row["mean_regret_low"] = bound_loss(means, variant)
    lows = [bound_loss(each.draws, variant, tests=len(having)) for each in having]
    row["worst_regret_low"] = float(np.max(lows))  # NaN where any is unknown
    row["seed_share"] = _share_seeds(having, variant)
    if not row["is_complete"]:
        return row  # a mean score over fewer tasks stands beside no other
    row["score"] = float(np.mean([each.means[variant] for each in having]))
    row |= _bound_score(means[variant])
    if variant != BASE and all(BASE in each.means for each in having):
        row |= _compare_to_base(having, variant)
    return row


def _compare_to_base(tasks: Sequence[TaskDraws], variant: str) -> dict[str, float]:
    """Paired difference of means over tasks, with a t interval and test of examples and seeds."""
    difference = float(np.mean([each.means[variant] - each.means[BASE] for each in tasks]))
    spread = measure_spread(tasks, variant, BASE)
    low, high = spread.bound(difference)
    bounds = {"difference": difference, "difference_low": low, "difference_high": high}
    return bounds | {"difference_p": spread.test(difference)}


def _share_seeds(tasks: Sequence[TaskDraws], variant: str) -> float:
    """Share of the variance of the difference to the best other set that comes of seeds."""
    common = [name for name in find_complete(tasks) if name != variant]
    if variant == BASE or not common:
        return math.nan
    rival = max(common, key=lambda name: sum(each.means[name] for each in tasks))
    return measure_spread(tasks, variant, rival).seed_share


def _best_probabilities(drawn: Mapping[str, TaskDraws], overall: pd.DataFrame) -> dict[str, float]:
    """Share of resamples in which a complete set has the best mean over tasks; ties are split."""
    rows = overall[overall["is_complete"] & (overall["target_set"] != BASE)]
    names = list(rows["variant"])
    if not names:
        return {}
    means = np.array([average_draws(drawn.values(), name) for name in names])
    if np.isnan(means).any():
        return dict.fromkeys(names, math.nan)
    # Rounded, so that equal scores summed in another order still tie.
    rounded = means.round(12)
    is_best = rounded == rounded.max(axis=0)
    return dict(zip(names, (is_best / is_best.sum(axis=0)).mean(axis=1).tolist(), strict=True))


def _average_over_tasks(
    overall: pd.DataFrame, by_task: pd.DataFrame, notes: list[str]
) -> pd.DataFrame:
    """Geometric means of each ratio over the tasks that every timed, complete set has it for."""
    complete = set(overall.loc[overall["is_complete"], "variant"]) - {BASE}
    by_task = by_task[["variant", "task", "latency_sessions", *SHOWN_COLUMNS]]
    means: dict[str, dict[str, float]] = {variant: {} for variant in overall["variant"]}
    for name in SHOWN_RATIOS:
        timed = by_task[by_task[name].notna()]
        counted = timed[timed["variant"].isin(complete)]
        having = counted.groupby("variant")["task"].agg(set)
        tasks = set.intersection(*having) if len(having) else set()
        if name == "end_to_end_ratio" and len(having) and tasks != set(by_task["task"]):
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
