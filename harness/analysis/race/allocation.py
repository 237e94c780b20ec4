"""What a race does next: the seeds and test examples that bring a decision nearest for their time.

A race is decided once a candidate's bounds of the score lost against every rival are within the
tolerance. Each bound's variance has a part of seeds and one of each task's examples, so what
another seed or twice the examples would do to it can be predicted. Steps are added one at a time,
the most useful for its seconds first, until the bounds of one candidate are predicted to be within
the tolerance. So most steps go to the leader and the rivals that are hardest to tell from it
(LUCB: Kalyanakrishnan et al., ICML 2012; F-Race: Birattari et al., GECCO 2002).
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from scipy import stats

from harness.analysis.comparison import Comparison
from harness.analysis.differences import Scores
from harness.analysis.regret import find_level
from harness.analysis.seed_noise import ASSUMED_FREEDOM
from harness.analysis.verdict.decision import Evidence, Ruling
from harness.records.record import BASE

PRUDENCE = 1.1
"""Bounds are predicted this much wider: a round that falls short costs a look."""
MOST_CANDIDATES = 5
"""Candidates for which a round is planned, the best first."""


@dataclass(frozen=True)
class Step:
    kind: Literal["seed", "examples"]
    name: str
    """The variant that gets one more seed on every task, or the task that gets twice the
    examples."""
    seconds: float
    """Work of one process."""


@dataclass(frozen=True)
class Outlook:
    leader: str
    """The variant whose choice the steps aim at."""
    steps: tuple[Step, ...]
    gap: float
    """How far the bounds are predicted to lie beyond the tolerance after them, summed over rivals;
    0 where a decision is expected."""

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)


def cost_seeds(
    results: pd.DataFrame, tasks: Collection[str], variants: Sequence[str]
) -> list[Step]:
    """Return one more seed of each variant on all tasks, for what its runs took in the mean."""
    rows = results[results["task"].isin(tasks) & (results["target_set"] != BASE)]
    rows = rows.assign(seconds=rows[["train_seconds", "eval_seconds"]].sum(axis=1))
    means = rows.groupby(["variant", "task"])["seconds"].mean().groupby("variant").sum()
    return [Step("seed", name, float(means.get(name, means.mean()))) for name in variants]


def cost_examples(
    results: pd.DataFrame, tasks: Collection[str], variants: Sequence[str]
) -> list[Step]:
    """Return twice the test examples of each task, for all that these variants' runs and the base
    would be scored on."""
    rows = results[results["variant"].isin([BASE, *variants]) & results["task"].isin(tasks)]
    spent = rows.groupby("task")["eval_seconds"].sum()
    return [Step("examples", str(task), 2 * float(spent[task])) for task in spent.index]


def plan_round(
    comparison: Comparison, ruling: Ruling, delta: float, steps: Sequence[Step]
) -> Outlook | None:
    """Choose among `steps` after an undecided ruling; None where there are none.

    `delta` is the tolerance.
    """
    if not steps:
        return None
    scores = comparison.scores
    # A look at one seed chooses nothing, and so costs none.
    level = find_level(comparison.look + comparison.can_choose)
    outlooks = [
        _plan_for(_Forecast(scores, each.variant, delta, level), steps)
        for each in _rank(ruling, delta)[:MOST_CANDIDATES]
    ]
    return min(
        outlooks,
        key=lambda each: (each.gap, each.seconds),
        default=Outlook(BASE, tuple(steps), math.inf),
    )


def _rank(ruling: Ruling, delta: float) -> list[Evidence]:
    """The variants that may yet be chosen, by what they are known to lose at most."""
    able = [each for each in ruling.candidates if each.is_bounded and not each.is_vetoed(delta)]
    return sorted(able, key=lambda each: (each.mean_regret_high, each.variant))


def _plan_for(forecast: "_Forecast", steps: Sequence[Step]) -> Outlook:
    taken: list[Step] = []
    left = list(steps)
    gap = forecast.measure_gap(taken)
    while gap > 0 and left:
        gaps = [forecast.measure_gap([*taken, step]) for step in left]
        gains = [
            (gap - after) / max(step.seconds, 1e-9) for after, step in zip(gaps, left, strict=True)
        ]
        best = max(range(len(left)), key=gains.__getitem__)
        if gains[best] <= 0:
            break
        gap = gaps[best]
        taken.append(left.pop(best))
    # Where nothing is predicted to help, the noise may be other than it seems: more of everything.
    return Outlook(forecast.leader, tuple(taken or steps), gap)


@dataclass(frozen=True)
class _Rival:
    name: str
    lost: float
    """What the leader loses against it."""
    of_seeds: float
    of_examples: dict[str, float]
    """By task, of the mean over tasks."""
    critical: float
    """Standard errors to the bound."""
    freedom: float


class _Forecast:
    """What the bounds of one candidate would be after some steps, the means being what they are."""

    def __init__(self, scores: Scores, leader: str, delta: float, level: float) -> None:
        self.leader = leader
        self.delta = delta
        self.tail = level / max(1, len(scores.complete) - 1)
        self.seeds = _count_seeds(scores)
        self.tasks = len(scores.tasks)
        self.rivals = _compare_all(scores, leader, level, self.tail)

    def measure_gap(self, steps: Collection[Step]) -> float:
        """Sum over rivals of what their bounds are beyond the tolerance."""
        more = Counter(step.name for step in steps if step.kind == "seed")
        doubled = {step.name for step in steps if step.kind == "examples"}
        seeds = {name: count + more[name] for name, count in self.seeds.items()}
        gain = self._gain_freedom(seeds)
        gap = math.fsum(self._find_excess(each, seeds, doubled, gain) for each in self.rivals)
        # One seed never chooses.
        counts = [seeds[self.leader]] if self.leader != BASE else list(seeds.values())
        return gap + (max(counts, default=0) < 2)

    def _find_excess(
        self, rival: _Rival, seeds: dict[str, int], doubled: Collection[str], gain: float
    ) -> float:
        pair = (self.leader, rival.name)
        before = sum(1 / self.seeds[name] for name in pair if name in seeds)
        after = sum(1 / seeds[name] for name in pair if name in seeds)
        variance = rival.of_seeds * after / before
        variance += sum(
            part / (2 if task in doubled else 1) for task, part in rival.of_examples.items()
        )
        now, then = stats.t.ppf(1 - self.tail, [rival.freedom, gain * rival.freedom])
        reach = PRUDENCE * rival.critical * then / now * math.sqrt(variance)
        return max(0.0, float(rival.lost + reach - self.delta))

    def _gain_freedom(self, seeds: dict[str, int]) -> float:
        """How many times the degrees of freedom of seed noise there would be."""
        before, after = (sum(n - 1 for n in each.values()) for each in (self.seeds, seeds))
        if before:
            return after / before
        return max(1.0, (after - 1) * self.tasks / ASSUMED_FREEDOM)


def _count_seeds(scores: Scores) -> dict[str, int]:
    """Fewest seeds of each complete set on any task."""
    return {
        name: min(len(task.seeds[name]) for task in scores.tasks.values())
        for name in scores.complete
        if name != BASE
    }


def _compare_all(scores: Scores, leader: str, level: float, tail: float) -> list[_Rival]:
    critical = scores.find_critical(level)
    rivals = []
    for name in scores.complete:
        found = scores.compare(name, leader) if name != leader else None
        if found is None or not found.freedom > 0:
            continue
        parts = {task: scores.restrict([task]).compare(name, leader) for task in scores.tasks}
        by_task = {task: part.of_examples / len(parts) ** 2 for task, part in parts.items() if part}
        known = critical.get(name, math.nan)
        if math.isnan(known):
            known = float(stats.t.ppf(1 - tail, found.freedom))
        rivals.append(_Rival(name, found.value, found.of_seeds, by_task, known, found.freedom))
    return rivals
