"""The verdict's sentences: the rule, its result, and what would change it."""

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from harness.analysis.comparison import FEW_EXAMPLES, Comparison
from harness.analysis.verdict.decision import VERDICT_NAMES, Evidence, Profile, Ruling, is_cheaper
from harness.formatting import (
    capitalize,
    format_chance,
    format_count,
    format_difference_interval,
    format_ratio_interval,
    format_score,
    format_score_interval,
    join_words,
)
from harness.records.record import BASE

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

MOST_LISTED = 6
"""Names, or seeds, that are written out in a sentence."""

REMEASURE = "run the same command with latency.remeasure=true to time it again"
"""What to do about a timing that is not trusted."""


def describe_rule(delta: float, profile: Profile) -> str:
    tie = "If latency does not separate them, recommend the one with fewer trainable parameters. "
    return (
        "A variant qualifies if its mean score over tasks is at most "
        f"{delta:g}, the tolerance (delta), below that of the best single variant, by a 95% bound "
        "that holds for all variants at once. A task vetoes a variant that scores more than "
        f"{2 * delta:g} below that variant on it. The base takes part: if it qualifies, the "
        "verdict is to train nothing with this recipe. Otherwise, of those that qualify, recommend "
        f"{COSTS[profile.cost]}. {tie if _is_latency(profile) else ''}If none qualifies, the "
        f"verdict is undecided. Tasks with fewer than {FEW_EXAMPLES} examples, and tasks on which "
        "no variant is above the majority-class baseline, take no part."
    )


def _is_latency(profile: Profile) -> bool:
    return profile.cost.endswith("_ratio")


def describe_bounds(each: Evidence, delta: float) -> str:
    if math.isnan(each.mean_regret):
        return f"{each.variant} has no scores on the tasks that count."
    if not each.is_complete:
        return f"{each.variant} has no scores on at least one task, so it cannot be recommended."
    lost = (
        f"Mean score lost: {format_score(each.mean_regret)}, up to "
        f"{format_score(each.mean_regret_high)} (allowed {delta:g})."
    )
    veto = ""
    if each.is_vetoed(delta):
        veto = (
            f" On {each.worst_task} it scores {format_score(each.worst_regret)} below the best "
            f"variant (allowed {2 * delta:g})."
        )
    if each.qualifies(delta):
        return f"{each.variant} is within the tolerance. {lost}"
    state = "is ruled out" if each.is_excluded(delta) else "is neither confirmed nor ruled out"
    return f"{each.variant} {state}. {lost}{veto}"


def describe_reasons(
    ruling: Ruling, comparison: Comparison, delta: float, profile: Profile
) -> Iterator[str]:
    """Yield how the rule reached its verdict."""
    for task, why in comparison.uncounted.items():
        yield f"{task} takes no part in the verdict: {why}."
    gap = _find_gap(comparison)
    if gap or not comparison.can_decide:
        yield f"{capitalize(gap)}." if gap else "No task is left that counts."
        return
    if ruling.choice is None or ruling.verdict == "train nothing":
        yield from (describe_bounds(each, delta) for each in ruling.inputs)
        return
    choice = ruling.choice
    names = join_words([each.variant for each in ruling.eligible])
    yield f"Within the tolerance of the best variant: {names}."
    if _is_latency(profile):
        yield _describe_fastest(choice, ruling, comparison, profile)
    else:
        size = format_count(choice.trainable_parameters)
        yield f"Of these, {choice.variant} has the fewest trainable parameters ({size})."
    cheaper = [
        f"{each.variant} (mean score lost: up to {format_score(each.mean_regret_high)})"
        for each in ruling.candidates
        if each not in ruling.eligible
        and not each.is_vetoed(delta)
        and is_cheaper(comparison, each, choice, profile.cost)
    ]
    if cheaper:
        yield (
            f"{'Faster' if _is_latency(profile) else 'Smaller'} and not ruled out: "
            f"{join_words(cheaper)}. More examples or seeds may change the recommendation."
        )


def _describe_fastest(
    choice: Evidence, ruling: Ruling, comparison: Comparison, profile: Profile
) -> str:
    """Why it is the fastest, or the smallest of those whose latency is not distinguishable."""
    eligible, doubts = ruling.eligible, comparison.latency_doubts
    unknown = {each.variant: doubts.get(each.variant, "was not measured") for each in eligible}
    untimed = [each.variant for each in eligible if math.isnan(each.cost(profile.cost))]
    count = format_count(choice.trainable_parameters)
    size = f"{choice.variant} has the fewest trainable parameters ({count})"
    if len(untimed) == len(eligible):
        why = " or ".join(sorted(set(unknown.values())))
        return f"Latency {why}, so size decides: of these, {size}."
    rest = "".join(f" The latency of {name} {unknown[name]}." for name in untimed)
    if len(ruling.tied) == 1:
        others = "the only set that qualifies" if len(eligible) == 1 else "the fastest of these"
        others = "the fastest of those with usable latency" if untimed else others
        own = _describe_latency(choice, comparison, profile)
        slower = next((e for e in eligible if e is not choice and e.variant not in untimed), None)
        if slower is not None:
            ratio = _compare_times(comparison, slower, choice, profile)
            own += f"; {slower.variant}, the next, takes {ratio} of its {_name_time(profile)}"
        return f"{choice.variant} is {others}: {own}.{rest}"
    listed = "; ".join(
        f"{each.variant} {_compare_times(comparison, each, choice, profile)}"
        for each in ruling.tied
        if each is not choice
    )
    return (
        f"Latency does not separate these sets ({_name_time(profile)} relative to "
        f"{choice.variant}): {listed}. Of these, {size}.{rest}"
    )


def _describe_latency(each: Evidence, comparison: Comparison, profile: Profile) -> str:
    ratio = comparison.compare_times(each.variant, BASE, profile.cost)
    listed = format_ratio_interval(ratio.estimate, ratio.low, ratio.high)
    return f"{listed} the base's {_name_time(profile)}"


def _compare_times(comparison: Comparison, one: Evidence, other: Evidence, profile: Profile) -> str:
    ratio = comparison.compare_times(one.variant, other.variant, profile.cost)
    return format_ratio_interval(ratio.estimate, ratio.low, ratio.high)


def _name_time(profile: Profile) -> str:
    return "time per token" if profile.cost == "tpot_ratio" else "time"


def describe_choice(ruling: Ruling, comparison: Comparison, delta: float, profile: Profile) -> str:
    """Return the headline of a decided study."""
    choice = ruling.choice
    assert choice is not None
    if ruling.verdict == "train nothing":
        sets = [each for each in ruling.inputs if each is not choice and each.is_complete]
        best = max(sets, key=lambda each: (each.score, each.variant))
        return (
            "Train nothing with this recipe: with 95% confidence, no target set gains more than "
            f"{format_score(choice.mean_regret_high)} over the base in mean score over "
            f"{_count_tasks(comparison)} (tolerance: {delta:g}). The highest, {best.variant}, "
            f"{' '.join(_word_gain(best))}."
        )
    speed = ""
    if not math.isnan(choice.end_to_end_ratio) and _is_latency(profile):
        speed = (
            f" Unmerged, it takes {choice.end_to_end_ratio:.2f} times the base's end-to-end time."
        )
    elif _is_latency(profile):
        why = comparison.latency_doubts.get(choice.variant, "was not measured")
        smallest = (
            ", so the smallest set that qualifies was taken" if len(ruling.eligible) > 1 else ""
        )
        speed = f" Its latency {why}{smallest}."
    verb, size = _word_gain(choice)
    change = {"gains": "a gain of", "loses": "a loss of"}[verb]
    side = {"gains": "over", "loses": "against"}[verb]
    gain = "" if math.isnan(choice.difference) else f", {change} {size} {side} the base"
    return (
        f"Recommended: {choice.variant}. Its mean score over {_count_tasks(comparison)} is "
        f"{format_score(choice.score)}{gain}. With 95% confidence {_describe_lead(choice)} "
        f"(tolerance: {delta:g}).{speed}"
    )


def _describe_lead(choice: Evidence) -> str:
    if choice.mean_regret_high == 0:
        return "no variant is better"
    return f"it is at most {format_score(choice.mean_regret_high)} below the best variant"


def _word_gain(each: Evidence) -> tuple[str, str]:
    """`gains` or `loses`, and how much, with the interval."""
    value, low, high = each.difference, each.difference_low, each.difference_high
    if not round(value, 3) < 0:
        return "gains", format_difference_interval(abs(value), low, high)
    if not high > 0:
        return "loses", format_score_interval(-value, -high, -low)
    bounds = f"a gain of {format_score(high)} to a loss of {format_score(-low)}"
    return "loses", f"{format_score(-value)} ({bounds})"


def _count_tasks(comparison: Comparison) -> str:
    count = len(comparison.tasks)
    return "1 task" if count == 1 else f"{count} tasks"


def describe_open(ruling: Ruling, comparison: Comparison, delta: float) -> str:
    """Return the headline of an undecided study: what stands in the way, and what to do today."""
    gap = _find_gap(comparison)
    if gap:
        return f"Undecided: {gap}."
    lacking = []
    if comparison.scores.is_one_seed:
        lacking.append("one seed does not show how far another would move the scores")
    if not comparison.can_decide:
        lacking.append(
            f"no task has {FEW_EXAMPLES} examples and a variant above the majority-class baseline"
        )
    if lacking:
        start = f"Undecided, because the study is too small: {join_words(lacking)}."
    elif not ruling.candidates:
        start = (
            "Undecided: every variant is shown to lose more score than the tolerance allows, on "
            "average or on some task."
        )
    else:
        start = "Undecided: no variant is shown to be close enough to the best one."
    return " ".join([start, *_describe_today(ruling, comparison, delta)])


def _find_gap(comparison: Comparison) -> str:
    """Why nothing can be compared; empty where something can."""
    scored = comparison.all_scores.names
    if not scored:
        return "no run has a score"
    if scored == [BASE]:
        return "only the base has scores, so there is no target set to recommend"
    if len(scored) == 1:
        return f"only {scored[0]} has scores, so there is nothing to compare it with"
    if not comparison.tasks:
        return "no task has scores for every target set, so they cannot be compared"
    complete = comparison.scores.complete
    if len(complete) == 1:
        return f"only {complete[0]} has scores on every task, and a choice among one is none"
    return ""


def _describe_today(ruling: Ruling, comparison: Comparison, delta: float) -> Iterator[str]:
    complete = [each for each in ruling.inputs if each.is_complete]
    today = ruling.today
    # Of equal means the one that is named below.
    best = max(complete, key=lambda each: (round(each.score, 3), each is today, each.variant))
    if not math.isnan(best.difference) and best.variant != BASE:
        verb, size = _word_gain(best)
        side = "over" if verb == "gains" else "against"
        yield f"Best so far: {best.variant}, which {verb} {size} {side} the base."
    else:
        yield f"Best so far: {best.variant}."
    open_names = [each.variant for each in ruling.candidates]
    if open_names and comparison.can_decide:
        named = len(open_names) <= MOST_LISTED
        listed = (
            join_words(open_names) if named else f"{len(open_names)} of {len(complete)} variants"
        )
        yield f"Not ruled out: {listed}."
    if today is not None:
        what = "train nothing" if today.variant == BASE else today.variant
        chance = (
            f"which is within {delta:g} of the best with a chance of "
            f"{format_chance(today.near_probability)}"
        )
        if not comparison.can_decide:
            chance = (
                "which has the highest mean so far; no task counts for the verdict, so no chance "
                "is given"
            )
        yield f"If you must choose today: {what}, {chance}."


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
        yield f"Without any one task: still {_name_outcome(steps[at])}."


def _name_outcome(row: Mapping[Hashable, Any]) -> str:
    return str(row["choice"] if row["verdict"] == "chosen" else VERDICT_NAMES[row["verdict"]])


def describe_rates(results: pd.DataFrame) -> str:
    """Return a remark where all sets were trained at one given rate; empty elsewhere."""
    trained = results[(results["target_set"] != BASE) & results["score"].notna()]
    rates = trained["learning_rate"].dropna().unique()
    if len(rates) != 1 or trained["learning_rate_tuned"].eq(True).any():
        return ""
    return (
        f" All target sets were trained at one learning rate, {rates[0]:g}; tuned ones may differ."
    )
