"""From a study to a default target set by one stated rule, or to `undecided`.

    recommendation = recommend(load_results(study), load_examples(study), delta=0.02)
    print(recommendation.headline)

The rule asks two things. Is the set good enough on every task: are the upper 95% bounds of its
regret small? Among those that are, which is fastest? Where the data cannot answer, that is the
answer, with the sets still in the running and about how much more data would decide.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from harness.caveats import list_caveats, list_failures
from harness.comparison import Comparison, compare
from harness.errors import UserError
from harness.evidence import Evidence, gather_evidence, shows_skill, sort_by_latency
from harness.formatting import format_count, format_score, join_words
from harness.wording import (
    describe_bounds,
    describe_choice,
    describe_latency,
    describe_needs,
    describe_open,
    describe_rule,
)

DELTA = 0.02
Verdict = Literal["chosen", "undecided", "no skill"]


@dataclass(frozen=True)
class Recommendation:
    model: str
    verdict: Verdict
    choice: str | None
    """The recommended set; None unless `verdict` is `chosen`."""
    headline: str
    """The verdict in one plain sentence or two."""
    rule: str
    """The rule that was applied, in words."""
    delta: float
    tasks: tuple[str, ...]
    """Tasks that the regrets are over."""
    reasons: tuple[str, ...]
    """How the rule came to its verdict."""
    candidates: tuple[str, ...]
    """Sets that the bounds do not exclude."""
    runners_up: tuple[str, ...]
    """Other sets that qualify, fastest first."""
    what_would_decide: str | None
    """What it would take, where the verdict is not `chosen`."""
    inputs: tuple[Evidence, ...]
    """What the rule knew, a set each."""
    failures: tuple[str, ...]
    """Runs that did not end well, a line each."""
    caveats: tuple[str, ...]
    """What limits the verdict."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; unknown numbers are None."""
        plain: dict[str, Any] = _without_nan(dataclasses.asdict(self))
        return plain


def recommend(
    results: pd.DataFrame, examples: pd.DataFrame, delta: float = DELTA
) -> Recommendation:
    """Compare the variants of one model in one study, and apply the rule.

    `delta` is the loss in mean score that the user does not mind. Raises UserError where delta is
    not a positive number, or where the tables hold several models or studies.
    """
    return decide(compare(results, examples), results, delta)


def decide(comparison: Comparison, results: pd.DataFrame, delta: float = DELTA) -> Recommendation:
    """Apply the rule to a comparison that has been made already."""
    if not (math.isfinite(delta) and delta > 0):
        raise UserError(
            f"delta is {delta}; expected a positive number of score units, such as 0.02"
        )
    inputs = gather_evidence(comparison)
    eligible = sort_by_latency([each for each in inputs if each.qualifies(delta)])
    candidates = [each for each in inputs if not each.is_excluded(delta)]
    doubts = comparison.latency_doubts
    choice, reasons = _apply_rule(inputs, eligible, candidates, delta, doubts)
    skill = shows_skill(comparison)
    if choice is None or skill is False:
        verdict: Verdict = "no skill" if skill is False else "undecided"
        headline = describe_open(verdict, inputs, candidates)
        choice = None
    else:
        verdict, headline = "chosen", describe_choice(choice, comparison, delta)
    return Recommendation(
        model=comparison.model,
        verdict=verdict,
        choice=choice.variant if choice else None,
        headline=headline,
        rule=describe_rule(delta),
        delta=delta,
        tasks=comparison.tasks,
        reasons=tuple(reasons),
        candidates=tuple(each.variant for each in candidates),
        runners_up=tuple(each.variant for each in eligible if choice and each is not choice),
        what_would_decide=None if choice else describe_needs(inputs, comparison, delta, skill),
        inputs=tuple(inputs),
        failures=tuple(list_failures(results)),
        caveats=tuple(list_caveats(comparison, results, choice.variant if choice else None)),
    )


def to_json(study: str, recommendations: Sequence[Recommendation]) -> str:
    """Return the text of `recommendation.json`: one entry a model, the choice of the only one."""
    only = recommendations[0] if len(recommendations) == 1 else None
    values = {
        "study": study,
        "verdict": only.verdict if only else None,
        "choice": only.choice if only else None,
        "models": [each.to_dict() for each in recommendations],
    }
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _apply_rule(
    inputs: Sequence[Evidence],
    eligible: Sequence[Evidence],
    candidates: Sequence[Evidence],
    delta: float,
    doubts: Mapping[str, str],
) -> tuple[Evidence | None, list[str]]:
    if len(inputs) < 2:
        return None, ["Fewer than two target sets were run, so there is nothing to choose between."]
    if not eligible:
        return None, [describe_bounds(each, delta) for each in inputs]
    choice, reason = _pick_fastest(eligible, doubts)
    reasons = [f"{join_words([e.variant for e in eligible])} met both bounds.", reason]
    faster = [
        f"{each.variant} (mean up to {format_score(each.mean_regret_high)}, worst task up to "
        f"{format_score(each.worst_regret_high)})"
        for each in candidates
        if each not in eligible and each.end_to_end_ratio_high < choice.end_to_end_ratio_low
    ]
    if faster:
        reasons.append(
            f"Faster, and not ruled out by the bounds on regret: {join_words(faster)}. More "
            "examples may change the choice."
        )
    return choice, reasons


def _pick_fastest(eligible: Sequence[Evidence], doubts: Mapping[str, str]) -> tuple[Evidence, str]:
    """The fastest, or the smallest of those that latency does not separate from it.

    `doubts` says why a variant's timing was left out, where it was taken.
    """
    timed = [each for each in eligible if not math.isnan(each.end_to_end_ratio)]
    tied = [e for e in timed if not e.end_to_end_ratio_low > timed[0].end_to_end_ratio_high]
    tied = tied or list(eligible)
    choice = min(tied, key=lambda each: (each.trainable_parameters, each.variant))
    size = (
        f"{choice.variant} is the smallest ({format_count(choice.trainable_parameters)} trainable)"
    )
    unknown = {each.variant: doubts.get(each.variant, "was not measured") for each in eligible}
    if not timed:
        why = " or ".join(sorted(set(unknown.values())))
        return choice, f"Latency {why}, so size decides: of these, {size}."
    untimed = [each.variant for each in eligible if each not in timed]
    rest = "".join(f" The latency of {name} {unknown[name]}." for name in untimed)
    if len(tied) == 1:
        others = "the only one of these" if len(eligible) == 1 else "the fastest of these"
        others = "the fastest of those whose latency counts" if untimed else others
        return choice, f"{choice.variant} is {others}: {describe_latency(choice)}.{rest}"
    listed = "; ".join(f"{each.variant} {describe_latency(each)}" for each in tied)
    return choice, f"Latency does not separate {listed}. Of these, {size}.{rest}"


def _without_nan(value: Any) -> Any:
    """Unknown and infinite numbers become null, which JSON has."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
