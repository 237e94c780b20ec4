"""The verdict's sentences: the rule, how it came out, what would decide it or flip it."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison
from harness.analysis.decision import Evidence, Profile, Ruling
from harness.formatting import format_count, format_ratio_interval, format_score, join_words

COSTS = {
    "end_to_end_ratio": (
        "the lowest-latency target set (end to end, unmerged against base, geometric mean over "
        "tasks)"
    ),
    "tpot_ratio": (
        "the target set of the lowest time per output token (unmerged against base, geometric mean "
        "over tasks)"
    ),
    "trainable_parameters": "the target set of the fewest trainable parameters",
}
"""Cost of a profile -> what the rule takes by it."""

REMEASURE = "run the same command with latency.remeasure=true to time it again"
"""What to do about a timing that is not trusted."""


def describe_rule(delta: float, profile: Profile) -> str:
    tie = (
        "Where latency does not separate two such sets, take the one with fewer trainable "
        "parameters. "
    )
    return (
        f"Take {COSTS[profile.cost]} whose upper 95% bound on mean regret over tasks is at most "
        f"{delta:g}, and on worst-task regret at most {2 * delta:g}. "
        f"{tie if _is_latency(profile) else ''}If no set qualifies: undecided."
    )


def _is_latency(profile: Profile) -> bool:
    return profile.cost.endswith("_ratio")


def describe_bounds(each: Evidence, delta: float) -> str:
    if not each.is_complete:
        return f"{each.variant} lacks scores on some task."
    if not each.is_bounded:
        return f"{each.variant}: its regret has no bound, since a task has one example only."
    state = "is excluded" if each.is_excluded(delta) else "is neither confirmed nor excluded"
    return (
        f"{each.variant} {state}: mean regret {format_score(each.mean_regret)}, up to "
        f"{format_score(each.mean_regret_high)} (allowed {delta:g}); worst-task regret "
        f"{format_score(each.worst_regret)}, up to {format_score(each.worst_regret_high)} "
        f"(allowed {2 * delta:g})."
    )


def describe_reasons(
    ruling: Ruling, comparison: Comparison, delta: float, profile: Profile
) -> Iterator[str]:
    """Yield how the rule came to its verdict."""
    if len(ruling.inputs) < 2:
        yield "Fewer than two target sets were run, so there is nothing to choose between."
        return
    if not ruling.eligible:
        yield from (describe_bounds(each, delta) for each in ruling.inputs)
        return
    yield f"{join_words([each.variant for each in ruling.eligible])} met both bounds."
    choice = min(ruling.tied, key=lambda each: (each.trainable_parameters, each.variant))
    if _is_latency(profile):
        yield _describe_fastest(choice, ruling, comparison, profile)
    else:
        size = format_count(choice.trainable_parameters)
        yield f"{choice.variant} is the smallest of these ({size} trainable)."
    cheaper = [
        f"{each.variant} (mean up to {format_score(each.mean_regret_high)}, worst task up to "
        f"{format_score(each.worst_regret_high)})"
        for each in ruling.candidates
        if each not in ruling.eligible and each.cost(profile.cost)[2] < choice.cost(profile.cost)[1]
    ]
    if cheaper:
        yield (
            f"{'Faster' if _is_latency(profile) else 'Smaller'}, and not ruled out by the bounds "
            f"on regret: {join_words(cheaper)}. More examples may change the choice."
        )


def _describe_fastest(
    choice: Evidence, ruling: Ruling, comparison: Comparison, profile: Profile
) -> str:
    """Why it is the fastest, or the smallest of those that latency does not separate from it."""
    eligible, doubts = ruling.eligible, comparison.latency_doubts
    unknown = {each.variant: doubts.get(each.variant, "was not measured") for each in eligible}
    untimed = [each.variant for each in eligible if math.isnan(each.cost(profile.cost)[0])]
    size = (
        f"{choice.variant} is the smallest ({format_count(choice.trainable_parameters)} trainable)"
    )
    if len(untimed) == len(eligible):
        why = " or ".join(sorted(set(unknown.values())))
        return f"Latency {why}, so size decides: of these, {size}."
    rest = "".join(f" The latency of {name} {unknown[name]}." for name in untimed)
    if len(ruling.tied) == 1:
        others = "the only one of these" if len(eligible) == 1 else "the fastest of these"
        others = "the fastest of those whose latency counts" if untimed else others
        return f"{choice.variant} is {others}: {_describe_latency(choice, profile)}.{rest}"
    listed = "; ".join(f"{each.variant} {_describe_latency(each, profile)}" for each in ruling.tied)
    return f"Latency does not separate {listed}. Of these, {size}.{rest}"


def _describe_latency(each: Evidence, profile: Profile) -> str:
    what = "time per token" if profile.cost == "tpot_ratio" else "time"
    return f"{format_ratio_interval(*each.cost(profile.cost))} the base's {what}"


def describe_choice(
    choice: Evidence, comparison: Comparison, delta: float, profile: Profile
) -> str:
    firmness = (
        " Provisional: one seed, so seed noise is unknown." if comparison.seed_count < 2 else ""
    )
    speed = ""
    if not math.isnan(choice.end_to_end_ratio) and _is_latency(profile):
        speed = (
            f" Unmerged, it takes {choice.end_to_end_ratio:.2f} times the base's end-to-end time."
        )
    return (
        f"Use {choice.variant}. Its mean score over {_count_tasks(comparison)} is "
        f"{format_score(choice.score)}, and with 95% confidence at most "
        f"{format_score(choice.mean_regret_high)} below the best set's (allowed: {delta:g}).{speed}"
        f"{firmness}"
    )


def _count_tasks(comparison: Comparison) -> str:
    count = len(comparison.tasks)
    return "1 task" if count == 1 else f"{count} tasks"


def describe_open(ruling: Ruling) -> str:
    inputs = ruling.inputs
    if ruling.verdict == "no skill":
        return (
            "No skill shown: no target set surely beats the base on any task (5% for all of them "
            "together), so there is no ground for preferring one."
        )
    if len(inputs) < 2:
        only = f" ({inputs[0].variant})" if inputs else ""
        return (
            f"Undecided: fewer than two target sets were run{only}, so there is no choice to make."
        )
    if not any(each.is_complete for each in inputs):
        return "Undecided: no task has scores of every target set, so they cannot be compared."
    if not ruling.candidates:
        complete = [each for each in inputs if each.is_complete]
        nearest = min(complete, key=lambda each: (each.needed_delta, each.variant))
        return (
            "Undecided: every set surely gives up more than is allowed, on average or on some "
            f"task. {nearest.variant} comes nearest."
        )
    names = join_words([each.variant for each in ruling.candidates])
    return f"Undecided: no set is surely good enough. Still in the running: {names}."


def describe_flips(
    delta: float, without_task: pd.DataFrame, by_delta: pd.DataFrame
) -> Iterator[str]:
    """Yield what would flip a choice: another delta, or a task less."""
    steps = by_delta.to_dict("records")
    at = max(index for index, step in enumerate(steps) if step["delta_from"] <= delta)
    choice = steps[at]["choice"]
    if at > 0:
        limit = format_score(steps[at]["delta_from"])
        yield f"With a delta under {limit}: {_name_outcome(steps[at - 1])}."
    if at + 1 < len(steps):
        limit = format_score(steps[at + 1]["delta_from"])
        yield f"With a delta of {limit} or more: {_name_outcome(steps[at + 1])}."
    others = [row for row in without_task.to_dict("records") if row["choice"] != choice]
    for row in others:
        yield f"Without {row['without_task']}: {_name_outcome(row)}."
    if len(without_task) and not others:
        yield f"Leaving out any one task does not: it stays {choice}."


def _name_outcome(row: Mapping[Hashable, Any]) -> str:
    return str(row["choice"] if row["verdict"] == "chosen" else row["verdict"])


def describe_needs(ruling: Ruling, comparison: Comparison, delta: float) -> str:
    """Return about how many more examples or seeds would decide, and which delta would."""
    if ruling.verdict == "no skill":
        return (
            "Training that moves the scores: more steps or examples, another learning rate, or an "
            "easier task. If scores do move, more test examples."
        )
    if len(ruling.inputs) < 2:
        return "Runs of at least two target sets."
    known = [each for each in ruling.inputs if each.is_complete and each.is_bounded]
    if not known:
        return "Scores of every target set on common tasks, with more than one example each."
    loosest = min(known, key=lambda each: (each.needed_delta, each.variant))
    larger = f"With delta {_round_up(loosest.needed_delta):g}, {loosest.variant} would qualify now."
    ways = [_describe_examples(known, comparison, delta), _describe_seeds(known, comparison, delta)]
    if not any(ways):
        return (
            "More examples or seeds alone would hardly help: no set's observed regret is small. "
            f"{larger}"
        )
    return f"If the means stay as they are: {', or '.join(filter(None, ways))}. {larger}"


def _describe_examples(known: Sequence[Evidence], comparison: Comparison, delta: float) -> str:
    nearest = min(known, key=lambda each: (each.needed_examples(delta), each.variant))
    factor = nearest.needed_examples(delta)
    counts = comparison.by_task["examples"].dropna()
    if math.isinf(factor):
        return ""
    return (
        f"roughly {_round_up(factor):g} times as many test examples (now {counts.min():.0f} to "
        f"{counts.max():.0f} a task), with which {nearest.variant} would qualify first"
    )


def _describe_seeds(known: Sequence[Evidence], comparison: Comparison, delta: float) -> str:
    nearest = min(known, key=lambda each: (each.needed_seeds(delta), each.variant))
    seeds = nearest.needed_seeds(delta) * comparison.seed_count
    if math.isinf(seeds):
        return ""
    return (
        f"roughly {math.ceil(seeds):.0f} seeds (now {comparison.seed_count}), with which "
        f"{nearest.variant} would"
    )


def _round_up(value: float) -> float:
    """Round up to two significant digits."""
    size = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return float(f"{math.ceil(round(value / size, 6)) * size:.2g}")
