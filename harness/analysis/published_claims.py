"""One published study's claims, tested on the user's data: each holds, fails or is undecided.

    for claim in check_claims(comparison):
        print(f"{claim.name}: {claim.outcome}. {claim.evidence}")

A claim is tested as numbers that must be above 0. It holds if all their 95% intervals are above 0,
and fails if one of the intervals is below 0. `claim_margins.py` computes the numbers, and
`docs/claims.md` gives the reason for each threshold.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.claim_margins import (
    GAINS,
    SHORTFALL,
    SPEEDUP,
    Finding,
    Interval,
    average_scores,
    judge_accuracy,
    judge_failures,
    judge_gains,
    judge_separation,
    judge_speed,
    judge_stability,
)
from harness.analysis.comparison import Comparison
from harness.formatting import join_words, pluralize
from harness.records.record import BASE

Outcome = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True)
class Claim:
    name: str
    """What the study says."""
    definition: str
    """The tested statement, in one sentence."""
    outcome: Outcome
    evidence: str
    """The numbers behind the outcome, or what is missing."""


@dataclass(frozen=True)
class Rule:
    name: str
    definition: str
    judge: Callable[..., Finding]
    """Called with the comparison and the variants of `sets`, in their order."""
    sets: tuple[str, ...] = ()
    """Target sets that the claim names."""
    is_timing: bool = False
    needs_base: bool = False
    least_sets: int = 1
    """Least number of sets with scores on every task."""
    least_tasks: int = 1


RULES = (
    Rule(
        "o_proj alone stays within 2% of o_proj+fc2",
        f"The mean score of o_proj over tasks is at least {1 - SHORTFALL:.0%} of the mean score of "
        "o_proj+fc2.",
        judge_accuracy,
        sets=("o_proj", "o_proj+fc2"),
    ),
    Rule(
        "o_proj alone is 22.6% faster than o_proj+fc2",
        f"The end-to-end time of unmerged o_proj is at most 1/{1 + SPEEDUP:g} of the time of "
        "unmerged o_proj+fc2.",
        judge_speed,
        sets=("o_proj", "o_proj+fc2"),
        is_timing=True,
    ),
    Rule(
        "o_proj never fails outright",
        "o_proj does not score below the base on any task.",
        judge_failures,
        sets=("o_proj",),
        needs_base=True,
    ),
    Rule(
        "qkv is unstable",
        "The standard deviation over tasks and seeds of a run's gain over the base is larger for "
        "qkv than on average for the other sets.",
        judge_stability,
        sets=("qkv",),
        needs_base=True,
        least_sets=2,
        least_tasks=2,
    ),
    Rule(
        "combinations gain 1 to 3 points over o_proj alone",
        f"The mean scores of o_proj+fc2 and of qkv+o_proj over tasks are both {GAINS[0]:g} to "
        f"{GAINS[1]:g} above the mean score of o_proj.",
        judge_gains,
        sets=("o_proj", "o_proj+fc2", "qkv+o_proj"),
    ),
    Rule(
        "harder tasks separate more",
        "The lower the base scores on a task, the larger the variance between the sets' mean "
        "scores after subtracting noise: over the tasks whose variances are told apart, difficulty "
        "and that variance correlate.",
        judge_separation,
        needs_base=True,
        least_sets=2,
        least_tasks=5,
    ),
)


def check_claims(comparison: Comparison) -> tuple[Claim, ...]:
    """Test every claim of the published study on a comparison.

    The same comparison gives the same outcomes and numbers.
    """
    named = defaultdict(list)
    for row in comparison.overall[["target_set", "variant"]].sort_values("variant").itertuples():
        named[row.target_set].append(row.variant)
    return tuple(_check(rule, comparison, named) for rule in RULES)


def _check(rule: Rule, comparison: Comparison, named: Mapping[str, Sequence[str]]) -> Claim:
    """`named` has the variants of each target set that was run."""
    missing = list(_list_absent(rule, named))
    variants = [] if missing else [named[name][0] for name in rule.sets]
    if not missing:
        list_missing = _list_untimed if rule.is_timing else _list_unscored
        missing = list(list_missing(rule, comparison, variants))
    if missing:
        return Claim(rule.name, rule.definition, "undecided", " ".join(missing))
    finding = rule.judge(comparison, *variants)
    outcome, remarks = _decide(finding.margins), [finding.text]
    if outcome == "undecided":
        remarks.append("The intervals are too wide to decide.")
    if not rule.is_timing and comparison.seed_count < 2:
        outcome = "undecided"
        remarks.append("With one seed, seed noise is unknown.")
    return Claim(rule.name, rule.definition, outcome, " ".join(remarks))


def _decide(margins: Sequence[Interval]) -> Outcome:
    if any(high < 0 for _, high in margins):
        return "fails"
    return "holds" if all(low > 0 for low, _ in margins) else "undecided"


def _list_absent(rule: Rule, named: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name in rule.sets:
        variants = named.get(name, ())
        if not variants:
            yield f"{name} was not run."
        elif len(variants) > 1:
            yield f"{name} has several variants ({'; '.join(variants)}); keep one per target set."


def _list_untimed(rule: Rule, comparison: Comparison, variants: Sequence[str]) -> Iterator[str]:
    ratios = comparison.overall.set_index("variant")["end_to_end_ratio"]
    for name in variants:
        if math.isnan(ratios[name]):
            why = comparison.latency_doubts.get(name, "was not measured")
            yield f"The latency of {name} {why}."


def _list_unscored(rule: Rule, comparison: Comparison, variants: Sequence[str]) -> Iterator[str]:
    tasks = comparison.scores.tasks
    if len(tasks) < rule.least_tasks:
        yield f"This needs {pluralize(rule.least_tasks, 'task')}; {len(tasks)} can be compared."
    complete = len(average_scores(comparison))
    if complete < rule.least_sets:
        yield f"This needs {pluralize(rule.least_sets, 'target set')}; {complete} can be compared."
    for name in [*variants, *([BASE] if rule.needs_base else [])]:
        lacking = [task for task, each in tasks.items() if name not in each.scores]
        if lacking:
            yield f"{name} has no scores on {join_words(lacking)}."
    single = [task for task, each in tasks.items() if each.example_count < 2]
    if single:
        yield f"One example gives no interval ({join_words(single)})."
