"""How often the verdict is right, in simulated studies whose truth is known.

    python benchmarks/planted_truth.py --studies 500

Every study has five target sets and a base on four tasks, two with scores of 0 or 1 and two with
scores between, all answered on the same examples, which differ in difficulty; a set's mean moves
from seed to seed, and single examples flip with it. Latencies are known within 1%. The rule sees
nothing but what a real study's records hold. Written to benchmarks/results/planted-truth.json: of
each scenario how often each verdict was given, how often that was an error, and how often 95%
intervals covered the truth.

best          One set is best on every task, by a little more than the difference that a test on
              that task finds with 80% power; the others are faster. Right: that set.
outside       The fastest set gives up a little more than delta on average. Wrong: choosing it.
fails a task  The fastest set gives up a little more than 2 delta on one task and nothing on the
              others. Wrong: choosing it.
tie, small    All sets are equal, and too few examples say so. Right: undecided.
tie, large    All sets are equal, and enough examples say so. Right: the fastest.
no skill      Nothing was learned. Wrong: choosing any set.
"""

import argparse
import json
import math
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.comparison import Comparison, compare
from harness.analysis.decision import BALANCED, apply_rule
from harness.analysis.ranking import compare_pairs
from harness.analysis.results import COLUMNS
from harness.records.record import BASE

RESULTS = Path(__file__).resolve().parent / "results" / "planted-truth.json"
DELTA = BALANCED.delta
TASKS = ("binary_one", "binary_two", "graded_one", "graded_two")
SETS = ("o_proj", "qkv", "qkv+o_proj", "o_proj+fc2", "all")
"""From fast to slow."""
RATIOS = dict(zip(SETS, (1.02, 1.05, 1.08, 1.11, 1.20), strict=True))
RESAMPLES = 1000
DETECTABLE = 2.8
"""Standard errors of a difference that a two-sided test at 5% finds with 80% power."""

SPREADS = {"difficulty": 0.9, "seed": 0.04, "own": 0.04, "flip": 0.45}
"""On the scale of the probit of a binary score; graded scores have a sixth of each."""
GRADED = 1 / 6


@dataclass(frozen=True)
class Scenario:
    name: str
    examples: int
    seeds: int
    base_mean: float = 0.45
    mean: float = 0.55
    """Of the sets, but for those named in `lower`."""
    lower: Mapping[str, Mapping[str, float]] | None = None
    """Set -> task -> how much lower its true mean is."""

    def truth(self, name: str, task: str) -> float:
        if name == BASE:
            return self.base_mean
        return self.mean - (self.lower or {}).get(name, {}).get(task, 0.0)


@dataclass(frozen=True)
class Judged:
    """One study's verdict, and which of its intervals covered the truth."""

    verdict: str
    choice: str | None
    covered: Mapping[str, Sequence[bool]]


def draw_scores(
    scenario: Scenario, task: str, rng: np.random.Generator
) -> dict[str, dict[int, np.ndarray]]:
    """Scores of new examples under new seeds, whose mean over both is the scenario's truth."""
    is_binary = task.startswith("binary")
    scale = 1.0 if is_binary else GRADED
    spread = {name: scale * value for name, value in SPREADS.items()}
    total = math.sqrt(sum(value**2 for value in spread.values()))
    shape = scenario.examples
    difficulty = rng.normal(0, spread["difficulty"], shape)
    common = rng.normal(0, spread["seed"], scenario.seeds)
    found: dict[str, dict[int, np.ndarray]] = {}
    for name in (BASE, *SETS):
        truth = scenario.truth(name, task)
        # The probit of the mean of all examples and seeds, so that this mean is known exactly.
        center = float(stats.norm.ppf(truth)) * total if is_binary else truth
        found[name] = {}
        for seed in range(1 if name == BASE else scenario.seeds):
            moved = 0.0 if name == BASE else common[seed] + rng.normal(0, spread["own"])
            missing = math.hypot(spread["seed"], spread["own"]) if name == BASE else 0.0
            flips = rng.normal(0, math.hypot(spread["flip"], missing), shape)
            latent = center + difficulty + moved + flips
            found[name][seed] = (latent > 0).astype(float) if is_binary else latent
    return found


def build_tables(scenario: Scenario, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw a study, in the shape in which real ones are loaded."""
    rows, examples = [], []
    shared = dict.fromkeys(("source", "dataset", "split", "metric", "model", "study"), "simulated")
    ids = [f"e{index}" for index in range(scenario.examples)]
    latency = {name: ratio * math.exp(rng.normal(0, 0.005)) for name, ratio in RATIOS.items()}
    for task in TASKS:
        for name, by_seed in draw_scores(scenario, task, rng).items():
            ratio = latency.get(name, math.nan)
            for seed, scores in by_seed.items():
                run_id = f"{task}--{name}--{seed}"
                row: dict[str, Any] = {"run_id": run_id, "task": task, "status": "ok", "seed": seed}
                row |= dict.fromkeys(("variant", "target_set"), name) | shared
                row |= {"score": scores.mean(), "end_to_end_ratio": ratio}
                row |= {"end_to_end_ratio_low": ratio * 0.99, "end_to_end_ratio_high": ratio * 1.01}
                row |= {"trainable_parameters": 0 if name == BASE else 1 + SETS.index(name)}
                rows.append(row | {"latency_session": "one"})
                examples.append(
                    pd.DataFrame({"run_id": run_id, "task": task, "id": ids, "score": scores})
                )
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS)), pd.concat(examples)


def judge_study(scenario: Scenario, number: int, seed: int) -> Judged:
    rng = np.random.default_rng([seed, zlib.crc32(scenario.name.encode()), number])
    comparison = compare(*build_tables(scenario, rng), resamples=RESAMPLES, seed=number)
    ruling = apply_rule(comparison, DELTA, BALANCED)
    choice = ruling.choice.variant if ruling.choice else None
    return Judged(ruling.verdict, choice, dict(check_intervals(scenario, comparison)))


def check_intervals(
    scenario: Scenario, comparison: Comparison
) -> Iterator[tuple[str, Sequence[bool]]]:
    def cover(rows: pd.DataFrame, name: str, truth: Sequence[float]) -> list[bool]:
        low, high = rows[f"{name}_low"].to_numpy(), rows[f"{name}_high"].to_numpy()
        return list((low <= truth) & (truth <= high))

    sets = comparison.by_task[comparison.by_task["target_set"] != BASE]
    pairs = list(zip(sets["variant"], sets["task"], strict=True))
    scores = [scenario.truth(*pair) for pair in pairs]
    yield "score by task", cover(sets, "score", scores)
    gains = [score - scenario.base_mean for score in scores]
    yield "gain over base by task", cover(sets, "difference", gains)
    over_all = comparison.overall[comparison.overall["target_set"] != BASE]
    means = {name: float(np.mean([scenario.truth(name, task) for task in TASKS])) for name in SETS}
    gains = [means[name] - scenario.base_mean for name in over_all["variant"]]
    yield "gain over base, mean over tasks", cover(over_all, "difference", gains)
    tested = compare_pairs(comparison.drawn)
    truth = np.array([means[row.better] - means[row.worse] for row in tested.itertuples()])
    yield (
        "pair of sets, mean over tasks",
        list((tested["low"].to_numpy() <= truth) & (truth <= tested["high"].to_numpy())),
    )
    regrets = [max(means.values()) - means[name] for name in over_all["variant"]]
    bounds = over_all["mean_regret_high"].to_numpy()
    yield "upper bound of mean regret", list(np.array(regrets) <= bounds + 1e-12)


def list_scenarios() -> list[tuple[Scenario, str]]:
    """Scenarios, each with what its studies should say."""
    plain = Scenario("", examples=400, seeds=3)
    gap = DETECTABLE * _error_on_a_task(plain) * 1.05
    slow = SETS[-1]
    behind = {name: dict.fromkeys(TASKS, gap) for name in SETS if name != slow}
    on_average = {SETS[0]: dict.fromkeys(TASKS, DELTA * 1.01)}
    on_one = {SETS[0]: {TASKS[0]: 2 * DELTA * 1.01}}
    large = replace(plain, examples=1600, seeds=5)
    return [
        (replace(plain, name="best", lower=behind), slow),
        (replace(plain, name="outside", lower=on_average), f"not {SETS[0]}"),
        (replace(large, name="outside, large study", lower=on_average), f"not {SETS[0]}"),
        (replace(large, name="fails a task, large study", lower=on_one), f"not {SETS[0]}"),
        (replace(plain, name="tie, small", examples=60), "undecided"),
        (replace(large, name="tie, large"), SETS[0]),
        (replace(plain, name="no skill", mean=plain.base_mean), "no choice"),
        (replace(plain, name="outside, two seeds", seeds=2, lower=on_average), f"not {SETS[0]}"),
    ]


def _error_on_a_task(scenario: Scenario) -> float:
    """Standard error of a difference of two sets on the noisier kind of task, a binary one."""
    total = math.sqrt(sum(value**2 for value in SPREADS.values()))
    slope = float(stats.norm.pdf(stats.norm.ppf(scenario.mean))) / total
    own = (slope * SPREADS["own"]) ** 2 * 2 / scenario.seeds
    # Two sets disagree on an example as their flips do; measured on a large draw.
    rng = np.random.default_rng(0)
    large = replace(scenario, examples=200_000, seeds=scenario.seeds)
    drawn = draw_scores(large, TASKS[0], rng)
    one, other = (np.mean(list(drawn[name].values()), axis=0) for name in SETS[:2])
    return math.sqrt(own + float((one - other).var()) / scenario.examples)


def summarise(scenario: Scenario, right: str, judged: Sequence[Judged]) -> dict[str, Any]:
    said = Counter(each.choice or each.verdict for each in judged)
    count = len(judged)
    shares = {name: round(number / count, 4) for name, number in said.most_common()}
    if right.startswith("not "):
        correct = 1 - shares.get(right.removeprefix("not "), 0.0)
    elif right == "no choice":
        correct = sum(share for name, share in shares.items() if name not in SETS)
    else:
        correct = shares.get(right, 0.0)
    coverage = {
        name: round(float(np.mean([hit for each in judged for hit in each.covered[name]])), 4)
        for name in judged[0].covered
    }
    return {
        "scenario": scenario.name,
        "studies": count,
        "right": right,
        "share_right": round(correct, 4),
        "said": shares,
        "coverage": coverage,
        "examples": scenario.examples,
        "seeds": scenario.seeds,
        "planted": {"mean": scenario.mean, "base": scenario.base_mean, "lower": scenario.lower},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    started = time.perf_counter()
    outcomes = []
    with ProcessPoolExecutor(options.processes) as pool:
        for scenario, right in list_scenarios():
            judge = partial(judge_study, scenario, seed=options.seed)
            judged = list(pool.map(judge, range(options.studies), chunksize=5))
            outcomes.append(summarise(scenario, right, judged))
            print(json.dumps(outcomes[-1]), flush=True)
    report = {
        "command": f"python benchmarks/planted_truth.py --studies {options.studies}",
        "seed": options.seed,
        "delta": DELTA,
        "resamples": RESAMPLES,
        "spreads": SPREADS,
        "profile": asdict(BALANCED),
        "seconds": round(time.perf_counter() - started),
        "scenarios": outcomes,
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
