"""What the rule knows of each target set, and what follows for the set from a given delta."""

import dataclasses
import math
from dataclasses import dataclass

from harness.comparison import Comparison
from harness.records import BASE

LEVEL = 0.05
"""How often a study in which no set learned anything may seem to show skill."""


@dataclass(frozen=True)
class Evidence:
    """What the rule knew of one set. Regrets and scores are in score units, ratios to base."""

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
    """Of the time for each token after the first."""
    tpot_ratio_low: float
    tpot_ratio_high: float
    trainable_parameters: float
    seed_share: float
    """Share of what is uncertain in its regret that comes of seeds; NaN with one seed."""

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
        return not math.isnan(self.mean_regret_high)

    def cost(self, name: str) -> tuple[float, float, float]:
        """Estimate and 95% bounds of a profile's cost; a number of parameters is known exactly."""
        low, high = (getattr(self, f"{name}_{end}", getattr(self, name)) for end in ("low", "high"))
        return getattr(self, name), low, high

    @property
    def needed_delta(self) -> float:
        """Smallest delta at which it would qualify."""
        return max(self.mean_regret_high, self.worst_regret_high / 2)

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
