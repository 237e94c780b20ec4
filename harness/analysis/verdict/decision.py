"""The decision: the cheapest variant shown to be close enough to the best, the base among them.

A variant qualifies if the mean score it loses against the best single variant (regret) is within
the tolerance by a bound that holds for all variants at once, unless a task vetoes it. A profile
sets the tolerance and the cost that decides. Where the base qualifies, training is not worth it.
This module decides; harness.analysis.verdict.wording writes the sentences.
"""

import dataclasses
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from harness.analysis.comparison import Comparison, restrict_tasks
from harness.analysis.latency.variant_ratios import BOUNDS, RATIOS
from harness.analysis.regret import find_chances
from harness.errors import UserError
from harness.records.record import BASE


@dataclass(frozen=True)
class Profile:
    name: str
    delta: float
    """The tolerance: mean score that may be lost against the best set."""
    cost: str
    """Column of a comparison's `overall` that the recommended set has least of."""
    meaning: str
    """What it is for, in a few words."""


BALANCED = Profile(
    "balanced", 0.02, "end_to_end_ratio", "one unmerged adapter: lowest end-to-end latency"
)


PROFILES = (
    Profile("accuracy_first", 0.01, "end_to_end_ratio", "as balanced, with half the tolerance"),
    BALANCED,
    Profile("latency_first", 0.05, "end_to_end_ratio", "as balanced, with a larger tolerance"),
    # A step of training costs about the same for all sets of a pack, which share its time; what a
    # set adds by itself grows with its parameters, as the adapter's size does.
    Profile(
        "merged", 0.02, "trainable_parameters", "merged adapter, no added latency: smallest size"
    ),
    Profile(
        "many_adapters",
        0.02,
        "tpot_ratio",
        "many adapters on one base: lowest time per output token",
    ),
)


def find_profile(name: str) -> Profile:
    """Return a profile by name. Raises UserError if the name is unknown."""
    for profile in PROFILES:
        if profile.name == name:
            return profile
    known = ", ".join(profile.name for profile in PROFILES)
    raise UserError(f"profile is {name!r}; expected one of {known}")


def check_delta(delta: float) -> float:
    """Return a tolerance that makes sense; raises UserError for any other."""
    is_number = isinstance(delta, numbers.Real)
    if is_number and 0 < delta < 1:
        return float(delta)
    why = ""
    if is_number and delta == 0:
        why = ": no number of examples shows that nothing at all is lost"
    elif is_number and 1 <= delta < 100:
        why = f": scores are shares, so {delta:g}% is {delta / 100:g}"
    raise UserError(
        f"the tolerance (delta) is {delta}; expected a number above 0 and below 1, such as 0.02"
        f"{why}"
    )


@dataclass(frozen=True)
class Evidence:
    """What is known of one variant. Regrets and scores are in score units, ratios to the base."""

    variant: str
    is_complete: bool
    """Whether it has scores on every compared task."""
    score: float
    """Mean over the compared tasks."""
    difference: float
    """Gain over the base."""
    difference_low: float
    difference_high: float
    mean_regret: float
    mean_regret_low: float
    """Bounds of all variants hold at once in 95% of studies."""
    mean_regret_high: float
    worst_regret: float
    """Of its tasks, against the variant that is best over all of them."""
    worst_regret_low: float
    worst_task: str | None
    best_probability: float
    near_probability: float
    """Chance that it loses no more than the tolerance; NaN where no task counts."""
    end_to_end_ratio: float
    """Unmerged against base, geometric mean over tasks."""
    end_to_end_ratio_low: float
    end_to_end_ratio_high: float
    tpot_ratio: float
    """Time per output token after the first."""
    tpot_ratio_low: float
    tpot_ratio_high: float
    trainable_parameters: float
    seed_share: float
    """Share of the uncertainty of its regret that is due to seeds."""

    def is_vetoed(self, delta: float) -> bool:
        """Whether it was seen to lose more than twice the tolerance on a task."""
        return self.worst_regret > 2 * delta

    def qualifies(self, delta: float) -> bool:
        """Whether it is shown to be close enough to the best."""
        return self.is_complete and self.mean_regret_high <= delta and not self.is_vetoed(delta)

    def is_excluded(self, delta: float) -> bool:
        """Whether it is ruled out: shown to lose more, on average or on a task, or incomplete."""
        beyond = self.mean_regret_low > delta or self.worst_regret_low > 2 * delta
        return not self.is_complete or beyond

    @property
    def is_base(self) -> bool:
        return self.variant == BASE

    @property
    def is_bounded(self) -> bool:
        """Whether its regret has a bound; one example gives none."""
        return not math.isnan(self.mean_regret_high)

    def cost(self, name: str) -> float:
        """Estimate of a profile's cost."""
        value: float = getattr(self, name)
        return value

    @property
    def needed_delta(self) -> float:
        """Smallest delta at which it would qualify; NaN where its bound is unknown."""
        return float(np.maximum(self.mean_regret_high, self.worst_regret / 2))


def gather_evidence(comparison: Comparison, delta: float) -> list[Evidence]:
    """Return the evidence on every variant of a comparison, the base first."""
    # What does not count gives no chance.
    near = find_chances(comparison.scores, within=delta) if comparison.can_decide else {}
    rows = comparison.overall.assign(
        near_probability=comparison.overall["variant"].map(near).astype(float),
        is_base=comparison.overall["target_set"] == BASE,
    )
    rows = rows.sort_values(["is_base", "variant"], ascending=[False, True])
    # The base costs what the base costs, and nothing to train.
    ratios = [f"{name}_ratio{bound}" for name in ("end_to_end", "tpot") for bound in BOUNDS]
    rows.loc[rows["is_base"], ratios] = 1.0
    rows.loc[rows["is_base"], "trainable_parameters"] = 0.0
    rows.loc[rows["is_base"], [f"difference{bound}" for bound in BOUNDS]] = 0.0
    names = [field.name for field in dataclasses.fields(Evidence)]
    return [Evidence(**values) for values in rows[names].to_dict(orient="records")]


Verdict = Literal["chosen", "train nothing", "undecided"]

VERDICT_NAMES: dict[str, str] = {
    "chosen": "recommended",
    "train nothing": "train nothing",
    "undecided": "undecided",
}
"""Verdict as files store it -> what pages call it."""


@dataclass(frozen=True)
class Ruling:
    verdict: Verdict
    choice: Evidence | None
    """None where undecided; the base where training is not worth it."""
    inputs: tuple[Evidence, ...]
    """The evidence, one entry per variant, the base first."""
    eligible: tuple[Evidence, ...]
    """Variants that qualify, cheapest first; those of unknown cost last."""
    tied: tuple[Evidence, ...]
    """Those of `eligible` than which none is shown to be cheaper, of which the smallest is taken;
    the base alone, if it is one of them."""
    candidates: tuple[Evidence, ...]
    """Variants that are not ruled out."""
    today: Evidence | None
    """What to take if a choice must be made today: the likeliest to be close enough to the best or,
    where no task counts, the one of the highest mean."""


def apply_rule(comparison: Comparison, delta: float, profile: Profile) -> Ruling:
    """Apply the rule; `delta` is the tolerance in mean score."""
    inputs = gather_evidence(comparison, delta)
    eligible = sorted(
        (each for each in inputs if each.qualifies(delta)),
        key=lambda each: _order(each, profile.cost),
    )
    # Where the base qualifies, no set need be faster than it.
    tied = [each for each in eligible if each.is_base] or _find_tied(
        eligible, comparison, profile.cost
    )
    rivals = [each for each in inputs if each.is_complete]
    choice: Evidence | None = None
    # A choice among one is none.
    if tied and len(rivals) > 1 and comparison.can_choose:
        choice = min(tied, key=lambda each: (each.trainable_parameters, each.variant))
    verdict: Verdict = "undecided" if choice is None else "chosen"
    if choice is not None and choice.is_base:
        verdict = "train nothing"
    # Data that does not count rules nothing out.
    candidates = tuple(
        each
        for each in inputs
        if each.is_complete and not (comparison.can_decide and each.is_excluded(delta))
    )
    today = choice or _pick_today(candidates, can_decide=comparison.can_decide)
    return Ruling(verdict, choice, tuple(inputs), tuple(eligible), tuple(tied), candidates, today)


def _pick_today(candidates: Sequence[Evidence], *, can_decide: bool) -> Evidence | None:
    """The likeliest to be close enough; where no task counts, the one of the highest mean."""
    known = {
        each: round(each.near_probability, 1) if can_decide else round(each.score, 3)
        for each in candidates
    }
    return max(
        (each for each, value in known.items() if not math.isnan(value)),
        key=lambda each: (known[each], -each.trainable_parameters),
        default=None,
    )


def _order(each: Evidence, cost: str) -> tuple[float, float, str]:
    value = each.cost(cost)
    return (
        math.inf if math.isnan(value) else value,
        each.trainable_parameters,
        each.variant,
    )


def _find_tied(eligible: Sequence[Evidence], comparison: Comparison, cost: str) -> list[Evidence]:
    """Those than which none is shown to be cheaper; all, where no cost is known."""
    known = [each for each in eligible if not math.isnan(each.cost(cost))]
    tied = [
        each
        for place, each in enumerate(known)
        if not any(is_cheaper(comparison, other, each, cost) for other in known[:place])
    ]
    return tied or list(eligible)


def is_cheaper(comparison: Comparison, one: Evidence, other: Evidence, cost: str) -> bool:
    """Whether `one` is shown to cost less; for a time, by the interval of their paired ratio."""
    if cost in RATIOS:
        return comparison.compare_times(one.variant, other.variant, cost).high < 1
    return one.cost(cost) < other.cost(cost)


def choose_by_profile(comparison: Comparison) -> pd.DataFrame:
    """Return the verdict under each profile: profile, meaning, delta, verdict, choice."""
    rows = [
        {"profile": each.name, "meaning": each.meaning, "delta": each.delta}
        | _sum_up(apply_rule(comparison, each.delta, each))
        for each in PROFILES
    ]
    return pd.DataFrame(rows)


def leave_tasks_out(comparison: Comparison, delta: float, profile: Profile) -> pd.DataFrame:
    """Return the verdict without each task in turn: without_task, verdict, choice.

    No rows where there is one task only. Raises UserError for a tolerance that makes no sense.
    """
    check_delta(delta)
    rows = []
    for task in comparison.tasks if len(comparison.tasks) > 1 else ():
        rest = restrict_tasks(comparison, set(comparison.tasks) - {task})
        rows.append({"without_task": task} | _sum_up(apply_rule(rest, delta, profile)))
    return pd.DataFrame(rows, columns=["without_task", "verdict", "choice"])


def trace_delta(comparison: Comparison, profile: Profile) -> pd.DataFrame:
    """Return the verdict from each delta upwards: delta_from, verdict, choice.

    One row a change of the verdict or the choice; the first is from 0, the last below 1.
    """
    inputs = gather_evidence(comparison, 0.0)
    needed = {each.needed_delta for each in inputs if each.is_complete and each.is_bounded}
    steps = sorted(delta for delta in needed if delta < 1)
    rows: list[dict[str, object]] = []
    for delta in (0.0, *steps):
        said = _sum_up(apply_rule(comparison, delta, profile))
        if not rows or {key: rows[-1][key] for key in said} != said:
            rows.append({"delta_from": delta} | said)
    return pd.DataFrame(rows, columns=["delta_from", "verdict", "choice"])


def _sum_up(ruling: Ruling) -> dict[str, object]:
    choice = ruling.choice.variant if ruling.choice else None
    return {"verdict": ruling.verdict, "choice": choice}
