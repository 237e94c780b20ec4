"""The rule: of the sets that are surely good enough, the cheapest; else none.

A set is good enough where the upper 95% bounds of its regret are small: on average over tasks, and
on its worst task. This module decides; harness.wording puts it into words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.comparison import Comparison
from harness.evidence import Evidence, gather_evidence, shows_skill
from harness.profiles import Profile

Verdict = Literal["chosen", "undecided", "no skill"]


@dataclass(frozen=True)
class Ruling:
    verdict: Verdict
    choice: Evidence | None
    """None unless `verdict` is `chosen`."""
    inputs: tuple[Evidence, ...]
    """What was known, a set each."""
    eligible: tuple[Evidence, ...]
    """Sets that are surely good enough, cheapest first; those of unknown cost last."""
    tied: tuple[Evidence, ...]
    """Those of `eligible` whose cost is not told from the cheapest one's; the smallest is taken."""
    candidates: tuple[Evidence, ...]
    """Sets that the bounds do not exclude."""


def apply_rule(comparison: Comparison, delta: float, profile: Profile) -> Ruling:
    """Apply the rule; `delta` is the loss in mean score that the user does not mind."""
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
