"""The tables of a latency study: ratios, pairs of sets, times, operations, noise, costs of roles.

    study = load_latency_study("results/latency")
    tabulate_ratios(study).query("time == 'end_to_end' and trusted")

Every figure is derived from the timed calls; where one says something of the truth, it has an
interval and the verdict that the study's own rule gives it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.latency.additivity import LEVEL, Additivity
from harness.analysis.latency.cost_model import (
    CHECKED,
    CostModel,
    check_predictions,
    fit_cost_model,
)
from harness.analysis.latency.latency_results import AXES, OPERATIONS, LatencyStudy, Point
from harness.analysis.latency.ratios import flag_outliers, pair_rounds, summarise_rounds
from harness.analysis.latency.run_times import TIMES
from harness.analysis.latency.timing_verdicts import Gate, check_gate, is_publishable, judge
from harness.errors import UserError
from harness.records.record import BASE

ARMS = ("base", "base_again", "base_cloned", "unmerged", "merged", "mixed")
MEASURES = ("ratio", "ratio_low", "ratio_high", "half_width", "verdict", "rounds", "processes")
RATIO_COLUMNS = (
    *("point", *AXES, "arm", "variant", "time", "seconds", *MEASURES, "outliers"),
    *("is_preregistered", "is_publishable", "trusted"),
)
PAIR_COLUMNS = (*RATIO_COLUMNS[:12], "reference_variant", *RATIO_COLUMNS[12:])


@dataclass(frozen=True)
class Costs:
    """The additive cost model of every point that has one."""

    models: Mapping[int, CostModel]
    problems: Mapping[int, str]
    """Point -> why it has none, in one line."""
    terms: pd.DataFrame
    """A row a point and role, as CostModel's; point, and trusted (its gate)."""
    predictions: pd.DataFrame
    """A row a point and target set, as CostModel's; point, and trusted (its gate)."""
    checks: pd.DataFrame
    """A row a target set that a later run timed, against the model of the first point of its axes,
    as check_predictions'; added_to (the model's point), found (departs, no departure found or not
    tested), and trusted (both gates)."""


def check_gates(study: LatencyStudy, time: str = "end_to_end") -> dict[int, Gate]:
    """Return, by point number, whether the timing is trusted: the base timed against itself.

    `time` is ttft, tpot or end_to_end; points without calls of that time are left out.
    """
    return {
        point.number: check_gate(study.calls_of(point.number), study.facts.rule, time)
        for point in list_timed_points(study)
        if _has_time(point, time)
    }


def list_timed_points(study: LatencyStudy) -> list[Point]:
    """Return the points that have timed calls, however they ended."""
    timed = set(study.calls["point"])
    return [point for point in study.facts.points if point.number in timed]


def list_arms(calls: pd.DataFrame, point: Point) -> list[tuple[str, str]]:
    """Return the (arm, variant) that a point's calls have: base, controls, then sets as given."""
    order = {name: index for index, name in enumerate(point.target_sets)}
    present = set(zip(calls["arm"], calls["variant"], strict=True))
    arms = {name: index for index, name in enumerate(ARMS)}
    return sorted(
        present,
        key=lambda each: (arms.get(each[0], len(arms)), order.get(each[1], len(order)), each),
    )


def tabulate_ratios(study: LatencyStudy) -> pd.DataFrame:
    """Return one row per point, (arm, variant) and time, with these columns.

    point, AXES, arm, variant   what was timed
    time                        ttft, tpot or end_to_end
    seconds                     median over the calls
    ratio, ratio_low, ratio_high, half_width    to the base in the same rounds, with the 95%
                                interval; 1 for the base itself
    verdict                     slower, faster, equivalent or unresolved, by the study's rule;
                                `undefined` for the tpot of one-token outputs; `reference`
    rounds, processes           behind the ratio
    outliers                    rounds flagged as outliers; all are kept
    is_preregistered            the stopping rule waited for it
    is_publishable              rounds and processes are enough by the rule
    trusted                     the point passed the A/A gate in this time; where not, no verdict
                                holds
    """
    gates, rows = {time: check_gates(study, time) for time in TIMES}, []
    for point in list_timed_points(study):
        calls = study.calls_of(point.number)
        for arm, variant in list_arms(calls, point):
            for time in TIMES:
                gate = gates[time].get(point.number)
                row = _compare(study, point, calls, time, (arm, variant), (BASE, BASE))
                rows.append(row | {"trusted": gate is not None and gate.is_trusted})
    return pd.DataFrame(rows, columns=list(RATIO_COLUMNS))


def tabulate_pairs(study: LatencyStudy) -> pd.DataFrame:
    """Return one row per point, arm and pair of target sets: end-to-end time compared directly.

    Columns of tabulate_ratios and reference_variant: `ratio` is variant / reference_variant.
    """
    gates, rows = check_gates(study), []
    for point in list_timed_points(study):
        calls = study.calls_of(point.number)
        arms = list_arms(calls, point)
        for kind in ("unmerged", "merged"):
            for reference, own in combinations([each for each in arms if each[0] == kind], 2):
                row = _compare(study, point, calls, "end_to_end", own, reference)
                row |= {"reference_variant": reference[1], "is_preregistered": False}
                rows.append(row | {"trusted": gates[point.number].is_trusted})
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def tabulate_times(study: LatencyStudy) -> pd.DataFrame:
    """Return medians over calls, one row per point, arm and variant.

    ttft_seconds, tpot_seconds, end_to_end_seconds, cpu_seconds (of this process, all threads),
    tokens_per_second.
    """
    measured = [*(f"{time}_seconds" for time in TIMES), "cpu_seconds", "tokens_per_second"]
    grouped = study.calls.groupby(["point", "arm", "variant"], sort=False)
    return grouped[measured].median().reset_index()


def tabulate_operations(study: LatencyStudy) -> pd.DataFrame:
    """Return one row per point, arm and variant: medians over processes, with their range.

    <operation>_seconds for load, switch, merge, unmerge and cold_call (the first call in a
    process), memory_bytes (peak of an arm in a separate pass); each with _min and _max. NaN where
    an operation does not apply.
    """
    operations = study.operations
    amount = operations["bytes"].where(operations["operation"] == "memory", operations["seconds"])
    keys = ["point", "arm", "variant"]
    columns = [f"{name}_bytes" if name == "memory" else f"{name}_seconds" for name in OPERATIONS]
    names = dict(zip(OPERATIONS, columns, strict=True))
    long = operations.assign(amount=amount, column=operations["operation"].map(names))
    wide = long.groupby([*keys, "column"])["amount"].agg(["median", "min", "max"]).unstack("column")
    table = pd.DataFrame(index=wide.index)
    for column in columns:
        for kind, suffix in (("median", ""), ("min", "_min"), ("max", "_max")):
            present = (kind, column) in wide
            table[f"{column}{suffix}"] = wide[kind, column] if present else math.nan
    ranks = {"arm": {name: index for index, name in enumerate(ARMS)}}
    return table.reset_index().sort_values(
        keys, key=lambda column: column.replace(ranks.get(str(column.name), {})), ignore_index=True
    )


def tabulate_noise(study: LatencyStudy) -> pd.DataFrame:
    """Return what the machine did while each point was timed, one row a point.

    load_average and involuntary_switches (means a call), steal_cores and other_cores (CPU that the
    hypervisor and other programs took, in cores), gpu_clock_mhz_min and _max,
    gpu_temperature_celsius_max, gpu_throttle (every reason that occurred, "" for none).
    """
    rows = []
    for point in list_timed_points(study):
        calls = study.calls_of(point.number)
        seconds = calls["end_to_end_seconds"].sum()
        reasons = {part for text in calls["gpu_throttle"].dropna() for part in text.split(", ")}
        rows.append(
            {
                "point": point.number,
                "load_average": calls["load_average"].mean(),
                "involuntary_switches": calls["involuntary_switches"].mean(),
                # A sum over nothing but unread values is unread, not 0.
                "steal_cores": calls["steal_seconds"].sum(min_count=1) / seconds,
                "other_cores": calls["other_cpu_seconds"].sum(min_count=1) / seconds,
                "gpu_clock_mhz_min": calls["gpu_clock_mhz"].min(),
                "gpu_clock_mhz_max": calls["gpu_clock_mhz"].max(),
                "gpu_temperature_celsius_max": calls["gpu_temperature_celsius"].max(),
                "gpu_throttle": ", ".join(sorted(reasons - {""})),
            }
        )
    return pd.DataFrame(rows)


def tabulate_costs(study: LatencyStudy, time: str = "end_to_end") -> Costs:
    """Fit the cost model of roles to the unmerged arm of every point, and check it on later points.

    `time` is ttft, tpot or end_to_end. A point whose sets do not separate the roles' costs, or that
    has no such time, is left out and named in `problems`.
    """
    models: dict[int, CostModel] = {}
    problems: dict[int, str] = {}
    for point in list_timed_points(study):
        try:
            models[point.number] = fit_cost_model(
                study.calls_of(point.number), time=time, covered=point.covered
            )
        except UserError as error:
            problems[point.number] = str(error).removeprefix("cost model: ")
    gates = check_gates(study, time)
    return Costs(
        models,
        problems,
        _stack({number: model.terms for number, model in models.items()}, gates),
        _stack({number: model.predictions for number, model in models.items()}, gates),
        _check_later_points(study, models, gates),
    )


def select_held_out(model: CostModel) -> pd.DataFrame:
    """Return the rows of `model.predictions` that were measured and not fitted on, with `found`.

    found: departs (perhaps with the sets of which it is one), no departure found, or not tested.
    """
    predictions = model.predictions
    rows = predictions[~predictions["fitted_on"] & predictions["measured"].notna()]
    found = [_name_finding(model.additivity, name) for name in rows["target_set"]]
    return rows.assign(found=found)


def _name_finding(additivity: Additivity, target_set: str) -> str:
    if target_set in additivity.departing:
        groups = [each for each in additivity.alternatives if target_set in each]
        others = [name for each in groups for name in each if name != target_set]
        return f"departs, or {' or '.join(others)} does" if others else "departs"
    is_tested = additivity.holds is not None and target_set in additivity.sets
    return "no departure found" if is_tested else "not tested"


def _check_later_points(
    study: LatencyStudy, models: Mapping[int, CostModel], gates: Mapping[int, Gate]
) -> pd.DataFrame:
    frames = []
    for number, model in models.items():
        later = {
            point.number: study.calls_of(point.number)
            for point in list_timed_points(study)
            if point.added_to == number
        }
        checks = check_predictions(model, later)
        chances = checks["adjusted_p_value"].astype(float)
        found = np.where(chances < LEVEL, "departs", "no departure found")
        is_trusted = [
            gates[number].is_trusted and gates[point].is_trusted for point in checks["point"]
        ]
        checks = checks.assign(
            added_to=number, found=np.where(chances.isna(), "not tested", found), trusted=is_trusted
        )
        frames += [checks] if len(checks) else []
    columns = [*CHECKED, "added_to", "found", "trusted"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _has_time(point: Point, time: str) -> bool:
    """Whether the time exists: one output token leaves none after the first."""
    return time != "tpot" or point.axes["output_tokens"] > 1


def _compare(
    study: LatencyStudy,
    point: Point,
    calls: pd.DataFrame,
    time: str,
    own: tuple[str, str],
    reference: tuple[str, str],
) -> dict[str, Any]:
    """One row: `own` against `reference`, both (arm, variant), in one of the times."""
    facts, column = study.facts, f"{time}_seconds"
    arm, variant = own
    base_arm, base_variant = reference
    paired = pair_rounds(calls, column, arm, base_arm, variant, base_variant)
    interval = summarise_rounds(paired)
    rows = calls[(calls["arm"] == arm) & (calls["variant"] == variant)]
    verdict = str(judge(interval, facts.rule))
    if not _has_time(point, time):
        verdict = "undefined"
    elif own == reference:
        verdict = "reference"
    return {
        "point": point.number,
        **point.axes,
        "arm": arm,
        "variant": variant,
        "time": time,
        "seconds": rows[column].median(),
        "ratio": interval.estimate,
        "ratio_low": interval.low,
        "ratio_high": interval.high,
        "half_width": interval.half_width,
        "verdict": verdict,
        "rounds": interval.rounds,
        "processes": interval.processes,
        "outliers": int(flag_outliers(paired.logs).sum()),
        "is_preregistered": own in point.preregistered and time == "end_to_end",
        "is_publishable": is_publishable(interval, facts.rule),
    }


def _stack(tables: Mapping[int, pd.DataFrame], gates: Mapping[int, Gate]) -> pd.DataFrame:
    frames = []
    for number, table in tables.items():
        table = table.assign(trusted=gates[number].is_trusted)
        table.insert(0, "point", number)
        frames.append(table)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["point"])
