"""The variants of one study side by side, as two tables that every verdict and plot starts from.

    comparison = compare(load_results(study), load_examples(study))
    comparison.overall      # one row a variant
    comparison.by_task      # one row a variant and task

Bounds named _low and _high are a two-sided 95% interval for scores, differences and ratios. Regret
is the score lost against the best single variant, the base among them. Its bounds are one-sided,
and hold for all variants and looks at once: in at most 1 study of 20 is some variant's true regret
ever above its _high.
"""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from harness.analysis.differences import Scores, find_front
from harness.analysis.latency.ratios import UNKNOWN, Interval, divide, invert
from harness.analysis.latency.shared_rounds import SharedRounds, find_shared_rounds
from harness.analysis.latency.variant_ratios import (
    BOUNDS,
    SHOWN_COLUMNS,
    average_over_tasks,
    average_ratios,
    base_as_one,
    find_timed_tasks,
    leave_out_timing,
    stack_ratios,
)
from harness.analysis.majority import MajorityLine, add_majority, find_majority_line
from harness.analysis.pairing import pair_task
from harness.analysis.regret import (
    bound_worst,
    find_best,
    find_chances,
    find_level,
    lose_most,
    lose_on_task,
    measure_complete,
)
from harness.analysis.results import LENGTHS
from harness.errors import UserError
from harness.formatting import join_words
from harness.records.record import BASE

FEW_EXAMPLES = 30
"""A task with fewer is shown and takes no part in a verdict: intervals cover too seldom."""

NO_SETS = "no target set has scores on it"
"""Why a task takes no part on which the base alone was scored."""

_REGRETS = tuple(f"regret{bound}" for bound in BOUNDS)
COSTS = (
    *("trainable_parameters", "adapter_bytes", "train_seconds", "peak_memory_bytes"),
    *("covered_blocks", "block_count"),
)


@dataclass(frozen=True)
class Comparison:
    model: str
    tasks: tuple[str, ...]
    """Tasks that count in means and regrets."""
    by_task: pd.DataFrame
    """One row a variant and task: score, difference (to base) and regret with bounds, ratios, the
    task's majority line, and `has_skill` where it has one. `regret` is against the variant that is
    best over `tasks`, and below 0 where that one is worse on the task."""
    overall: pd.DataFrame
    """One row a variant: means over `tasks`, regrets, probability of being best, ratios, costs."""
    notes: tuple[str, ...]
    """What the comparison leaves out, and why."""
    uncounted: Mapping[str, str]
    """Task that takes no part in the verdict -> why."""
    seed_count: int
    """Fewest seeds behind any set's scores."""
    majority: Mapping[str, MajorityLine]
    """Task -> its majority line, of tasks with fixed options."""
    latency_doubts: Mapping[str, str]
    """Variant -> why timing of it was left out: such as `is untrusted`."""
    all_scores: Scores
    """The scores of all tasks."""
    look: int
    """Number of this look at the study, from 1."""
    rounds: SharedRounds = dataclasses.field(default_factory=lambda: SharedRounds({}))
    """Rounds in which variants were timed together, of the timing that may be compared."""

    @property
    def level(self) -> float:
        """How often this look may be wrong."""
        return find_level(self.look)

    @cached_property
    def scores(self) -> Scores:
        """The scores of `tasks`, from which intervals, tests and chances come."""
        return self.all_scores.restrict(self.tasks)

    @property
    def drawn(self) -> Scores:
        """`scores`, by the name that it had in earlier versions."""
        return self.scores

    @property
    def can_decide(self) -> bool:
        """Whether any of `tasks` may take part in a verdict."""
        return any(task not in self.uncounted for task in self.tasks)

    @property
    def can_choose(self) -> bool:
        """Whether a look at this can end in a choice: with one seed nothing says how far another
        would move the scores."""
        return self.can_decide and not self.scores.is_one_seed

    def compare_times(self, one: str, other: str, ratio: str = "end_to_end_ratio") -> Interval:
        """Return the time of `one` over that of `other`, unmerged, with its 95% interval.

        `ratio` names the time by its column of `overall`. Paired by round where both were timed in
        one session on each task that the column is a mean over; else made of their ratios to the
        base, as of independent ones. UNKNOWN where one of them has none.
        """
        own, others = (self._find_ratio(name, ratio) for name in (one, other))
        if math.isnan(own.estimate) or math.isnan(others.estimate):
            return UNKNOWN
        if BASE in (one, other):
            return own if other == BASE else invert(others)
        tasks = find_timed_tasks(self.overall, self._counted_rows, ratio)
        paired = self.rounds.compare(one, other, ratio.removesuffix("_ratio"), tasks)
        return divide(own, others) if math.isnan(paired.estimate) else paired

    def _find_ratio(self, variant: str, ratio: str) -> Interval:
        if variant == BASE:
            return Interval(1.0, 1.0, 1.0, math.nan, 0)
        estimate, low, high = (self._ratio_rows.loc[variant, f"{ratio}{end}"] for end in BOUNDS)
        return Interval(float(estimate), float(low), float(high), math.nan, 0)

    @cached_property
    def _ratio_rows(self) -> pd.DataFrame:
        return self.overall.set_index("variant")

    @cached_property
    def _counted_rows(self) -> pd.DataFrame:
        rows = self.by_task
        return rows[rows["task"].isin(self.scores.tasks)] if len(rows) else rows


def compare(
    results: pd.DataFrame, examples: pd.DataFrame, *, look: int | None = None
) -> Comparison:
    """Compare the variants of one model in one study; the same input gives the same numbers.

    `results` and `examples` are the tables of `harness.load_results` and `harness.load_examples`.
    `look` says how often the study has been looked at, with more in it each time; its default is
    what the results say. Whoever adds seeds until a study is decided would be wrong too often, so
    the first look may err in 4% of studies, and every later one in half of what is left of 5%
    (alpha spending: Lan and DeMets, Biometrika 70:659, 1983). Raises UserError if the tables hold
    several models or studies, which no mean may mix.
    """
    for column in ("model", "study"):
        names = sorted(results[column].dropna().unique())
        if len(names) > 1:
            raise UserError(
                f"{column} is {' and '.join(names)}; compare one at a time, for example "
                f"results[results.{column} == {names[0]!r}]"
            )
    look = _read_look(results) if look is None else look
    notes: list[str] = []
    results = results.fillna({"latency_session": results["run_id"]})
    results, doubts = leave_out_timing(results, notes)
    scores = _pair_tasks(results, examples, notes)
    majority = _find_majority(results, scores, notes)
    uncounted = dict(_find_uncounted(scores, majority))
    # Where no task counts, means are shown all the same.
    tasks = (
        [task for task in scores.tasks if task not in uncounted]
        or [task for task in scores.tasks if uncounted[task] != NO_SETS]
        or list(scores.tasks)
    )
    counted = scores.restrict(_choose_tasks(scores.restrict(tasks), notes))
    by_task = add_majority(_tabulate_tasks(results, scores, counted), majority)
    seeds = [len(own) for t in scores.tasks.values() for n, own in t.seeds.items() if n != BASE]
    return Comparison(
        model=str(results["model"].iloc[0]) if len(results) else "unknown",
        tasks=tuple(counted.tasks),
        by_task=by_task,
        overall=_tabulate_overall(by_task, counted, find_level(look), notes),
        notes=tuple(notes),
        uncounted=uncounted,
        seed_count=min(seeds, default=0),
        majority=majority,
        latency_doubts=doubts,
        all_scores=scores,
        look=look,
        rounds=find_shared_rounds(results),
    )


def _read_look(results: pd.DataFrame) -> int:
    known = results["look"].dropna() if "look" in results else []
    return int(max(known, default=1))


def restrict_tasks(comparison: Comparison, tasks: Collection[str]) -> Comparison:
    """Return the comparison restricted to some of its tasks, with means and bounds recomputed."""
    scores = comparison.all_scores.restrict(tasks)
    counted = scores.restrict(comparison.tasks)
    by_task = comparison.by_task[comparison.by_task["task"].isin(tasks)]
    regrets = [
        lose_on_task(scores.restrict([task]), name, find_best(counted))
        for task, name in zip(by_task["task"], by_task["variant"], strict=True)
    ]
    by_task = by_task.assign(**pd.DataFrame(regrets, by_task.index, _REGRETS))
    return dataclasses.replace(
        comparison,
        tasks=tuple(counted.tasks),
        by_task=by_task,
        overall=_tabulate_overall(by_task, counted, comparison.level, []),
        majority={task: line for task, line in comparison.majority.items() if task in tasks},
        uncounted={task: why for task, why in comparison.uncounted.items() if task in tasks},
        all_scores=scores,
    )


def _pair_tasks(results: pd.DataFrame, examples: pd.DataFrame, notes: list[str]) -> Scores:
    tasks = []
    for task in sorted(results["task"].unique()):
        rows = results[results["task"] == task]
        paired = pair_task(task, rows, examples[examples["task"] == task])
        notes += paired.notes
        if paired.scores:
            tasks.append(paired)
        else:
            notes.append(f"{task}: no run has scores; left out of means and regrets")
    return Scores(tasks)


def _find_majority(
    results: pd.DataFrame, scores: Scores, notes: list[str]
) -> dict[str, MajorityLine]:
    lines = {}
    for task, each in scores.tasks.items():
        is_compared = (results["task"] == task) & results["variant"].isin(list(each.scores))
        line = find_majority_line(task, results[is_compared], notes)
        if line is not None:
            lines[task] = line
    return lines


def _find_uncounted(
    scores: Scores, majority: Mapping[str, MajorityLine]
) -> Iterator[tuple[str, str]]:
    """Yield the tasks on which nothing can be learned about the sets, and why."""
    for task, each in scores.tasks.items():
        count = each.count_independent()
        if set(each.scores) == {BASE}:
            yield task, NO_SETS
        elif count < FEW_EXAMPLES:
            noun = "independent example" if count == 1 else "independent examples"
            yield task, f"it has {count} {noun}, and {FEW_EXAMPLES} are needed"
        elif task in majority and all(each.mean(n) <= majority[task].high for n in each.scores):
            yield task, "no variant is above the majority-class baseline"


def _choose_tasks(scores: Scores, notes: list[str]) -> list[str]:
    """All tasks, if some set has all of them; else the tasks that every set has."""
    lacking = {
        name: [task for task, each in scores.tasks.items() if name not in each.scores]
        for name in scores.names
        if name != BASE
    }
    if lacking and all(lacking.values()):
        common = [
            task for task in scores.tasks if not any(task in tasks for tasks in lacking.values())
        ]
        if common:
            listed = ", ".join(common)
            notes.append(f"no target set has every task; compared on the common tasks: {listed}")
        else:
            listed = "; ".join(f"{name} lacks {join_words(each)}" for name, each in lacking.items())
            notes.append(f"no task has scores of every target set: {listed}")
        return common
    for name, tasks in lacking.items():
        if tasks:
            notes.append(
                f"{name} has no scores on {', '.join(tasks)}: its score lost covers the other "
                "tasks, and it cannot be recommended"
            )
    return list(scores.tasks)


def _tabulate_tasks(results: pd.DataFrame, scores: Scores, counted: Scores) -> pd.DataFrame:
    rows = []
    best = find_best(counted)
    # Only what is asked of a run: selecting rows of wide tables takes longer than the rest.
    used = ["task", "variant", "target_set", "method", "rank", "metric", "status"]
    used += ["latency_session", *LENGTHS, *COSTS]
    cells = results[used].groupby(["task", "variant"], sort=True)
    means = cells[[*LENGTHS, *COSTS]].mean().to_dict("index")
    ratios, sessions = stack_ratios(results), results["latency_session"].to_numpy()
    for (task, variant), runs in cells:
        own = cells.indices[task, variant]
        row = {**_identify(runs), "task": task, "metric": runs["metric"].dropna().max()}
        row |= {"unfinished_runs": int((runs["status"] != "ok").sum())}
        if task in scores.tasks and variant in scores.tasks[task].scores:
            row |= _score_task(scores.restrict([task]), str(task), str(variant), best)
        row |= means[task, variant]
        row |= {"latency_sessions": "; ".join(sorted(set(sessions[own])))}
        rows.append(row | average_ratios(ratios[own], sessions[own]))
    columns = ["variant", "target_set", "method", "rank", "task", "metric", "unfinished_runs"]
    columns += ["seeds", "examples"]
    columns += [f"{name}{bound}" for name in ("score", "difference", "regret") for bound in BOUNDS]
    columns += ["difference_p", *LENGTHS, *COSTS, "latency_sessions", *SHOWN_COLUMNS]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(on_front=_mark_fronts(frame))


def _identify(runs: pd.DataFrame) -> dict[str, object]:
    return {name: runs[name].iloc[0] for name in ("variant", "target_set", "method", "rank")}


def _score_task(scores: Scores, task: str, variant: str, best: str | None) -> dict[str, float]:
    paired = scores.tasks[task]
    row: dict[str, float] = {
        "seeds": len(paired.seeds[variant]),
        "examples": int(paired.has_example(variant).sum()),
    }
    row |= _score(scores, variant)
    row |= dict(zip(_REGRETS, lose_on_task(scores, variant, best), strict=True))
    return row | _compare_to_base(scores, variant)


def _score(scores: Scores, variant: str) -> dict[str, float]:
    found = measure_complete(scores, variant)
    low, high = found.bound_share()
    return {"score": found.value, "score_low": low, "score_high": high}


def _compare_to_base(scores: Scores, variant: str) -> dict[str, float]:
    """Paired difference of means, over the tasks that both have."""
    found = scores.compare(variant, BASE) if variant != BASE else None
    if found is None:
        return {}
    low, high = found.bound()
    bounds = {"difference": found.value, "difference_low": low, "difference_high": high}
    return bounds | {"difference_p": found.test()}


def _mark_fronts(by_task: pd.DataFrame) -> pd.Series:
    marks = pd.Series(False, index=by_task.index)
    for _, rows in by_task.groupby("task"):
        marks[rows.index] = find_front(base_as_one(rows), rows["score"])
    return marks


def _tabulate_overall(
    by_task: pd.DataFrame, scores: Scores, level: float, notes: list[str]
) -> pd.DataFrame:
    rows = []
    chances = find_chances(scores)
    for variant, own in by_task.groupby("variant", sort=True):
        row = {**_identify(own), "unfinished_runs": int(own["unfinished_runs"].sum())}
        row |= _score_overall(scores, str(variant), level)
        worst = own[own["task"].isin(scores.tasks)].dropna(subset=["regret"])
        if len(worst):
            last = worst.sort_values("regret").iloc[-1]
            row |= dict(last[["regret", "regret_high", "task"]].items())
        row |= {"best_probability": chances.get(str(variant), math.nan)}
        rows.append(row | {name: own[name].mean() for name in COSTS})
    columns = ["variant", "target_set", "method", "rank", "unfinished_runs", "tasks", "is_complete"]
    columns += [f"{name}{b}" for name in ("score", "difference", "mean_regret") for b in BOUNDS]
    columns += ["difference_p", *(f"worst_regret{bound}" for bound in BOUNDS), "worst_task"]
    columns += ["seed_share", "best_probability"]
    names = {name: f"worst_{name}" for name in ("regret", "regret_high", "task")}
    frame = pd.DataFrame(rows).rename(columns=names).reindex(columns=[*columns, *COSTS])
    frame["is_complete"] = frame["is_complete"].eq(True)
    frame = frame.join(
        average_over_tasks(frame, by_task[by_task["task"].isin(scores.tasks)], notes)
    )
    return frame.assign(on_front=find_front(base_as_one(frame), frame["score"]))


def _score_overall(scores: Scores, variant: str, level: float) -> dict[str, float | bool]:
    having = [task for task, each in scores.tasks.items() if variant in each.scores]
    row: dict[str, float | bool] = {"tasks": len(having)}
    row["is_complete"] = bool(having) and len(having) == len(scores.tasks)
    if not having:
        return row
    row |= lose_most(scores, variant, level)
    row["worst_regret_low"] = bound_worst(scores, variant, level)
    if not row["is_complete"]:
        return row  # a mean score over fewer tasks stands beside no other
    row |= _score(scores, variant)
    # A gain over fewer tasks stands beside no mean.
    return row | (_compare_to_base(scores, variant) if BASE in scores.complete else {})
