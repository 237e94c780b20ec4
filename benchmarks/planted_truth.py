"""How often the verdict is right, in simulated studies whose truth is known.

    python benchmarks/planted_truth.py --studies 500
    python benchmarks/planted_truth.py --only realistic

Every study has target sets and a base on some tasks, all answered on the same examples, which
differ in difficulty; a set's mean moves from seed to seed, and single examples flip with it. Sets
stand from fast to slow, and latencies are known within 1%. The rule sees nothing but what a real
study's records hold. Written to benchmarks/results/planted-truth.json: of each cell how often each
verdict was given, how often it was wrong, and how often 95% intervals covered the truth. The file
grows cell by cell, and a rerun goes on with those that it lacks.

A choice is wrong if the chosen variant's true mean is more than the tolerance below that of the
best single variant, the base among them, or its true score on a task more than twice the tolerance
below that variant's. `looks` adds a seed at a time, from 2 to 8, until the study is decided.
"""

import argparse
import json
import math
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.comparison import FEW_EXAMPLES, Comparison, compare
from harness.analysis.race.allocation import Step, list_running, plan_round
from harness.analysis.results import COLUMNS
from harness.analysis.verdict.decision import BALANCED, apply_rule
from harness.records.record import BASE

RESULTS = Path(__file__).resolve().parent / "results" / "planted-truth.json"
DELTA = BALANCED.delta
JUST_BEYOND = 1.01 * DELTA
FIVE = ("o_proj", "qkv", "qkv+o_proj", "o_proj+fc2", "all")
"""From fast to slow."""

DIFFICULTY, SHARED, OWN, FLIP = 0.9, 0.04, 0.04, 0.45
"""Deviations on the scale of the probit of a binary score: of examples, of what a seed does to all
sets, of what it does to one, and of single examples from seed to seed."""
MOST_SEEDS = 6
RUN_SECONDS, SCORE_SECONDS = 1.0, 0.15
"""What a race pays for a run of a set on a task, and for scoring one again with more examples."""
GRADED = 1 / 6
"""Graded scores have this share of each."""


@dataclass(frozen=True)
class Cell:
    name: str
    sets: tuple[str, ...] = FIVE
    examples: tuple[int, ...] = (500, 500, 500, 500)
    """Of each task."""
    graded: tuple[int, ...] = ()
    """Tasks with scores between 0 and 1."""
    seeds: int = 3
    mean: float = 0.55
    base_mean: float = 0.45
    lower: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Set -> how much lower its true mean is on each task."""
    noise: Mapping[str, float] = field(default_factory=dict)
    """Set -> how many times the others' its own deviation from seed to seed is."""
    is_shared: bool = False
    """Whether a seed does the same to a set on every task."""
    cluster_size: int = 1
    """Examples that share a document, which suits each set alike or not."""
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which the study is looked at, until it is decided."""
    is_race: bool = False
    """Whether the study is a race: `seeds` are the most that a set gets, of `examples` there are
    half at the start."""

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(f"task {number}" for number in range(len(self.examples)))

    def truth(self, name: str, task: int) -> float:
        if name == BASE:
            return self.base_mean
        return self.mean - self.lower.get(name, (0.0,) * len(self.examples))[task]

    def average(self, name: str) -> float:
        """True mean over the tasks that count."""
        counted = [number for number, count in enumerate(self.examples) if count >= FEW_EXAMPLES]
        return float(np.mean([self.truth(name, task) for task in counted or [0]]))

    def is_wrong(self, choice: str | None) -> bool:
        if choice is None:
            return False
        best = max((BASE, *self.sets), key=self.average)
        lost = self.average(best) - self.average(choice)
        on_tasks = [self.truth(best, t) - self.truth(choice, t) for t in range(len(self.examples))]
        return lost > DELTA + 1e-9 or max(on_tasks) > 2 * DELTA + 1e-9


def lower_evenly(cell: Cell, amounts: Mapping[str, float]) -> Cell:
    """Lower sets by the same on every task."""
    return replace(cell, lower={n: (a,) * len(cell.examples) for n, a in amounts.items()})


def name_sets(count: int) -> tuple[str, ...]:
    return FIVE[-count:] if count <= len(FIVE) else tuple(f"set {n:02d}" for n in range(count))


def list_cells() -> Iterator[Cell]:
    plain = Cell("", graded=(2, 3))
    realistic = {"o_proj": 0.03, "qkv": 0.012, "qkv+o_proj": 0.006, "o_proj+fc2": 0.003}
    for count in (2, 5, 21):
        for tasks in (1, 4):
            sets = name_sets(count)
            cell = replace(plain, sets=sets, examples=(500,) * tasks)
            where = f"{count} sets, {tasks} task{'s' if tasks > 1 else ''}"
            beyond = dict.fromkeys(sets[:-1], JUST_BEYOND)
            yield lower_evenly(replace(cell, name=f"least favourable, {where}"), beyond)
            yield replace(cell, name=f"ties, {where}")
            small = replace(cell, name=f"least favourable, {where}, 150", examples=(150,) * tasks)
            yield lower_evenly(small, beyond)
            yield lower_evenly(replace(small, name=f"two seeds, {where}", seeds=2), beyond)
    beyond = dict.fromkeys(FIVE[:-1], JUST_BEYOND)
    yield lower_evenly(replace(plain, name="realistic"), realistic)
    yield lower_evenly(replace(plain, name="realistic, no score graded", graded=()), realistic)
    large = replace(plain, name="realistic, 1,000", examples=(1000,) * 4)
    yield lower_evenly(large, realistic)
    yield replace(plain, name="base better", mean=0.445, base_mean=0.575)
    failed = {FIVE[0]: (0.05, 0.0, 0.0, 0.0)}
    yield replace(plain, name="one task failed by 5 points", lower=failed)
    yield replace(large, name="one task failed by 5 points, 1,000", lower=failed)
    noisy = replace(plain, noise={FIVE[0]: 6.0})
    yield lower_evenly(replace(noisy, name="six times the seed noise"), beyond)
    one = replace(noisy, name="six times the seed noise, 1 task", examples=(500,))
    yield lower_evenly(one, beyond)
    shared = replace(plain, is_shared=True, noise=dict.fromkeys(FIVE, 2.0))
    yield lower_evenly(replace(shared, name="seed effects shared by tasks"), beyond)
    high = replace(plain, mean=0.97, base_mean=0.9)
    yield lower_evenly(replace(high, name="near 1"), beyond)
    tiny = replace(high, name="near 1, 12 examples", examples=(12,))
    yield lower_evenly(tiny, {FIVE[0]: 0.05})
    few = replace(high, name="near 1, 60 examples", examples=(60,))
    yield lower_evenly(few, {FIVE[0]: 0.05})
    sizes = replace(plain, name="sizes 12, 5,000, 200, 1,000", examples=(12, 5000, 200, 1000))
    yield lower_evenly(sizes, beyond)
    yield lower_evenly(replace(plain, name="clustered examples", cluster_size=10), beyond)
    yield lower_evenly(replace(plain, name="one seed", seeds=1), beyond)
    looks = replace(plain, name="looks, 2 sets", sets=name_sets(2), looks=tuple(range(2, 9)))
    yield lower_evenly(replace(looks, seeds=8, examples=(150,)), {FIVE[-2]: JUST_BEYOND})
    yield lower_evenly(replace(looks, name="looks, 5 sets", sets=FIVE, seeds=8), beyond)

    for cell in (
        lower_evenly(replace(plain, name="realistic"), realistic),
        lower_evenly(replace(plain, name="realistic, no score graded", graded=()), realistic),
        lower_evenly(replace(plain, name="least favourable"), beyond),
        replace(plain, name="ties"),
        replace(plain, name="base better", mean=0.445, base_mean=0.575),
        replace(plain, name="one task failed by 5 points", lower=failed),
    ):
        # The grid of three seeds stands beside it, above.
        twice = tuple(2 * count for count in cell.examples)
        name = f"race: {cell.name}"
        yield replace(cell, name=name, is_race=True, seeds=MOST_SEEDS, examples=twice)


def draw_scores(
    cell: Cell, task: int, shared: Mapping[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Scores [seeds, examples] under new seeds, whose mean over both is the cell's truth."""
    scale = GRADED if task in cell.graded else 1.0
    count = cell.examples[task]
    difficulty = rng.normal(0, scale * DIFFICULTY, count)
    common = rng.normal(0, scale * SHARED, cell.seeds)
    cluster = np.arange(count) // cell.cluster_size
    suits = scale * FLIP * (cell.cluster_size > 1)
    found: dict[str, np.ndarray] = {}
    for name in (BASE, *cell.sets):
        own = scale * OWN * cell.noise.get(name, 1.0)
        document = rng.normal(0, suits, cluster.max() + 1)[cluster]
        if name == BASE:
            # It has no seeds; what they would add to its variance are flips.
            moved, flip = np.zeros(1), math.hypot(scale * FLIP, scale * SHARED, own)
        else:
            effect = shared[name] if cell.is_shared else rng.normal(size=cell.seeds)
            moved, flip = common + own * effect, scale * FLIP
        latent = difficulty + document + moved[:, None] + rng.normal(0, flip, (len(moved), count))
        truth = cell.truth(name, task)
        if task in cell.graded:
            found[name] = truth + latent
        else:
            total = math.hypot(scale * DIFFICULTY, scale * SHARED, own, scale * FLIP, suits)
            # The probit of the mean of all examples and seeds, so that this mean is known exactly.
            found[name] = (latent + float(stats.norm.ppf(truth)) * total > 0).astype(float)
    return found


def build_tables(cell: Cell, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw a study, in the shape in which real ones are loaded."""
    rows, examples = [], []
    fixed = dict.fromkeys(("source", "dataset", "split", "metric", "model", "study"), "simulated")
    ratios = {name: 1.02 + 0.03 * place for place, name in enumerate(cell.sets)}
    latency = {name: ratio * math.exp(rng.normal(0, 0.005)) for name, ratio in ratios.items()}
    shared = {name: rng.normal(size=cell.seeds) for name in cell.sets}
    for number, task in enumerate(cell.tasks):
        places = np.arange(cell.examples[number])
        ids = [f"e{place}" for place in places]
        clusters = [f"d{place}" for place in places // cell.cluster_size]
        for name, by_seed in draw_scores(cell, number, shared, rng).items():
            ratio = latency.get(name, math.nan)
            for seed, scores in enumerate(by_seed):
                run_id = f"{task}--{name}--{seed}"
                row: dict[str, Any] = {"run_id": run_id, "task": task, "status": "ok", "seed": seed}
                row |= dict.fromkeys(("variant", "target_set"), name) | fixed
                row |= {"score": scores.mean(), "end_to_end_ratio": ratio}
                row |= {"end_to_end_ratio_low": ratio * 0.99, "end_to_end_ratio_high": ratio * 1.01}
                row |= {"trainable_parameters": 1 + cell.sets.index(name) if name != BASE else 0}
                rows.append(row | {"latency_session": "one"})
                columns = {"run_id": run_id, "task": task, "id": ids, "cluster": clusters}
                examples.append(pd.DataFrame(columns | {"score": scores}))
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS)), pd.concat(examples)


@dataclass(frozen=True)
class Judged:
    """One study's verdict, and which of its intervals covered the truth."""

    verdict: str
    choice: str | None
    is_wrong: bool
    covered: Mapping[str, Sequence[bool]]
    runs: int = 0
    """Training runs that it took."""
    looks: int = 1


def judge_study(cell: Cell, number: int, seed: int) -> Judged:
    rng = np.random.default_rng([seed, zlib.crc32(cell.name.encode()), number])
    results, examples = build_tables(cell, rng)
    if cell.is_race:
        return judge_race(cell, results, examples)
    for look, seeds in enumerate(cell.looks or (cell.seeds,), start=1):
        own = results[results["seed"] < seeds]
        comparison = compare(own, examples[examples["run_id"].isin(own["run_id"])], look=look)
        ruling = apply_rule(comparison, DELTA, BALANCED)
        if ruling.choice:
            break
    choice = ruling.choice.variant if ruling.choice else None
    covered = dict(check_intervals(cell, comparison))
    runs = len(cell.sets) * len(cell.tasks) * seeds
    return Judged(ruling.verdict, choice, cell.is_wrong(choice), covered, runs, look)


def judge_race(cell: Cell, results: pd.DataFrame, examples: pd.DataFrame) -> Judged:
    """Race: begin with a seed of every set and half of the examples."""
    seeds = dict.fromkeys(cell.sets, 1) | {BASE: 1}
    scored = {t: n // 2 for t, n in zip(cell.tasks, cell.examples, strict=True)}
    place = examples["id"].str[1:].astype(int)
    look = 1
    while True:
        own = results[results["seed"] < results["variant"].map(seeds)]
        rows = examples[
            examples["run_id"].isin(own["run_id"]) & (place < examples["task"].map(scored))
        ]
        comparison = compare(own, rows, look=look)
        ruling = apply_rule(comparison, DELTA, BALANCED)
        running = list_running(comparison, ruling)
        steps = [
            Step("seed", name, RUN_SECONDS * len(cell.tasks))
            for name in running
            if seeds[name] < cell.seeds
        ]
        again = 1 + sum(seeds[name] for name in running)
        steps += [
            Step("examples", task, SCORE_SECONDS * again)
            for task, most in zip(cell.tasks, cell.examples, strict=True)
            if scored[task] < most
        ]
        outlook = None if ruling.choice else plan_round(comparison, ruling, DELTA, steps)
        if outlook is None:
            break
        look += not comparison.scores.is_one_seed
        for step in outlook.steps:
            if step.kind == "seed":
                seeds[step.name] += 1
            else:
                scored[step.name] *= 2
    choice = ruling.choice.variant if ruling.choice else None
    runs = len(cell.tasks) * sum(seeds[name] for name in cell.sets)
    covered = dict(check_intervals(cell, comparison))
    return Judged(ruling.verdict, choice, cell.is_wrong(choice), covered, runs, look)


def check_intervals(cell: Cell, comparison: Comparison) -> Iterator[tuple[str, Sequence[bool]]]:
    def cover(rows: pd.DataFrame, name: str, truth: Sequence[float]) -> list[bool]:
        low, high = rows[f"{name}_low"].to_numpy(), rows[f"{name}_high"].to_numpy()
        return list((low <= truth) & (truth <= high))

    sets = comparison.by_task[comparison.by_task["target_set"] != BASE]
    tasks = [cell.tasks.index(task) for task in sets["task"]]
    truths = [cell.truth(*pair) for pair in zip(sets["variant"], tasks, strict=True)]
    yield "score by task", cover(sets, "score", truths)
    gains = [truth - cell.base_mean for truth in truths]
    yield "gain over base by task", cover(sets, "difference", gains)
    over_all = comparison.overall[comparison.overall["target_set"] != BASE]
    if not comparison.can_decide:
        return
    means = {name: cell.average(name) for name in (BASE, *cell.sets)}
    gains = [means[name] - means[BASE] for name in over_all["variant"]]
    yield "gain over base, mean over tasks", cover(over_all, "difference", gains)
    pairs = []
    for one, other in zip(cell.sets, cell.sets[1:], strict=False):
        found = comparison.scores.compare(one, other)
        assert found is not None
        low, high = found.bound()
        pairs.append(low <= means[one] - means[other] <= high)
    yield "pair of sets, mean over tasks", pairs
    best = max(means.values())
    bounds = comparison.overall.set_index("variant")["mean_regret_high"]
    yield (
        "upper bounds of score lost, all together",
        [all(best - means[name] <= bounds[name] + 1e-12 for name in means)],
    )


def summarise(cell: Cell, judged: Sequence[Judged]) -> dict[str, Any]:
    said = Counter(each.choice or each.verdict for each in judged)
    count = len(judged)
    coverage = {
        name: round(float(np.mean([hit for each in judged for hit in each.covered[name]])), 4)
        for name in judged[0].covered
    }
    return {
        "cell": cell.name,
        "studies": count,
        "wrong": round(sum(each.is_wrong for each in judged) / count, 4),
        "decided": round(sum(each.choice is not None for each in judged) / count, 4),
        "runs": round(float(np.mean([each.runs for each in judged])), 1),
        "looks": round(float(np.mean([each.looks for each in judged])), 2),
        "said": {name: round(number / count, 4) for name, number in said.most_common(8)},
        "coverage": coverage,
    }


def read_outcomes(studies: int, seed: int) -> dict[str, dict[str, Any]]:
    """Cell -> its outcome, of as many studies, in an earlier run."""
    if not RESULTS.exists():
        return {}
    report = json.loads(RESULTS.read_text(encoding="utf-8"))
    cells = report["cells"] if report["seed"] == seed else []
    return {each["cell"]: each for each in cells if each["studies"] == studies}


def write_outcomes(outcomes: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    report = {
        "command": f"python benchmarks/planted_truth.py --studies {options.studies}",
        "seed": options.seed,
        "delta": DELTA,
        "deviations": {"difficulty": DIFFICULTY, "shared": SHARED, "own": OWN, "flip": FLIP},
        "profile": asdict(BALANCED),
        "highest_wrong": max(each["wrong"] for each in outcomes),
        "cells": outcomes,
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--only", default="", help="cells whose name holds this")
    parser.add_argument("--again", action="store_true", help="cells whose outcome is there, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    known = read_outcomes(options.studies, options.seed)
    cells = list(list_cells())
    with ProcessPoolExecutor(options.processes) as pool:
        for cell in cells:
            if options.only not in cell.name or (cell.name in known and not options.again):
                continue
            started = time.perf_counter()
            judge = partial(judge_study, cell, seed=options.seed)
            judged = list(pool.map(judge, range(options.studies), chunksize=5))
            seconds = round(time.perf_counter() - started)
            known[cell.name] = summarise(cell, judged) | {"seconds": seconds}
            print(json.dumps(known[cell.name]), flush=True)
            ordered = [known[each.name] for each in cells if each.name in known]
            write_outcomes(ordered, options)


if __name__ == "__main__":
    main()
