"""What a race does next: the seeds and test examples that bring a decision nearest for their time.

A race is decided once a candidate's bounds of the score lost against every rival are within the
tolerance. Each bound's variance has a part of seeds and one of each task's examples, so what
another seed or twice the examples would do to it can be predicted. For each of the best candidates
the steps are put in order, the most useful for its seconds first: most go to it and to the rivals
that are hardest to tell from it (LUCB: Kalyanakrishnan et al., ICML 2012; F-Race: Birattari et al.,
GECCO 2002). How many of them to take is a matter of chance, since what is true is known no better
than the scores tell. A round that is too small does not decide and uses up a look; so the one is
run whose own time and, if it fails, what would follow, are expected to be least.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.comparison import Comparison
from harness.analysis.differences import NOTHING, Scores
from harness.analysis.regret import find_level
from harness.analysis.seed_noise import ASSUMED_FREEDOM
from harness.analysis.verdict.decision import Evidence, Ruling
from harness.records.record import BASE

MOST_CANDIDATES = 5
"""Candidates for which a round is planned, the best first."""
FAILURE = 3.0
"""What a round that does not decide costs beside its own time, in rounds of every step: what is
left to do, and wider bounds, since every look is paid for."""
LEAST_CHANCE = 0.1
"""Where no round is likelier to decide than this, every step is taken."""
DRAWS = 500
SAFETY = 2.0
"""Steps are put in order by bounds this much wider than predicted, since one that would be met just
so may be missed."""


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
    """The most useful for its time first."""
    chance: float
    """That the study is decided after them; NaN where unknown."""

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)


def list_running(comparison: Comparison, ruling: Ruling) -> list[str]:
    """The target sets that are not ruled out; where one seed rules all of them out, the best.

    One seed never chooses, and so does not choose the base either.
    """
    left = [each.variant for each in ruling.candidates if each.variant != BASE]
    if left or not comparison.scores.is_one_seed:
        return left
    sets = [each for each in ruling.inputs if each.is_complete and each.variant != BASE]
    return [each.variant for each in sorted(sets, key=lambda each: each.mean_regret)[:1]]


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
    forecasts = [
        _Forecast(scores, each.variant, delta, level)
        for each in _rank(ruling, delta)[:MOST_CANDIDATES]
    ]
    if not forecasts:
        return Outlook(BASE, tuple(steps), 0.0)
    truths = {name: draws[:DRAWS] for name, draws in scores.draw().items()}
    rng = np.random.default_rng(0)
    luck = {name: rng.standard_normal(DRAWS) for name in truths}

    def try_steps(leader: str, taken: Sequence[Step]) -> Outlook:
        decided = [each.decide(taken, truths, luck) for each in forecasts]
        return Outlook(leader, tuple(taken), float(np.any(decided, axis=0).mean()))

    outlooks = [
        try_steps(each.leader, path[:count])
        for each in forecasts
        for path in [each.order_steps(steps)]
        for count in range(1, len(path) + 1)
    ]
    failed = FAILURE * sum(step.seconds for step in steps)
    best = min(outlooks, key=lambda each: each.seconds + (1 - each.chance) * failed)
    return best if best.chance >= LEAST_CHANCE else try_steps(best.leader, steps)


def _rank(ruling: Ruling, delta: float) -> list[Evidence]:
    """The variants that may yet be chosen, by what they are known to lose at most."""
    able = [each for each in ruling.candidates if each.is_bounded and not each.is_vetoed(delta)]
    return sorted(able, key=lambda each: (each.mean_regret_high, each.variant))


class _Forecast:
    """What the bounds of one candidate against its rivals would be after some steps."""

    def __init__(self, scores: Scores, leader: str, delta: float, level: float) -> None:
        self.leader, self.delta = leader, delta
        least = scores.usual_freedom
        self.seeds = _count_seeds(scores)
        self.tasks = list(scores.tasks)
        pairs = {name: scores.compare(name, leader) for name in scores.complete if name != leader}
        known = {name: pair for name, pair in pairs.items() if pair and pair.freedom > 0}
        self.rivals = list(known)
        self.lost = np.array([each.value for each in known.values()])
        self.of_seeds = np.array([each.of_seeds for each in known.values()])
        parts = [_split(scores, name, leader) for name in known]
        self.of_examples = np.array(parts).reshape(len(known), len(self.tasks))
        self.freedom = np.array([max(each.freedom, least) for each in known.values()])
        self.tail = np.array([scores.find_tails(level)[name] for name in known])

    def order_steps(self, steps: Sequence[Step]) -> list[Step]:
        """Put steps in order, from the one that narrows the bounds most for its time."""
        taken: list[Step] = []
        left = list(steps)
        while left:
            gap = self._measure_gap(taken)
            gains = [(gap - self._measure_gap([*taken, s])) / max(s.seconds, 1e-9) for s in left]
            taken.append(left.pop(int(np.argmax(gains))))
        return taken

    def _measure_gap(self, steps: Collection[Step]) -> float:
        """Sum over rivals of what bounds are beyond the tolerance, where the means stay."""
        excess = self.lost + SAFETY * self.predict(steps)[1] - self.delta
        return float(np.maximum(0.0, excess).sum()) + (not self._is_known(steps))

    def decide(
        self,
        steps: Collection[Step],
        truths: Mapping[str, np.ndarray],
        luck: Mapping[str, np.ndarray],
    ) -> np.ndarray:
        """Whether the candidate would qualify, [draws], by true means and the luck of new scores.

        An estimate from more data has of what it was now the share that its variance has left.
        """
        # A choice among one is none.
        if not self._is_known(steps) or not self.rivals:
            return np.zeros(DRAWS, dtype=bool)
        variance, reach = self.predict(steps)
        before = np.maximum(self.of_seeds + self.of_examples.sum(axis=1), NOTHING)
        kept = np.minimum(1.0, variance / before)[:, None]
        spread = np.sqrt(before[:, None] * kept * (1 - kept) / 2)
        true = np.array([truths[name] - truths[self.leader] for name in self.rivals])
        moved = np.array([luck[name] - luck[self.leader] for name in self.rivals])
        estimate = true + (self.lost[:, None] - true) * kept + spread * moved
        qualifies: np.ndarray = (estimate + reach[:, None] <= self.delta).all(axis=0)
        return qualifies

    def _is_known(self, steps: Collection[Step]) -> bool:
        """Whether there are two seeds after the steps, without which nothing is chosen."""
        seeds = self._add_seeds(steps)
        counts = [seeds[self.leader]] if self.leader != BASE else list(seeds.values())
        return max(counts, default=0) > 1

    def _add_seeds(self, steps: Collection[Step]) -> dict[str, int]:
        more = Counter(step.name for step in steps if step.kind == "seed")
        return {name: count + more[name] for name, count in self.seeds.items()}

    def predict(self, steps: Collection[Step]) -> tuple[np.ndarray, np.ndarray]:
        """Variances of what is lost against each rival after steps, and how far bounds reach."""
        seeds = self._add_seeds(steps)
        doubled = {step.name for step in steps if step.kind == "examples"}
        before, after = (
            np.array([self._sum_shares(each, name) for name in self.rivals])
            for each in (self.seeds, seeds)
        )
        left = np.divide(after, before, out=np.ones_like(after), where=before > 0)
        halves = np.array([0.5 if task in doubled else 1.0 for task in self.tasks])
        of_examples = self.of_examples @ halves
        variance = self.of_seeds * left + of_examples
        # Satterthwaite's rule, where all that is uncertain is how runs differ: by seeds, and by
        # what a seed flips of the examples.
        runs = left * (self.of_seeds + of_examples)
        change = np.divide(variance, runs, out=np.ones_like(left), where=runs > 0)
        freedom = self.freedom * self._gain_freedom(seeds) * change**2
        return variance, stats.t.ppf(1 - self.tail, freedom) * np.sqrt(variance)

    def _sum_shares(self, seeds: Mapping[str, int], rival: str) -> float:
        """How a pair's variance of seeds depends on their numbers; the base has none."""
        return sum(1 / seeds[name] for name in (self.leader, rival) if name in seeds)

    def _gain_freedom(self, seeds: Mapping[str, int]) -> float:
        """How many times the degrees of freedom of seed noise there would be."""
        before, after = (sum(n - 1 for n in each.values()) for each in (self.seeds, seeds))
        if before:
            return after / before
        return max(1.0, (after - 1) * len(self.tasks) / ASSUMED_FREEDOM)


def _count_seeds(scores: Scores) -> dict[str, int]:
    """Fewest seeds of each complete set on any task."""
    return {
        name: min(len(task.seeds[name]) for task in scores.tasks.values())
        for name in scores.complete
        if name != BASE
    }


def _split(scores: Scores, name: str, leader: str) -> list[float]:
    """By task, what its examples add to the variance of a difference of means over all tasks."""
    parts = [scores.restrict([task]).compare(name, leader) for task in scores.tasks]
    return [part.of_examples / len(parts) ** 2 if part else 0.0 for part in parts]
