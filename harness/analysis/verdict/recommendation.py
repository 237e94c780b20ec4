"""From a study to a default target set by one stated rule, or to `undecided`.

    recommendation = recommend(load_results(study), load_examples(study), delta=0.02)
    print(recommendation.headline)

The rule has two steps. It keeps the sets whose score lost against the best set (regret) has small
upper 95% bounds, and it recommends the cheapest of them. Where the data cannot decide, the verdict
is `undecided`, with the sets that are not ruled out and roughly how much more data would decide.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.caveats import list_caveats, list_failures
from harness.analysis.comparison import Comparison, compare
from harness.analysis.verdict.advice import describe_needs
from harness.analysis.verdict.decision import (
    BALANCED,
    Evidence,
    Profile,
    Verdict,
    apply_rule,
    check_delta,
    choose_by_profile,
    find_profile,
    leave_tasks_out,
    trace_delta,
)
from harness.analysis.verdict.wording import (
    describe_choice,
    describe_flips,
    describe_open,
    describe_rates,
    describe_reasons,
    describe_rule,
)
from harness.records.files import replace_nan


@dataclass(frozen=True)
class Recommendation:
    model: str
    verdict: Verdict
    choice: str | None
    """The recommended set; the base where the verdict is `train nothing`; else None."""
    if_today: str | None
    """What to take if a choice must be made today: the likeliest to be close enough."""
    headline: str
    """The verdict in one or two sentences."""
    rule: str
    """The applied rule in words."""
    profile: str
    """Name of the profile that set the cost."""
    delta: float
    """The tolerance: mean score that may be lost against the best set."""
    tasks: tuple[str, ...]
    """Tasks that the scores lost are computed over."""
    reasons: tuple[str, ...]
    """How the rule reached its verdict."""
    candidates: tuple[str, ...]
    """Sets that the bounds do not rule out."""
    runners_up: tuple[str, ...]
    """The other sets that qualify, cheapest first."""
    what_would_decide: str | None
    """What would lead to a recommendation, where the verdict is not `chosen`."""
    what_would_flip_it: tuple[str, ...]
    """Which tolerance, or which task left out, would change the recommendation."""
    by_profile: tuple[dict[str, Any], ...]
    """The verdict under each profile: profile, meaning, delta, verdict, choice."""
    without_task: tuple[dict[str, Any], ...]
    """The verdict without each task: without_task, verdict, choice."""
    by_delta: tuple[dict[str, Any], ...]
    """The verdict from each delta upwards: delta_from, verdict, choice."""
    inputs: tuple[Evidence, ...]
    """The evidence used by the rule, one entry per set."""
    failures: tuple[str, ...]
    """Runs that did not finish, one line each."""
    caveats: tuple[str, ...]
    """What limits the verdict."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; unknown numbers are None."""
        plain: dict[str, Any] = replace_nan(dataclasses.asdict(self))
        return plain


def recommend(
    results: pd.DataFrame,
    examples: pd.DataFrame,
    delta: float | None = None,
    profile: str = BALANCED.name,
    look: int | None = None,
) -> Recommendation:
    """Compare the variants of one model in one study and apply the decision rule.

    `look` says how often the study was looked at, this time included; its default is what the
    results say (see `compare`).
    `delta` is the tolerance: the mean score, in score units, that may be lost against the best
    set. Its default is the profile's; `analysis.verdict.decision` lists them. Raises UserError if
    delta is not above 0 and below 1, if the profile is unknown, or if the tables hold several
    models or studies.
    """
    return decide(compare(results, examples, look=look), results, delta, find_profile(profile))


def decide(
    comparison: Comparison,
    results: pd.DataFrame,
    delta: float | None = None,
    profile: Profile = BALANCED,
    remarks: Sequence[str] = (),
    *,
    is_race: bool = False,
) -> Recommendation:
    """Apply the decision rule to an existing comparison; `remarks` are caveats of its study."""
    delta = check_delta(profile.delta if delta is None else delta)
    ruling = apply_rule(comparison, delta, profile)
    choice = ruling.choice
    profiles = choose_by_profile(comparison)
    without_task = leave_tasks_out(comparison, delta, profile)
    by_delta = trace_delta(comparison, profile)
    if choice is None:
        headline = describe_open(ruling, comparison, delta)
    else:
        headline = describe_choice(ruling, comparison, delta, profile)
        headline += describe_rates(results)
    return Recommendation(
        model=comparison.model,
        verdict=ruling.verdict,
        choice=choice.variant if choice else None,
        if_today=ruling.today.variant if ruling.today else None,
        headline=headline,
        rule=describe_rule(delta, profile),
        profile=profile.name,
        delta=delta,
        tasks=comparison.tasks,
        reasons=tuple(describe_reasons(ruling, comparison, delta, profile)),
        candidates=tuple(each.variant for each in ruling.candidates),
        runners_up=tuple(each.variant for each in ruling.eligible if choice and each is not choice),
        what_would_decide=None
        if choice
        else describe_needs(ruling, comparison, results, delta, is_race=is_race),
        what_would_flip_it=tuple(describe_flips(delta, without_task, by_delta)) if choice else (),
        by_profile=_list_rows(profiles),
        without_task=_list_rows(without_task),
        by_delta=_list_rows(by_delta),
        inputs=ruling.inputs,
        failures=tuple(list_failures(results)),
        caveats=(
            *remarks,
            *list_caveats(comparison, results, choice.variant if choice else None),
        ),
    )


def _list_rows(table: pd.DataFrame) -> tuple[dict[str, Any], ...]:
    """Rows as plain values; what is unknown or absent is None."""
    return tuple(
        {str(key): None if pd.isna(value) else value for key, value in row.items()}
        for row in table.to_dict("records")
    )


def to_json(study: str, recommendations: Sequence[Recommendation]) -> str:
    """Return the text of `recommendation.json`: an entry per model, and the only model's result."""
    only = recommendations[0] if len(recommendations) == 1 else None
    values = {
        "study": study,
        "verdict": only.verdict if only else None,
        "choice": only.choice if only else None,
        "models": [each.to_dict() for each in recommendations],
    }
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
