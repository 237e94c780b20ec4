"""The report's tables as plain text cells, which Markdown, HTML and the terminal lay out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison
from harness.analysis.latency.ratios import Interval
from harness.analysis.latency.variant_ratios import UNTRUSTED
from harness.analysis.published_claims import Claim
from harness.analysis.ranking import (
    compare_pairs,
    find_front_probability,
    generalize_regret,
    rank_sets,
)
from harness.analysis.regret import find_chances
from harness.analysis.verdict.decision import VERDICT_NAMES, Evidence
from harness.analysis.verdict.recommendation import Recommendation
from harness.analysis.verdict.wording import REMEASURE
from harness.formatting import (
    UNKNOWN,
    format_bytes,
    format_chance,
    format_count,
    format_difference_interval,
    format_p,
    format_ratio,
    format_ratio_interval,
    format_score,
    format_score_interval,
    format_seconds,
    format_share,
    join_words,
    rule_table,
)
from harness.records.record import BASE

NO_SKILL_MARK = "!"
"""Marks a score that is not above the majority-class baseline in the terminal's table."""

UNTRUSTED_MARK = "?"
"""Stands behind a ratio that is not trusted in the terminal's table."""

TIMES = {"ttft_ratio": "TTFT", "tpot_ratio": "TPOT", "end_to_end_ratio": "End to end"}


@dataclass(frozen=True)
class Table:
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Cells; the first of each row names it."""
    chosen: str | None = None
    """Name of the row to highlight."""
    references: tuple[str, ...] = ()
    """Names of the rows that are baselines, not results."""


def make_main_table(comparison: Comparison, chosen: str | None = None) -> Table:
    """Return scores by task, means, regret, latency ratios and costs.

    The base comes first, then the majority lines of tasks that have one, then the sets by mean.
    Blocks are counted where some set is not in all of them.
    """
    overall = comparison.overall
    is_partial = bool((overall["covered_blocks"] < overall["block_count"]).any())
    tasks = sorted(comparison.by_task["task"].unique())
    cells = _cells_by_task(comparison)
    rows = []
    for row in sort_rows(comparison):
        scores = [_describe_score(cells.get((row["variant"], task))) for task in tasks]
        blocks = [_format_blocks(row)] if is_partial else []
        rows.append((row["variant"], *scores, *_describe_overall(row), *blocks))
    lines = _make_majority_rows(comparison, tasks, width=len(rows[0]) if rows else 0)
    after_base = sum(row["target_set"] == BASE for row in sort_rows(comparison))
    rows[after_base:after_base] = lines
    headers = (
        *("Target set", *tasks, "Mean over tasks", "Score lost, worst task"),
        *(f"{name} / base" for name in TIMES.values()),
        *("Merged end to end / base", "Trainable parameters", "Adapter size"),
        *(
            "Training time per run",
            "Peak memory",
            *(["Blocks with adapters"] if is_partial else []),
        ),
    )
    return Table(headers, tuple(rows), chosen, tuple(line[0] for line in lines))


def _format_blocks(row: Mapping[str, Any]) -> str:
    if pd.isna(row["covered_blocks"]):
        return UNKNOWN
    return f"{row['covered_blocks']:.0f} of {row['block_count']:.0f}"


def make_gain_table(comparison: Comparison, chosen: str | None = None) -> Table:
    """Return paired differences to the base by task, with their 95% intervals."""
    tasks = sorted(comparison.by_task["task"].unique())
    cells = _cells_by_task(comparison)
    rows = []
    for row in sort_rows(comparison):
        if row["target_set"] != BASE:
            gains = [
                _describe_cell(
                    cells.get((row["variant"], task)), "difference", format_difference_interval
                )
                for task in tasks
            ]
            mean = format_difference_interval(*read_interval(row, "difference"))
            rows.append((row["variant"], *gains, mean))
    return Table(("Target set", *tasks, "Mean over tasks"), tuple(rows), chosen)


def make_evidence_table(recommendation: Recommendation) -> Table:
    """Return the evidence on each set, and each set's outcome under the rule."""
    rows = []
    for each in recommendation.inputs:
        rows.append(
            (
                each.variant,
                format_difference_interval(
                    each.difference, each.difference_low, each.difference_high
                ),
                f"{format_score(each.mean_regret)}, up to {format_score(each.mean_regret_high)}",
                _describe_worst(each),
                format_chance(each.near_probability),
                format_ratio_interval(
                    each.end_to_end_ratio, each.end_to_end_ratio_low, each.end_to_end_ratio_high
                ),
                format_count(each.trainable_parameters),
                _describe_state(each.variant, each.is_complete, recommendation),
            )
        )
    headers = (
        *("Target set", "Gain over base", "Mean score lost (95% bound)"),
        *("Score lost, worst task", f"Within {recommendation.delta:g} of the best"),
        *("End to end / base", "Trainable parameters", "Outcome"),
    )
    return Table(headers, tuple(rows), recommendation.choice)


def make_certainty_table(comparison: Comparison, delta: float, chosen: str | None = None) -> Table:
    """Return how certain each set's place is: near the best, on the front, rank, new tasks."""
    near = find_chances(comparison.scores, within=delta)
    front = find_front_probability(comparison)
    if not comparison.can_decide:  # what does not count gives no chance
        near, front = dict.fromkeys(near, math.nan), dict.fromkeys(front, math.nan)
    ranks = rank_sets(comparison.scores).set_index("variant")
    new_tasks = generalize_regret(comparison.scores)
    rows = []
    for row in sort_rows(comparison):
        name = str(row["variant"])
        if name in near and name in ranks.index:
            low, high = ranks.loc[name, ["average_rank_low", "average_rank_high"]]
            rank = f"{ranks.loc[name, 'average_rank']:.1f} ({low:.1f} to {high:.1f})"
            chances = map(format_chance, (near[name], front[name]))
            rows.append((name, *chances, rank, format_score(new_tasks[name])))
    headers = (
        *("Target set", f"Within {delta:g} of the best", "On the Pareto front", "Average rank"),
        "Score lost on new tasks, mean (95% bound)",
    )
    return Table(headers, tuple(rows), chosen)


def make_profile_table(recommendation: Recommendation) -> Table:
    """Return the verdict under each profile."""
    rows = [
        (
            *(row["profile"], row["meaning"], f"{row['delta']:g}"),
            row["choice"] if row["verdict"] == "chosen" else VERDICT_NAMES[row["verdict"]],
        )
        for row in recommendation.by_profile
    ]
    return Table(
        ("Profile", "Use", "Tolerance", "Recommendation"), tuple(rows), recommendation.profile
    )


def make_pair_table(comparison: Comparison) -> Table:
    """Return how the set with the highest mean compares with each other set: score and time."""
    pairs = compare_pairs(comparison.scores)
    first = pairs["better"].iloc[0] if len(pairs) else None
    rows = [
        (
            f"{row['better']} over {row['worse']}",
            format_difference_interval(row["difference"], row["low"], row["high"]),
            format_p(row["p_holm"]),
            format_score(row["detectable"]),
            format_share(row["seed_share"]),
            _describe_times(comparison.compare_times(row["better"], row["worse"])),
        )
        for row in pairs[pairs["better"] == first].to_dict("records")
    ]
    headers = (
        *("Pair", "Difference of means over tasks", "p, corrected", "Detectable difference"),
        *("Share of uncertainty due to seeds", "End to end, first / second"),
    )
    return Table(headers, tuple(rows))


def make_claim_table(claims: Sequence[Claim]) -> Table:
    """Return a published study's claims with their outcomes."""
    rows = [(each.name, each.outcome, each.evidence) for each in claims]
    return Table(("Published claim", "On this data", "Evidence"), tuple(rows))


def make_environment_table(environments: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return one row per fact, with all its values where runs differ."""
    names = dict.fromkeys(name for facts in environments.values() for name in facts)
    rows = []
    for name in names:
        values = sorted({str(facts[name]) for facts in environments.values() if name in facts})
        text = "; ".join(values) if len(values) <= 3 else f"{len(values)} different values"
        rows.append((str(name), text))
    return Table(("Fact", "Value"), tuple(rows or [("all", "not recorded")]))


def text_table(comparison: Comparison, chosen: str | None = None) -> str:
    """Return the terminal's table: score +- half its interval by task, mean, regret, latency.

    A score not above the majority-class baseline is marked; a line under the table explains it.
    """
    tasks = sorted(comparison.by_task["task"].unique())
    cells = _cells_by_task(comparison)
    marked = {task for (_, task), cell in cells.items() if _lacks_skill(cell)}
    lines = [["target set", *tasks, "mean", "score lost, worst task", "end to end", "parameters"]]
    for row in sort_rows(comparison):
        name = f"{row['variant']} *" if row["variant"] == chosen else str(row["variant"])
        scores = [
            _mark_no_skill(cells.get((row["variant"], task)), task in marked) for task in tasks
        ]
        lines.append(
            [
                *(name, *scores, _format_short(*read_interval(row, "score"))),
                format_score(row["worst_regret"]),
                "1x" if row["target_set"] == BASE else _format_short_ratio(row),
                format_count(row["trainable_parameters"]),
            ]
        )
    legend = [
        f"{NO_SKILL_MARK} not above the majority-class baseline on {task}: not above "
        f"{line.high:.3f}, the upper 95% bound of {line.name} ({line.score:.3f})"
        for task, line in comparison.majority.items()
        if task in marked
    ]
    if comparison.latency_doubts:
        doubts = sorted(set(comparison.latency_doubts.values()))
        legend.append(
            f"{UNTRUSTED_MARK} this timing {join_words(doubts)} "
            f"and takes no part in the verdict; {REMEASURE}"
        )
    return "\n".join([rule_table(lines, is_right=True), *legend])


def _format_short_ratio(row: Mapping[str, Any]) -> str:
    untrusted = row[f"{UNTRUSTED}end_to_end_ratio"]
    if pd.isna(row["end_to_end_ratio"]) and pd.notna(untrusted):
        return f"{format_ratio(untrusted)}{UNTRUSTED_MARK}"
    return format_ratio(row["end_to_end_ratio"])


def sort_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the rows of `overall`, sorted."""
    rows = sort_by_score(comparison.overall).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def sort_by_score(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort variants: the base first, then by mean score; those without one last."""
    rows = rows.assign(is_base=rows["target_set"] == BASE)
    keys, ascending = ["is_base", "score", "variant"], [False, False, True]
    return rows.sort_values(keys, ascending=ascending, na_position="last")


def _cells_by_task(comparison: Comparison) -> dict[tuple[str, str], dict[str, Any]]:
    rows = comparison.by_task.to_dict("records")
    return {(row["variant"], row["task"]): {str(k): v for k, v in row.items()} for row in rows}


def _describe_cell(cell: dict[str, Any] | None, name: str, describe: Any) -> str:
    if cell is None:
        return "not run"
    if pd.isna(cell[name]):
        return "no result" if cell["unfinished_runs"] else UNKNOWN
    return str(describe(*read_interval(cell, name)))


def _describe_score(cell: dict[str, Any] | None) -> str:
    score = _describe_cell(cell, "score", format_score_interval)
    return f"{score}, not above baseline" if _lacks_skill(cell) else score


def _mark_no_skill(cell: dict[str, Any] | None, is_task_marked: bool) -> str:
    """Leave room for the mark in the whole column, so that its digits stay aligned."""
    score = _describe_cell(cell, "score", _format_short)
    room = " " if is_task_marked else ""
    return f"{score}{NO_SKILL_MARK if _lacks_skill(cell) else room}"


def _lacks_skill(cell: dict[str, Any] | None) -> bool:
    return cell is not None and pd.notna(cell["has_skill"]) and not cell["has_skill"]


def _make_majority_rows(
    comparison: Comparison, tasks: Sequence[str], width: int
) -> list[tuple[str, ...]]:
    """One row a constant answer, filled on the tasks where it is the best constant answer."""
    answers: dict[str, dict[str, str]] = {}
    for task, line in comparison.majority.items():
        score = format_score_interval(line.score, line.low, line.high)
        answers.setdefault(line.name, {})[task] = score
    return [
        (name, *(scores.get(task, "") for task in tasks), *[""] * (width - 1 - len(tasks)))
        for name, scores in sorted(answers.items())
    ]


def _describe_overall(row: dict[str, Any]) -> tuple[str, ...]:
    is_base = row["target_set"] == BASE
    ratios = [
        "1x" if is_base else _describe_ratio(row, name)
        for name in (*TIMES, "merged_end_to_end_ratio")
    ]
    mean = format_score_interval(*read_interval(row, "score"))
    if pd.isna(row["score"]) and row["tasks"]:
        mean = f"{UNKNOWN} (scores on {row['tasks']:.0f} of the tasks only)"
    return (
        mean,
        format_score(row["worst_regret"]),
        *ratios,
        format_count(row["trainable_parameters"]),
        UNKNOWN if is_base else format_bytes(row["adapter_bytes"]),
        format_seconds(row["train_seconds"]),
        format_bytes(row["peak_memory_bytes"]),
    )


def _describe_ratio(row: Mapping[str, Any], name: str) -> str:
    """A ratio with its interval; one that is not trusted is shown, and marked."""
    untrusted = f"{UNTRUSTED}{name}"
    if pd.isna(row[name]) and pd.notna(row[untrusted]):
        return f"{format_ratio_interval(*read_interval(row, untrusted))}, not trusted"
    return format_ratio_interval(*read_interval(row, name))


def _describe_times(ratio: Interval) -> str:
    return format_ratio_interval(ratio.estimate, ratio.low, ratio.high)


def _describe_worst(each: Evidence) -> str:
    if pd.isna(each.worst_regret):
        return UNKNOWN
    return f"{format_score(each.worst_regret)} ({each.worst_task})"


def _describe_state(variant: str, is_complete: bool, recommendation: Recommendation) -> str:
    if variant == recommendation.choice:
        return VERDICT_NAMES[recommendation.verdict]
    if variant in recommendation.runners_up:
        return "qualifies"
    if variant in recommendation.candidates:
        return "not ruled out"
    return "ruled out" if is_complete else "lacks a task"


def read_interval(row: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    """An estimate of a row, and its bounds."""
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


def _format_short(value: float, low: float, high: float) -> str:
    if pd.isna(value) or pd.isna(low):
        return format_score(value)
    return f"{value:.3f} ±{(high - low) / 2:.3f}"
