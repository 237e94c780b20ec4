"""The verdict's sentences: the rule, how it came out, and what would decide where it did not."""

import math
from collections.abc import Sequence

from harness.comparison import Comparison
from harness.evidence import Evidence
from harness.formatting import format_ratio_interval, format_score, join_words


def describe_rule(delta: float) -> str:
    return (
        "Take the lowest-latency target set (end to end, unmerged against base, geometric mean "
        f"over tasks) whose upper 95% bound on mean regret over tasks is at most {delta:g}, and on "
        f"worst-task regret at most {2 * delta:g}. Where latency does not separate two such sets, "
        "take the one with fewer trainable parameters. If no set qualifies: undecided."
    )


def describe_latency(each: Evidence) -> str:
    ratio = (each.end_to_end_ratio, each.end_to_end_ratio_low, each.end_to_end_ratio_high)
    return f"{format_ratio_interval(*ratio)} the base's time"


def describe_bounds(each: Evidence, delta: float) -> str:
    if not each.is_complete:
        return f"{each.variant} lacks scores on some task."
    if math.isnan(each.mean_regret_high):
        return f"{each.variant}: its regret has no bound, since a task has one example only."
    state = "is excluded" if each.is_excluded(delta) else "is neither confirmed nor excluded"
    return (
        f"{each.variant} {state}: mean regret {format_score(each.mean_regret)}, up to "
        f"{format_score(each.mean_regret_high)} (allowed {delta:g}); worst-task regret "
        f"{format_score(each.worst_regret)}, up to {format_score(each.worst_regret_high)} "
        f"(allowed {2 * delta:g})."
    )


def describe_choice(choice: Evidence, comparison: Comparison, delta: float) -> str:
    firmness = (
        " Provisional: one seed, so seed noise is unknown." if comparison.seed_count < 2 else ""
    )
    speed = ""
    if not math.isnan(choice.end_to_end_ratio):
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


def describe_open(verdict: str, inputs: Sequence[Evidence], candidates: Sequence[Evidence]) -> str:
    if verdict == "no skill":
        return (
            "No skill shown: no target set beats the base on any task beyond its 95% interval, so "
            "there is no ground for preferring one."
        )
    if len(inputs) < 2:
        only = f" ({inputs[0].variant})" if inputs else ""
        return (
            f"Undecided: fewer than two target sets were run{only}, so there is no choice to make."
        )
    if not any(each.is_complete for each in inputs):
        return "Undecided: no task has scores of every target set, so they cannot be compared."
    if not candidates:
        complete = [each for each in inputs if each.is_complete]
        nearest = min(complete, key=lambda each: (each.needed_delta, each.variant))
        return (
            "Undecided: every set surely gives up more than is allowed, on average or on some "
            f"task. {nearest.variant} comes nearest."
        )
    names = join_words([each.variant for each in candidates])
    return f"Undecided: no set is surely good enough. Still in the running: {names}."


def describe_needs(
    inputs: Sequence[Evidence], comparison: Comparison, delta: float, skill: bool | None
) -> str:
    if skill is False:
        return (
            "Training that moves the scores: more steps or examples, another learning rate, or an "
            "easier task. If scores do move, more test examples."
        )
    if len(inputs) < 2:
        return "Runs of at least two target sets."
    known = [e for e in inputs if e.is_complete and not math.isnan(e.mean_regret_high)]
    if not known:
        return "Scores of every target set on common tasks, with more than one example each."
    loosest = min(known, key=lambda each: (each.needed_delta, each.variant))
    larger = f"With delta {_round_up(loosest.needed_delta):g}, {loosest.variant} would qualify now."
    nearest = min(known, key=lambda each: (each.needed_factor(delta), each.variant))
    factor = nearest.needed_factor(delta)
    if math.isinf(factor):
        return f"More examples alone would hardly help: no set's observed regret is small. {larger}"
    counts = comparison.by_task["examples"].dropna()
    return (
        f"Roughly {_round_up(factor):g} times as many test examples (now {counts.min():.0f} to "
        f"{counts.max():.0f} a task), if the means stay as they are: {nearest.variant} would "
        f"qualify first. {larger}"
    )


def _round_up(value: float) -> float:
    """Round up to two significant digits."""
    size = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return float(f"{math.ceil(round(value / size, 6)) * size:.2g}")
