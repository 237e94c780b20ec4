"""The decision: the cheapest of the sets shown to be close enough to the best, or none.

A set qualifies if the score it loses against the best set (regret) has small upper 95% bounds, on
average over tasks and on its worst task. A profile sets the tolerance and the cost that decides.
This module decides; harness.analysis.wording writes the sentences.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from harness.analysis.comparison import Comparison, restrict_tasks
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


LEVEL = 0.05
"""How often a study in which no set learned anything may appear to show a gain."""


@dataclass(frozen=True)
class Evidence:
    """The evidence on one set. Regrets and scores are in score units, ratios are to the base."""

    variant: str
    is_complete: bool
    """Whether it has scores on every compared task."""
    score: float
    """Mean over the compared tasks."""
    mean_regret: float
    mean_regret_low: float
    """The true mean regret is below this in 1 case of 20."""
    mean_regret_high: float
    """The true mean regret is above this in 1 case of 20."""
    worst_regret: float
    worst_regret_low: float
    worst_regret_high: float
    best_probability: float
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
    """Share of the uncertainty of its regret that is due to seeds; NaN with one seed."""

    def qualifies(self, delta: float) -> bool:
        """Whether its upper bounds are within the rule's limits."""
        within = self.mean_regret_high <= delta and self.worst_regret_high <= 2 * delta
        return self.is_complete and within

    def is_excluded(self, delta: float) -> bool:
        """Whether even its lower bounds are beyond the limits."""
        beyond = self.mean_regret_low > delta or self.worst_regret_low > 2 * delta
        return not self.is_complete or beyond

    @property
    def is_bounded(self) -> bool:
        """Whether its regrets have bounds; one example gives none."""
        return not math.isnan(self.needed_delta)

    def cost(self, name: str) -> tuple[float, float, float]:
        """Estimate and 95% bounds of a profile's cost; a number of parameters is known exactly."""
        low, high = (getattr(self, f"{name}_{end}", getattr(self, name)) for end in ("low", "high"))
        return getattr(self, name), low, high

    @property
    def needed_delta(self) -> float:
        """Smallest delta at which it would qualify; NaN where either bound is unknown."""
        return float(np.maximum(self.mean_regret_high, self.worst_regret_high / 2))

    def needed_examples(self, delta: float) -> float:
        """About how many times the examples would let it qualify, if the means stay as they are."""
        seeds = 0.0 if math.isnan(self.seed_share) else self.seed_share
        return self._needed_factor(delta, 1 - seeds)

    def needed_seeds(self, delta: float) -> float:
        """About how many times the seeds would; infinite where it is not seeds that are lacking."""
        return (
            math.inf if math.isnan(self.seed_share) else self._needed_factor(delta, self.seed_share)
        )

    def _needed_factor(self, delta: float, share: float) -> float:
        """Times of what brings `share` of the variance that make both bounds narrow enough."""
        rooms = [
            _leave_room(self.mean_regret, self.mean_regret_high, delta),
            _leave_room(self.worst_regret, self.worst_regret_high, 2 * delta),
        ]
        rest = min(rooms) ** 2 - (1 - share)
        if min(rooms) == 1:
            return 1.0
        return share / rest if rest > 0 else math.inf


def gather_evidence(comparison: Comparison) -> list[Evidence]:
    """Return the evidence of every set of a comparison; the base is not one."""
    names = [field.name for field in dataclasses.fields(Evidence)]
    rows = comparison.overall[comparison.overall["target_set"] != BASE]
    return [Evidence(**values) for values in rows[names].to_dict(orient="records")]


def shows_skill(comparison: Comparison) -> bool | None:
    """Whether any set beats the base on any task; None where no difference is known.

    Tested at 5% for all sets and tasks together (Bonferroni), since of twenty chances one is lucky.
    """
    tested = comparison.by_task.dropna(subset=["difference_p"])
    beats = (tested["difference"] > 0) & (tested["difference_p"] * len(tested) < LEVEL)
    return bool(beats.any()) if len(tested) else None


def _leave_room(estimate: float, bound: float, limit: float) -> float:
    """Part of its distance from the estimate at which the bound would meet the limit."""
    if bound <= limit:
        return 1.0
    return (limit - estimate) / (bound - estimate) if estimate < limit else 0.0


Verdict = Literal["chosen", "undecided", "no skill"]

VERDICT_NAMES: dict[str, str] = {
    "chosen": "recommended",
    "undecided": "undecided",
    "no skill": "no gain over base",
}
"""Verdict as files store it -> what pages call it."""


@dataclass(frozen=True)
class Ruling:
    verdict: Verdict
    choice: Evidence | None
    """None unless `verdict` is `chosen`."""
    inputs: tuple[Evidence, ...]
    """The evidence, one entry per set."""
    eligible: tuple[Evidence, ...]
    """Sets that qualify, cheapest first; those of unknown cost last."""
    tied: tuple[Evidence, ...]
    """Sets of `eligible` whose cost is not separated from the cheapest; the smallest is taken."""
    candidates: tuple[Evidence, ...]
    """Sets that the bounds do not rule out."""


def apply_rule(comparison: Comparison, delta: float, profile: Profile) -> Ruling:
    """Apply the rule; `delta` is the tolerance in mean score."""
    inputs = gather_evidence(comparison)
    eligible = sorted(
        (each for each in inputs if each.qualifies(delta)),
        key=lambda each: _order(each, profile.cost),
    )
    tied = _find_tied(eligible, profile.cost)
    choice: Evidence | None = None
    verdict: Verdict = "undecided"
    if shows_skill(comparison) is False:
        verdict = "no skill"
    elif tied and len(inputs) > 1:
        choice = min(tied, key=lambda each: (each.trainable_parameters, each.variant))
        verdict = "chosen"
    candidates = [each for each in inputs if not each.is_excluded(delta)]
    return Ruling(verdict, choice, tuple(inputs), tuple(eligible), tuple(tied), tuple(candidates))


def _order(each: Evidence, cost: str) -> tuple[float, float, str]:
    value = each.cost(cost)[0]
    return (
        math.inf if math.isnan(value) else value,
        each.trainable_parameters,
        each.variant,
    )


def _find_tied(eligible: Sequence[Evidence], cost: str) -> list[Evidence]:
    """Those that the cost does not separate from the cheapest; all, where no cost is known."""
    known = [each for each in eligible if not math.isnan(each.cost(cost)[0])]
    tied = [each for each in known if not each.cost(cost)[1] > known[0].cost(cost)[2]]
    return tied or list(eligible)


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

    No rows where there is one task only.
    """
    rows = []
    for task in comparison.tasks if len(comparison.tasks) > 1 else ():
        rest = restrict_tasks(comparison, set(comparison.tasks) - {task})
        rows.append({"without_task": task} | _sum_up(apply_rule(rest, delta, profile)))
    return pd.DataFrame(rows, columns=["without_task", "verdict", "choice"])


def trace_delta(comparison: Comparison, profile: Profile) -> pd.DataFrame:
    """Return the verdict from each delta upwards: delta_from, verdict, choice.

    One row a change of the verdict or the choice; the first is from 0.
    """
    inputs = gather_evidence(comparison)
    steps = sorted({each.needed_delta for each in inputs if each.is_complete and each.is_bounded})
    rows: list[dict[str, object]] = []
    for delta in (0.0, *steps):
        said = _sum_up(apply_rule(comparison, delta, profile))
        if not rows or {key: rows[-1][key] for key in said} != said:
            rows.append({"delta_from": delta} | said)
    return pd.DataFrame(rows, columns=["delta_from", "verdict", "choice"])


def _sum_up(ruling: Ruling) -> dict[str, object]:
    choice = ruling.choice.variant if ruling.choice else None
    return {"verdict": ruling.verdict, "choice": choice}
