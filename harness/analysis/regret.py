"""What a variant loses against the best single variant (regret), with bounds that hold for all."""

import math

import numpy as np

from harness.analysis.differences import NOTHING, Estimate, Scores

DIGITS = 12
"""Equal scores that were summed in another order still tie."""

LEVEL = 0.05
"""How often a study may be decided wrongly, however often it is looked at."""


def find_level(look: int) -> float:
    """Return how often a look may be wrong; all of them together are in LEVEL at most."""
    # The first, which is most studies' only one, may err most.
    return 0.8 * LEVEL if look == 1 else 0.2 * LEVEL / 2 ** (look - 1)


def find_best(scores: Scores) -> str | None:
    """Return the variant with the highest mean over all tasks, the base among them."""
    means = {name: measure_complete(scores, name).value for name in scores.complete}
    return max(sorted(means), key=lambda name: means[name], default=None)


def measure_complete(scores: Scores, variant: str) -> Estimate:
    """Return the mean score of a variant that has one."""
    found = scores.measure(variant)
    assert found is not None
    return found


def lose_on_task(task: Scores, variant: str, best: str | None) -> tuple[float, float, float]:
    """What a variant loses on a task against the best over all, with one-sided 95% bounds."""
    if variant == best:
        return 0.0, 0.0, 0.0
    found = task.compare(best, variant) if best else None
    if found is None:
        return math.nan, math.nan, math.nan
    # Rounded and added to 0, equal means have no sign.
    low, high = found.bound(1 - 2 * LEVEL)
    return round(found.value, DIGITS) + 0.0, low, high


def lose_most(scores: Scores, variant: str, level: float) -> dict[str, float]:
    """What a variant loses in the mean against the best single other, with bounds.

    Against whichever is truly best, all variants' bounds hold together; so the largest of a
    variant's bounds over all rivals does too (multiple comparisons with the best: Hsu, Journal of
    the American Statistical Association 79:136, 1984). No bound is below its estimate.
    """
    rivals = [name for name in scores.names if name != variant]
    found = {name: scores.compare(name, variant) for name in rivals}
    known = {name: each for name, each in found.items() if each is not None}
    if not known:
        return {}
    alone = level / max(1, len(scores.complete) - 1)
    tails = scores.find_tails(level) if variant in scores.complete else {}
    most = max(known, key=lambda name: (known[name].value, name))
    values = np.array([each.value for each in known.values()])
    limit = max(each.limit for each in known.values())
    reach = np.array(
        [
            each.reach(tails[name], scores.usual_freedom) if name in tails else each.reach(alone)
            for name, each in known.items()
        ]
    )
    # numpy's maximum keeps NaN; Python's drops it or keeps it, as the order has it.
    return {
        "mean_regret": max(0.0, float(values.max())),
        "mean_regret_low": float(np.max([0.0, *(values - reach)])),
        # Nothing loses more than there is.
        "mean_regret_high": float(np.minimum(limit, np.max([0.0, *(values + reach)]))),
        "seed_share": known[most].seed_share,
    }


def bound_worst(scores: Scores, variant: str, level: float) -> float:
    """Lower bound of what a variant loses on its worst task, for all variants and tasks at once."""
    best = find_best(scores)
    tail = level / len(scores.tasks) / max(1, len(scores.complete) - 1)
    lows = [-math.inf]
    for task in scores.tasks if best not in (None, variant) else ():
        found = scores.restrict([task]).compare(str(best), variant)
        if found is not None and found.freedom > 0:
            lows.append(found.value - found.reach(tail))
    return max(lows)


def find_needs(scores: Scores, variant: str, delta: float, level: float) -> tuple[float, float]:
    """Return roughly how many seeds, or how many times the examples, would let a variant qualify.

    By a look with the error `level`, where the means stay as they are; infinite where no number
    would.
    """
    tails = scores.find_tails(level)
    seeds = examples = 0.0
    for rival in scores.complete:
        found = scores.compare(rival, variant) if rival != variant else None
        reach = found.reach(tails[rival], scores.usual_freedom) if found else math.nan
        if found is None or math.isnan(reach):
            continue
        # The variance at which the bound would meet the tolerance, by the values of the rule.
        whole = found.of_examples + found.of_seeds
        most = whole * (max(0.0, delta - found.value) / max(reach, NOTHING)) ** 2
        if whole > most:
            count = min(len(own) for own in scores.seeds_of(rival, variant))
            seeds = max(seeds, count * _divide(found.of_seeds, most - found.of_examples))
            examples = max(examples, _divide(found.of_examples, most - found.of_seeds))
    return float(np.ceil(seeds)), examples


def _divide(part: float, room: float) -> float:
    return part / room if room > 0 else math.inf


def find_chances(scores: Scores, within: float = 0.0) -> dict[str, float]:
    """Return how likely each complete variant's mean is within `within` of the best; ties split."""
    draws = scores.draw()
    if not draws:
        return {}
    # Rounded, so that equal scores summed in another order still tie.
    means = np.array(list(draws.values())).round(DIGITS)
    if np.isnan(means).any():
        return dict.fromkeys(draws, math.nan)
    is_near = (means >= means.max(axis=0) - within).astype(float)
    if not within:
        is_near /= is_near.sum(axis=0)
    return dict(zip(draws, is_near.mean(axis=1).tolist(), strict=True))
