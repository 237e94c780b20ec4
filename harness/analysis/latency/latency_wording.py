"""A latency study in sentences: names of points, verdicts, trust, stops, failures."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.analysis.latency.cost_model import CostModel
from harness.analysis.latency.latency_results import AXES, Facts, LatencyStudy, Point, find_versions
from harness.analysis.latency.run_times import TIMES
from harness.analysis.latency.timing_verdicts import (
    PUBLISHABLE_PROCESSES,
    PUBLISHABLE_ROUNDS,
    Gate,
    Rule,
)
from harness.formatting import UNKNOWN, format_ratio, format_ratio_interval, join_words, pluralize

TIME_NAMES = dict(zip(TIMES, ("TTFT", "TPOT", "End to end"), strict=True))
CONTROL_NAMES = {
    "base": "base",
    "base_again": "base again (A/A)",
    "base_cloned": "base, tensors copied",
}
DOUBT = "UNTRUSTED: "
"""Prefix of statements about a point that is not trusted."""

ONE_PROCESS = "the intervals assume independent rounds and exclude variation between processes"
STATES = ("trusted", "untrusted", "not measured")
VERDICTS = ("slower", "faster", "equivalent", "unresolved")
AXIS_NAMES = {
    "batch_size": "batch {}",
    "prompt_tokens": "prompt {}",
    "output_tokens": "output {}",
    "dtype": "{} base",
    "adapter_dtype": "{} adapter",
    "rank": "rank {}",
    "attention": "{} attention",
    "cache": "{} cache",
    "compile": "compile {}",
}
STOPS = {
    "target reached": "every preregistered interval was narrow enough",
    "time budget": "its time budget ({seconds:g} s) was spent",
    "rounds limit": "the limit of rounds was reached",
}


def name_arm(arm: str, variant: str) -> str:
    """`unmerged qkv`, `merged qkv`, `mixed batch`, `base again (A/A)`."""
    if arm == "mixed":
        return "mixed batch"
    return CONTROL_NAMES.get(arm, f"{arm} {variant}")


def name_points(points: Sequence[Point]) -> dict[int, str]:
    """Name each point by its lengths, its batch, and whatever else differs between the points.

    Of points of the same axes, those of later runs are named as that.
    """
    always = ("batch_size", "prompt_tokens", "output_tokens")
    varied = [name for name in AXES if len({str(point.axes[name]) for point in points}) > 1]
    named = [name for name in AXES if name in always or name in varied]
    names = {}
    for point in points:
        parts = [AXIS_NAMES[name].format(point.axes[name]) for name in named]
        names[point.number] = ", ".join(parts + ["added later"] * (point.added_to is not None))
    taken = list(names.values())
    # `auto` and what it came to can run alike, and more than one run can have added to a point.
    return {
        number: name if taken.count(name) == 1 else f"{name}, point {number}"
        for number, name in names.items()
    }


def describe_shared_axes(points: Sequence[Point]) -> str:
    """Name the axes that no point's name holds: `float32 base, rank 8, ...`."""
    first = points[0].axes if points else {}
    shared = [
        AXIS_NAMES[name].format(first[name])
        for name in AXES[3:]
        if points and len({str(point.axes[name]) for point in points}) == 1
    ]
    return ", ".join(shared)


def describe_versions(study: LatencyStudy) -> str:
    """Name packages, and the harness's commit where it ran from a clone."""
    versions = find_versions(study)
    commit, dirty = versions.pop("git_commit"), "True" in versions.pop("git_dirty")
    named = [f"{name} {version}" for name, version in versions.items() if version]
    if commit:
        named.append(f"commit {commit}{' with uncommitted changes' if dirty else ''}")
    return ", ".join(named) or "versions unknown"


def describe_gate(gate: Gate) -> str:
    """State whether a point is trusted and by which A/A ratio; where not, why."""
    interval = gate.ratio
    ratio = format_interval(interval.estimate, interval.low, interval.high)
    if gate.is_trusted:
        return f"Trusted: the base against itself is {ratio}."
    return f"UNTRUSTED: {'; '.join(gate.reasons).rstrip('.')}. No verdict is valid here."


def describe_other_gates(gates: Mapping[str, Gate]) -> Iterator[str]:
    """Say which of a trusted point's other times fail their own A/A; `gates` are by time."""
    for time, gate in gates.items():
        if not gate.is_trusted:
            yield f"{TIME_NAMES[time]} is UNTRUSTED here: {gate.reasons[0]}."


def describe_states(states: Sequence[str]) -> str:
    """Count the points that are `trusted`, `untrusted` and `not measured`."""
    counts = [f"{count} {name}" for name in STATES if (count := states.count(name))]
    return f"{pluralize(len(states), 'point')}: {join_words(counts) or 'none timed'}."


def describe_verdicts(rows: pd.DataFrame, rule: Rule) -> Iterator[str]:
    """Say, a line an arm, which sets are slower, faster, equivalent or unresolved, end to end.

    `rows` are those of tabulate_ratios of one point.
    """
    totals = rows[rows["time"] == "end_to_end"]
    for arm, title in (("unmerged", "Unmerged"), ("merged", "Merged"), ("mixed", "Mixed batch")):
        own = totals[totals["arm"] == arm]
        parts = [
            f"{_spell(verdict, rule)} {join_words([_name_ratio(row) for row in group])}"
            for verdict in VERDICTS
            if (group := own[own["verdict"] == verdict].to_dict("records"))
        ]
        if parts:
            yield f"{title}, {'; '.join(parts)}."


def describe_layout(rows: pd.DataFrame, rule: Rule) -> Iterator[str]:
    """Say what the memory-layout control came to, and what that means for merged sets.

    `rows` are those of tabulate_ratios of one point. A merged set has tensors of its own, as the
    control has: what the control's differs by, a merged set's can differ by too.
    """
    totals = rows[rows["time"] == "end_to_end"]
    for row in totals[totals["arm"] == "base_cloned"].to_dict("records"):
        found = f"Memory layout: the base with its tensors copied is {format_half_width(row)}"
        if row["verdict"] == "equivalent":
            yield f"{found}, equivalent within {rule.margin:.0%}."
        else:
            yield (
                f"{found}, {row['verdict']}. A difference of this size between a merged set and "
                "the base may be due to memory layout rather than to the merged weights."
            )


def describe_mixed(point: Point, rows: pd.DataFrame) -> Iterator[str]:
    """Say which sets the mixed batch mixes; `rows` are those of tabulate_ratios of the point."""
    if point.mixed_sets and (rows["arm"] == "mixed").any():
        yield f"The rows of the mixed batch use {join_words(point.mixed_sets)} in turn."


def describe_one_process(rows: pd.DataFrame) -> Iterator[str]:
    """Say what the intervals of a point of one process leave out."""
    if rows["processes"].max() == 1:
        yield f"Only one process was timed: {ONE_PROCESS}."


def describe_publishability(rows: pd.DataFrame, rule: Rule) -> str:
    """Say whether a point is trusted and has the rounds and processes that publishing needs."""
    compared = rows[(rows["time"] == "end_to_end") & (rows["verdict"] != "reference")]
    if compared.empty:
        return "Not publishable: nothing was compared."
    rounds, processes = compared["rounds"].min(), compared["processes"].min()
    have = f"{rounds} rounds in {pluralize(processes, 'process', 'processes')}"
    needed = max(rule.min_processes, PUBLISHABLE_PROCESSES)
    need = (
        f"{max(rule.min_rounds, PUBLISHABLE_ROUNDS)} rounds in "
        f"{pluralize(needed, 'process', 'processes')}"
    )
    if not compared["trusted"].all():
        return f"Not publishable, because untrusted: {have} (needed: {need})."
    if compared["is_publishable"].all():
        return f"Publishable: {have} (needed: {need})."
    return f"Not publishable: {have} (needed: {need})."


def describe_stop(point: Point, rows: pd.DataFrame, facts: Facts) -> str:
    """State why a point's rounds ended, and which preregistered ratios were still too wide."""
    waited = rows[rows["is_preregistered"]]
    seen = set(zip(waited["arm"], waited["variant"], strict=True))
    lost = sorted(point.preregistered - seen)
    untimed = f" Preregistered and never timed: {_name_arms(lost)}." if lost else ""
    if point.stopped is None:
        return f"Ended early: {describe_status(point)}.{untimed}"
    reason = STOPS.get(point.stopped, point.stopped).format(seconds=facts.max_seconds)
    # A half-width that is unknown is not narrow either.
    wide = waited[~(waited["half_width"] <= facts.rule.half_width)]
    width = f"within ±{facts.rule.half_width:.3g}"
    names = _name_arms(zip(wide["arm"], wide["variant"], strict=True))
    short = f" Not {width}: {names}." if len(wide) else ""
    if len(wide) == len(waited) > 1:
        short = f" None of the {len(waited)} preregistered ratios is {width}."
    return f"Stopped because {reason}.{short}{untimed}"


def describe_status(point: Point) -> str:
    """How a point ended, and why: `out of memory: ...`."""
    status = "not finished" if point.status == "open" else point.status
    return f"{status}: {_first_line(point.message)}" if point.message else status


def describe_fit(model: CostModel) -> str:
    """Say what a cost model was fitted to, and which sets it left out."""
    rounds = pluralize(model.rounds, "round")
    fitted = f"From {rounds} in {pluralize(model.processes, 'process', 'processes')}."
    if not model.left_out:
        return fitted
    return (
        f"{fitted} Left out, because they were timed in fewer than half of the rounds: "
        f"{join_words(model.left_out)}."
    )


def describe_checks(checks: pd.DataFrame, name: str) -> str:
    """Say how one point's sets stand to what the cost model of the point `name` predicts.

    `checks` are rows of Costs.checks.
    """
    rows = checks.to_dict("records")
    departing = [
        f"{row['target_set']} ({row['excess']:+.1%} of the base's time)"
        for row in rows
        if row["found"] == "departs"
    ]
    parts = [f"departs: {join_words(departing)}"] if departing else []
    for found in ("no departure found", "not tested"):
        names = [row["target_set"] for row in rows if row["found"] == found]
        parts += [f"{found}: {join_words(names)}"] if names else []
    return f"Compared with the prediction from the role costs at {name}: {'; '.join(parts)}."


def describe_undefined(points: Sequence[Point]) -> Iterator[str]:
    """Say where a time does not exist."""
    if any(point.axes["output_tokens"] == 1 for point in points):
        yield (
            "TPOT, the time per output token after the first, is undefined for an output of one "
            "token: those points have only TTFT and end to end."
        )


def list_troubles(study: LatencyStudy, names: Mapping[int, str]) -> list[str]:
    """Name every point that broke off, variant that failed and process that did not settle."""
    facts = study.facts
    timed = set(study.calls["point"])
    # A point without calls has that for its headline.
    troubles = [
        f"{names[point.number]}: {describe_status(point)}; the calls timed before are kept"
        for point in facts.points
        if point.status != "done" and point.number in timed
    ]
    for failure in facts.failures:
        where = names.get(failure["point"], f"point {failure['point']}")
        what = name_arm(failure["arm"], failure["variant"])
        rounds = _count_rounds(study, failure)
        after = f"failed after {pluralize(rounds, 'round')}"
        came = after if rounds else "could not be timed"
        troubles.append(f"{where}: {what} {came}: {_first_line(failure['message'])}")
    troubles += [
        f"{names.get(each['point'], each['point'])}: process {each['process']} had not reached a "
        f"steady speed after {each['warmup_rounds']} warm-up rounds; its first rounds may be slow"
        for each in facts.processes
        if each.get("settled") is False
    ]
    # What fails in one process mostly fails in the next ones too.
    return list(dict.fromkeys(troubles))


def describe_rule(facts: Facts) -> tuple[str, ...]:
    """State how the figures were measured: ratios, verdicts, trust, when timing stops."""
    rule = facts.rule
    return (
        "Each round times every arm once, in a seeded random order. Ratios are computed within a "
        "round; the reported ratio is the median over rounds, with a 95% bootstrap interval over "
        "processes and rounds. Outliers are counted and kept. With one process, "
        f"{ONE_PROCESS}.",
        f"Equivalent: the whole interval lies within {1 / (1 + rule.margin):.3f} to "
        f"{1 + rule.margin:.3f}. Slower or faster: the interval lies on one side of 1 but not "
        "within that margin. Unresolved: neither applies.",
        "A point is trusted if the base timed against itself, end to end, has an interval that "
        f"contains 1 and is no wider than ±{rule.half_width:.3g}. TTFT and TPOT are each tested "
        "the same way.",
        "A point is timed until all preregistered end-to-end ratios have intervals within "
        f"±{rule.half_width:.3g}, and for at most {facts.max_seconds:g} s.",
    )


def format_interval(ratio: float, low: float, high: float) -> str:
    """Format a ratio with its interval, or say that the interval is unknown."""
    if not math.isnan(ratio) and (math.isnan(low) or math.isnan(high)):
        return f"{format_ratio(ratio)} (interval unknown)"
    return format_ratio_interval(ratio, low, high)


def format_half_width(row: Mapping[Any, Any]) -> str:
    """A row's ratio with its interval's half-width, where there is no room for both ends."""
    width = row["half_width"]
    return format_ratio(row["ratio"]) + ("" if math.isnan(width) else f" ±{width:.3f}")


def format_milliseconds(seconds: float) -> str:
    """A call's time to four significant digits."""
    return UNKNOWN if math.isnan(seconds) else f"{1000 * seconds:,.4g} ms"


def _spell(verdict: str, rule: Rule) -> str:
    return f"equivalent within {rule.margin:.0%}:" if verdict == "equivalent" else f"{verdict}:"


def _name_ratio(row: Mapping[Any, Any]) -> str:
    ratio = format_half_width(row)
    return ratio if row["arm"] == "mixed" else f"{row['variant']} {ratio}"


def _name_arms(arms: Iterable[tuple[str, str]]) -> str:
    return join_words([name_arm(arm, variant) for arm, variant in arms])


def _count_rounds(study: LatencyStudy, failure: Mapping[str, Any]) -> int:
    """Rounds that have the arm that failed: of its processes before, or before it broke off."""
    calls = study.calls_of(failure["point"])
    own = calls[(calls["arm"] == failure["arm"]) & (calls["variant"] == failure["variant"])]
    return len(own[["process", "round"]].drop_duplicates())


def _first_line(text: Any) -> str:
    return (str(text).splitlines() or [""])[0].rstrip(".")
