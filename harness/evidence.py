"""What the rule knows of each target set, and what follows for the set from a given delta."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.comparison import Comparison
from harness.records import BASE


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
    trainable_parameters: float

    def qualifies(self, delta: float) -> bool:
        """Whether its upper bounds are within the rule's limits."""
        within = self.mean_regret_high <= delta and self.worst_regret_high <= 2 * delta
        return self.is_complete and within

    def is_excluded(self, delta: float) -> bool:
        """Whether even its lower bounds are beyond the limits."""
        beyond = self.mean_regret_low > delta or self.worst_regret_low > 2 * delta
        return not self.is_complete or beyond

    @property
    def needed_delta(self) -> float:
        """Smallest delta at which it would qualify."""
        return max(self.mean_regret_high, self.worst_regret_high / 2)

    def needed_factor(self, delta: float) -> float:
        """About how many times the examples would let it qualify, if the means stay as they are.

        A bound's distance from its estimate shrinks with the root of the number of examples.
        """
        factors = [
            _shrink_factor(self.mean_regret, self.mean_regret_high, delta),
            _shrink_factor(self.worst_regret, self.worst_regret_high, 2 * delta),
        ]
        return max(factors)


def gather_evidence(comparison: Comparison) -> list[Evidence]:
    """Return the evidence of every set of a comparison; the base is not one."""
    names = [field.name for field in dataclasses.fields(Evidence)]
    rows = comparison.overall[comparison.overall["target_set"] != BASE]
    return [Evidence(**values) for values in rows[names].to_dict(orient="records")]


def shows_skill(comparison: Comparison) -> bool | None:
    """Whether any set beats the base on any task beyond its interval; None where none is known."""
    low = comparison.by_task["difference_low"].dropna()
    return bool((low > 0).any()) if len(low) else None


def sort_by_latency(sets: Sequence[Evidence]) -> list[Evidence]:
    """Fastest first; sets that were not timed come last."""

    def order(each: Evidence) -> tuple[float, float, str]:
        ratio = math.inf if math.isnan(each.end_to_end_ratio) else each.end_to_end_ratio
        return ratio, each.trainable_parameters, each.variant

    return sorted(sets, key=order)


def _shrink_factor(estimate: float, bound: float, limit: float) -> float:
    """Times the examples that bring `bound` down to `limit`; infinite if the estimate is over."""
    if bound <= limit:
        return 1.0
    return ((bound - estimate) / (limit - estimate)) ** 2 if estimate < limit else math.inf
