"""The verdict's sentences: the rule, its result, what would decide it, what would change it."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison
from harness.analysis.decision import VERDICT_NAMES, Evidence, Profile, Ruling
from harness.formatting import format_count, format_ratio_interval, format_score, join_words

COSTS = {
    "end_to_end_ratio": (
        "the one with the lowest end-to-end latency (unmerged, relative to the base, geometric "
        "mean over tasks)"
    ),
    "tpot_ratio": (
        "the one with the lowest time per output token (unmerged, relative to the base, geometric "
        "mean over tasks)"
    ),
    "trainable_parameters": "the one with the fewest trainable parameters",
}
"""Cost of a profile -> which of the qualifying sets the rule takes."""

REMEASURE = "run the same command with latency.remeasure=true to time it again"
"""What to do about a timing that is not trusted."""


def describe_rule(delta: float, profile: Profile) -> str:
    tie = "If latency does not separate them, recommend the one with fewer trainable parameters. "
    return (
        "A target set qualifies if its score lost against the best set (regret) has an upper 95% "
        f"bound of at most {delta:g}, the tolerance (delta), on average over tasks, and of at most "
        f"{2 * delta:g} on its worst task. Of the sets that qualify, recommend "
        f"{COSTS[profile.cost]}. {tie if _is_latency(profile) else ''}If no set qualifies, the "
        "verdict is undecided."
    )


def _is_latency(profile: Profile) -> bool:
    return profile.cost.endswith("_ratio")


def describe_bounds(each: Evidence, delta: float) -> str:
    if not each.is_complete:
        return f"{each.variant} has no scores on at least one task."
    if not each.is_bounded:
        return f"{each.variant}: its score lost has no bound, because a task has only one example."
    state = "is ruled out" if each.is_excluded(delta) else "is neither confirmed nor ruled out"
    return (
        f"{each.variant} {state}. Score lost: {format_score(each.mean_regret)} on average, up to "
        f"{format_score(each.mean_regret_high)} (allowed {delta:g}); "
        f"{format_score(each.worst_regret)} on its worst task, up to "
        f"{format_score(each.worst_regret_high)} (allowed {2 * delta:g})."
    )


def describe_reasons(
    ruling: Ruling, comparison: Comparison, delta: float, profile: Profile
) -> Iterator[str]:
    """Yield how the rule reached its verdict."""
    if len(ruling.inputs) < 2:
        yield "Fewer than two target sets were run, so there is nothing to compare."
        return
    if not ruling.eligible:
        yield from (describe_bounds(each, delta) for each in ruling.inputs)
        return
    names = join_words([each.variant for each in ruling.eligible])
    yield f"Within both bounds on score lost: {names}."
    choice = min(ruling.tied, key=lambda each: (each.trainable_parameters, each.variant))
    if _is_latency(profile):
        yield _describe_fastest(choice, ruling, comparison, profile)
    else:
        size = format_count(choice.trainable_parameters)
        yield f"Of these, {choice.variant} has the fewest trainable parameters ({size})."
    cheaper = [
        f"{each.variant} (score lost: up to {format_score(each.mean_regret_high)} on average, up "
        f"to {format_score(each.worst_regret_high)} on its worst task)"
        for each in ruling.candidates
        if each not in ruling.eligible and each.cost(profile.cost)[2] < choice.cost(profile.cost)[1]
    ]
    if cheaper:
        yield (
            f"{'Faster' if _is_latency(profile) else 'Smaller'} and not ruled out: "
            f"{join_words(cheaper)}. More examples may change the recommendation."
        )


def _describe_fastest(
    choice: Evidence, ruling: Ruling, comparison: Comparison, profile: Profile
) -> str:
    """Why it is the fastest, or the smallest of those whose latency is not distinguishable."""
    eligible, doubts = ruling.eligible, comparison.latency_doubts
    unknown = {each.variant: doubts.get(each.variant, "was not measured") for each in eligible}
    untimed = [each.variant for each in eligible if math.isnan(each.cost(profile.cost)[0])]
    count = format_count(choice.trainable_parameters)
    size = f"{choice.variant} has the fewest trainable parameters ({count})"
    if len(untimed) == len(eligible):
        why = " or ".join(sorted(set(unknown.values())))
        return f"Latency {why}, so size decides: of these, {size}."
    rest = "".join(f" The latency of {name} {unknown[name]}." for name in untimed)
    if len(ruling.tied) == 1:
        others = "the only set that qualifies" if len(eligible) == 1 else "the fastest of these"
        others = "the fastest of those with usable latency" if untimed else others
        return f"{choice.variant} is {others}: {_describe_latency(choice, profile)}.{rest}"
    cost = profile.cost
    listed = "; ".join(f"{t.variant} {format_ratio_interval(*t.cost(cost))}" for t in ruling.tied)
    what = "time per token" if cost == "tpot_ratio" else "time"
    return (
        f"Latency does not separate these sets ({what} relative to the base): {listed}. Of these, "
        f"{size}.{rest}"
    )


def _describe_latency(each: Evidence, profile: Profile) -> str:
    what = "time per token" if profile.cost == "tpot_ratio" else "time"
    return f"{format_ratio_interval(*each.cost(profile.cost))} the base's {what}"


def describe_choice(
    choice: Evidence, comparison: Comparison, delta: float, profile: Profile
) -> str:
    firmness = (
        " Provisional: with one seed, seed noise is unknown." if comparison.seed_count < 2 else ""
    )
    speed = ""
    if not math.isnan(choice.end_to_end_ratio) and _is_latency(profile):
        speed = (
            f" Unmerged, it takes {choice.end_to_end_ratio:.2f} times the base's end-to-end time."
        )
    return (
        f"Recommended: {choice.variant}. Its mean score over {_count_tasks(comparison)} is "
        f"{format_score(choice.score)}, and with 95% confidence at most "
        f"{format_score(choice.mean_regret_high)} below the best set's (tolerance: {delta:g})."
        f"{speed}{firmness}"
    )


def _count_tasks(comparison: Comparison) -> str:
    count = len(comparison.tasks)
    return "1 task" if count == 1 else f"{count} tasks"


def describe_open(ruling: Ruling) -> str:
    inputs = ruling.inputs
    if ruling.verdict == "no skill":
        return (
            "No gain over the base: no target set scores significantly above the base on any task "
            "(5% level over all sets and tasks together), so none is recommended."
        )
    if len(inputs) < 2:
        only = f" ({inputs[0].variant})" if inputs else ""
        return (
            f"Undecided: fewer than two target sets were run{only}, so there is nothing to compare."
        )
    if not any(each.is_complete for each in inputs):
        return "Undecided: no task has scores for every target set, so they cannot be compared."
    if not ruling.candidates:
        complete = [each for each in inputs if each.is_complete]
        nearest = min(complete, key=lambda each: (each.needed_delta, each.variant))
        return (
            "Undecided: every target set is shown to lose more score than the tolerance allows, on "
            f"average or on its worst task. {nearest.variant} comes closest."
        )
    names = join_words([each.variant for each in ruling.candidates])
    return (
        "Undecided: no target set is shown to be close enough to the best one. Not ruled out: "
        f"{names}."
    )


def describe_flips(
    delta: float, without_task: pd.DataFrame, by_delta: pd.DataFrame
) -> Iterator[str]:
    """Yield what would change a recommendation: another tolerance, or one task fewer."""
    steps = by_delta.to_dict("records")
    at = max(index for index, step in enumerate(steps) if step["delta_from"] <= delta)
    choice = steps[at]["choice"]
    if at > 0:
        limit = format_score(steps[at]["delta_from"])
        yield f"With a tolerance below {limit}: {_name_outcome(steps[at - 1])}."
    if at + 1 < len(steps):
        limit = format_score(steps[at + 1]["delta_from"])
        yield f"With a tolerance of {limit} or more: {_name_outcome(steps[at + 1])}."
    others = [row for row in without_task.to_dict("records") if row["choice"] != choice]
    for row in others:
        yield f"Without {row['without_task']}: {_name_outcome(row)}."
    if len(without_task) and not others:
        yield f"Without any one task: still {choice}."


def _name_outcome(row: Mapping[Hashable, Any]) -> str:
    return str(row["choice"] if row["verdict"] == "chosen" else VERDICT_NAMES[row["verdict"]])


def describe_needs(ruling: Ruling, comparison: Comparison, delta: float) -> str:
    """Return roughly how many more examples or seeds would decide, and which tolerance would."""
    if ruling.verdict == "no skill":
        return (
            "Train until the scores move: more steps or examples, another learning rate, or an "
            "easier task. If they already move, use more test examples."
        )
    if len(ruling.inputs) < 2:
        return "Run at least two target sets."
    known = [each for each in ruling.inputs if each.is_complete and each.is_bounded]
    if not known:
        return "Score every target set on the same tasks, with more than one example per task."
    loosest = min(known, key=lambda each: (each.needed_delta, each.variant))
    tolerance = f"{_round_up(loosest.needed_delta):g}"
    larger = f"At a tolerance of {tolerance}, target set {loosest.variant} would qualify now."
    ways = [_describe_examples(known, comparison, delta), _describe_seeds(known, comparison, delta)]
    if not any(ways):
        return (
            "More examples or seeds alone would hardly help: no target set's observed score lost "
            f"is small enough. {larger}"
        )
    return f"If the means stay as they are, {', or '.join(filter(None, ways))}. {larger}"


def _describe_examples(known: Sequence[Evidence], comparison: Comparison, delta: float) -> str:
    nearest = min(known, key=lambda each: (each.needed_examples(delta), each.variant))
    factor = nearest.needed_examples(delta)
    counts = comparison.by_task["examples"].dropna()
    if math.isinf(factor):
        return ""
    return (
        f"{nearest.variant} would qualify first with roughly {_round_up(factor):g} times as many "
        f"test examples (now {counts.min():.0f} to {counts.max():.0f} per task)"
    )


def _describe_seeds(known: Sequence[Evidence], comparison: Comparison, delta: float) -> str:
    nearest = min(known, key=lambda each: (each.needed_seeds(delta), each.variant))
    seeds = nearest.needed_seeds(delta) * comparison.seed_count
    if math.isinf(seeds):
        return ""
    return (
        f"{nearest.variant} would qualify with roughly {math.ceil(seeds):.0f} seeds "
        f"(now {comparison.seed_count})"
    )


def _round_up(value: float) -> float:
    """Round up to two significant digits."""
    size = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return float(f"{math.ceil(round(value / size, 6)) * size:.2g}")
