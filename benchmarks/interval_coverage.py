"""How often the interval of a paired ratio covers the truth, in simulated rounds that know it.

    python benchmarks/interval_coverage.py --simulations 1000

Every simulation is a timing study of an arm whose true ratio to the base is 1. Written to
benchmarks/results/interval-coverage.json: of each scenario the share of intervals that cover 1, the
mean half-width, and the share of false verdicts (slower or faster). `fixed` are studies of a set
number of processes and rounds. `stopped` are studies that add a process at a time, from 3 to 12,
until the interval is as narrow as the target. `stopped, one process` are of one process's own
ratio, look after 15, 30, 60 ... of up to 200 rounds, as the real ones do, and have the exact
interval, which takes rounds for independent.
"""

import argparse
import json
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from harness.analysis.latency.ratios import Interval, Paired, summarise_rounds
from harness.analysis.latency.timing_verdicts import Rule, is_resolved, judge

RESULTS = Path(__file__).resolve().parent / "results" / "interval-coverage.json"
RULE = Rule(half_width=0.02, margin=0.03, min_rounds=15, min_processes=3)
MAX_PROCESSES = 12
MAX_ROUNDS = 200
"""Of studies of one process."""
ARMS = 8
"""Calls of a round, in random order."""
SPREAD = 0.03
"""Standard deviation of the log ratio within a process; of its bulk where tails are heavy."""

Noise = Callable[[np.random.Generator, int], np.ndarray]
"""Draws the log ratios of the rounds of one process, with a median of 0 and a spread of 1."""


def draw_normal(rng: np.random.Generator, rounds: int) -> np.ndarray:
    return rng.normal(size=rounds)


def draw_heavy_tails(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """Each call's noise is Student's t of 2 degrees of freedom, which has no variance."""
    arm, base = rng.standard_t(2, size=(2, rounds)) / math.sqrt(2)
    return arm - base


def draw_spikes(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """A tenth of the calls are held up, by 3 spreads in the median and often by far more."""
    noise = rng.normal(size=(2, rounds)) / math.sqrt(2)
    held_up = rng.random((2, rounds)) < 0.1
    arm, base = noise + held_up * rng.lognormal(math.log(3), 1, size=(2, rounds))
    return arm - base


def draw_autocorrelated(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """Order 1, coefficient 0.6: neighbouring rounds err alike."""
    noise = rng.normal(size=rounds)
    for index in range(1, rounds):
        noise[index] = 0.6 * noise[index - 1] + 0.8 * noise[index]
    return noise


def draw_drift(rng: np.random.Generator, rounds: int) -> np.ndarray:
    """The machine slows down by 40% over a process, so the later call of a pair looks slower."""
    slowdown_per_call = math.log(1.4) / SPREAD / (rounds * ARMS)
    places = rng.permuted(np.tile(np.arange(ARMS), (rounds, 1)), axis=1)
    return rng.normal(size=rounds) + slowdown_per_call * (places[:, 0] - places[:, 1])


@dataclass(frozen=True)
class Machine:
    name: str
    draw: Noise
    process_spread: float
    """Standard deviation of the log ratio between processes, in spreads within a process."""


MACHINES = (
    Machine("processes alike", draw_normal, 0.0),
    Machine("processes differ by 0.3", draw_normal, 0.3),
    Machine("processes differ by 1", draw_normal, 1.0),
    Machine("heavy tails", draw_heavy_tails, 0.3),
    Machine("spikes", draw_spikes, 0.3),
    Machine("autocorrelation", draw_autocorrelated, 0.3),
    Machine("drift", draw_drift, 0.3),
)


@dataclass(frozen=True)
class Outcome:
    design: str
    machine: str
    spread: float
    """Standard deviation of the log ratio within a process."""
    processes: float
    """Of a study, in the mean where it stops by itself."""
    rounds: float
    simulations: int
    coverage: float
    mean_half_width: float
    false_verdicts: float
    """Share of studies that call equal arms slower or faster."""
    resolved: float
    """Share of studies whose half-width reached the target."""


def simulate_process(
    machine: Machine, spread: float, rounds: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the log ratios of one process's rounds, [rounds]; truth is 0."""
    shift = machine.process_spread * rng.normal()
    return spread * (shift + machine.draw(rng, rounds))


def run_fixed(machine: Machine, processes: int, rounds: int, rng: np.random.Generator) -> Interval:
    """Return the interval of a study of so many processes of so many rounds."""
    logs = [simulate_process(machine, SPREAD, rounds, rng) for _ in range(processes)]
    return summarise_rounds(_pair(logs))


def run_stopped(machine: Machine, spread: float, rounds: int, rng: np.random.Generator) -> Interval:
    """Return the interval with which a study that adds processes until it is narrow ends."""
    logs = [simulate_process(machine, spread, rounds, rng) for _ in range(RULE.min_processes)]
    while True:
        interval = summarise_rounds(_pair(logs))
        if is_resolved(interval, RULE) or len(logs) == MAX_PROCESSES:
            return interval
        logs.append(simulate_process(machine, spread, rounds, rng))


def run_in_one_process(machine: Machine, spread: float, rng: np.random.Generator) -> Interval:
    """Likewise of one process, which looks at doubled numbers of rounds; truth is its own."""
    alone = Machine(machine.name, machine.draw, 0.0)
    logs = simulate_process(alone, spread, MAX_ROUNDS, rng)
    count = RULE.min_rounds
    while count < MAX_ROUNDS:
        interval = summarise_rounds(_pair([logs[:count]]))
        if is_resolved(interval, RULE):
            return interval
        count *= 2
    return summarise_rounds(_pair([logs]))


def _pair(logs: list[np.ndarray]) -> Paired:
    return Paired(np.repeat(np.arange(len(logs)), [len(each) for each in logs]), np.hstack(logs))


def simulate_all(simulations: int, seed: int) -> Iterator[Outcome]:
    for processes in (2, 3, 5, 8):
        for rounds in (5, 10, 20):
            for machine in MACHINES:
                rng = _seed_by_name(seed, f"fixed {processes} {rounds} {machine.name}")
                studies = (run_fixed(machine, processes, rounds, rng) for _ in range(simulations))
                yield _summarise("fixed", machine, SPREAD, studies)
    for spread in (0.015, 0.03, 0.06):
        for machine in MACHINES:
            rng = _seed_by_name(seed, f"stopped {spread} {machine.name}")
            studies = (run_stopped(machine, spread, 10, rng) for _ in range(simulations))
            yield _summarise("stopped", machine, spread, studies)
            rng = _seed_by_name(seed, f"one process {spread} {machine.name}")
            studies = (run_in_one_process(machine, spread, rng) for _ in range(simulations))
            yield _summarise("stopped, one process", machine, spread, studies)


def _seed_by_name(seed: int, name: str) -> np.random.Generator:
    """A scenario draws the same whichever others there are."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _summarise(
    design: str, machine: Machine, spread: float, studies: Iterable[Interval]
) -> Outcome:
    intervals = list(studies)
    return Outcome(
        design,
        machine.name,
        spread,
        processes=_mean(each.processes for each in intervals),
        rounds=_mean(each.rounds for each in intervals),
        simulations=len(intervals),
        coverage=_mean(each.low <= 1 <= each.high for each in intervals),
        mean_half_width=_mean(each.half_width for each in intervals),
        false_verdicts=_mean(judge(each, RULE) in ("slower", "faster") for each in intervals),
        resolved=_mean(is_resolved(each, RULE) for each in intervals),
    )


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean([float(value) for value in values])), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    outcomes = []
    for outcome in simulate_all(options.simulations, options.seed):
        outcomes.append(outcome)
        print(outcome, flush=True)
    designs = {
        name: [each for each in outcomes if each.design == name]
        for name in dict.fromkeys(each.design for each in outcomes)
    }.items()
    report = {
        "command": f"python benchmarks/interval_coverage.py --simulations {options.simulations}",
        "seed": options.seed,
        "confidence": 0.95,
        "rule": asdict(RULE),
        "lowest_coverage": {name: min(o.coverage for o in each) for name, each in designs},
        "highest_false_verdicts": {
            name: max(o.false_verdicts for o in each) for name, each in designs
        },
        "seconds": round(time.perf_counter() - started),
        "scenarios": [asdict(each) for each in outcomes],
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print({key: value for key, value in report.items() if key != "scenarios"})


if __name__ == "__main__":
    main()
