"""When a study stops, and what it keeps: with simulated processes, whose times are known."""

import math
import random
from typing import Any

import pandas as pd
import pytest

from harness.analysis.latency.ratios import paired_ratio
from harness.analysis.latency.timing_verdicts import Rule, check_gate, judge
from harness.config.schema import ModelConfig
from harness.timing.budget import Budget
from harness.timing.controller import Earlier, Measurement, PointState, Series, measure, preregister
from harness.timing.points import Build, Point, TimedAdapter
from harness.timing.processes import Host, ProcessDiedError

RULE = Rule(half_width=0.02, margin=0.03, min_rounds=15, min_processes=3)
ADAPTERS = (TimedAdapter("o_proj", "unused", True), TimedAdapter("all", "unused", True))
BUILD = Build(model=ModelConfig(), adapters=ADAPTERS)
TRUTH = {
    ("base", "base"): 1.0,
    ("base_again", "base"): 1.0,
    ("base_cloned", "base"): 1.0,
    ("unmerged", "o_proj"): 1.1,
    ("unmerged", "all"): 1.3,
    ("merged", "o_proj"): 1.0,
    ("merged", "all"): 1.0,
}


class SimulatedTime:
    """The clock that the controller reads: it moves when a simulated process works."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class SimulatedHost(Host):
    """A process that starts in 5 s and whose calls take about 0.1 s, with `noise` in the log."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def __exit__(self, *_: object) -> None:
        self.world.ended += 1

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        world = self.world
        match command["do"]:
            case "start":
                self.number = command["process"]
                self.random = random.Random(f"{world.seed} {self.number}")
                self.bias = {
                    key: self.random.gauss(0, world.process_noise)
                    for key in TRUTH
                    if key != ("base", "base")
                }
                world.clock.now += 5
                world.started.append(self.number)
                return {"ok": world.describe_start()}
            case "open":
                self.point = command["point"]["number"]
                world.clock.now += 2
                if error := world.errors.get((self.number, self.point)):
                    return {"error": error}
                return {
                    "ok": {
                        "warmup_rounds": 3,
                        "is_settled": True,
                        "operations": [],
                        "failures": [],
                    }
                }
            case "round":
                if self.number in world.deaths:
                    raise ProcessDiedError("killed", True)
                if world.interrupt_at is not None and world.clock.now > world.interrupt_at:
                    raise KeyboardInterrupt
                return {"ok": {"rows": self.draw_round(), "failures": []}}
            case "memory":
                return {"ok": []}
        return {"ok": None}

    def draw_round(self) -> list[dict[str, Any]]:
        shared = self.random.lognormvariate(0, 0.3)  # what the machine does meanwhile
        rows = []
        for position, ((arm, variant), ratio) in enumerate(TRUTH.items()):
            noise = self.random.gauss(0, self.world.noise) + self.bias.get((arm, variant), 0)
            seconds = 0.1 * shared * ratio * math.exp(noise)
            self.world.clock.now += seconds
            rows.append(
                {
                    "position": position,
                    "arm": arm,
                    "variant": variant,
                    "end_to_end_seconds": seconds,
                }
            )
        return rows


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, noise: float, **changes: Any) -> None:
        self.clock = SimulatedTime()
        self.noise, self.process_noise, self.seed = noise, noise / 4, 0
        self.started: list[int] = []
        self.ended = 0
        self.errors: dict[tuple[int, int], dict[str, Any]] = {}
        self.deaths: set[int] = set()
        self.interrupt_at: float | None = None
        vars(self).update(changes)
        monkeypatch.setattr("harness.timing.controller.time", self.clock)

    def describe_start(self) -> dict[str, Any]:
        return {
            "environment": {},
            "dtype": "float32",
            "adapter_dtype": "float32",
            "attention": "sdpa",
            "operations": [],
            "failures": [],
        }

    def measure(self, points: int = 1, **budget: Any) -> Measurement:
        settings = {"rule": RULE, "max_seconds": 600.0, **budget}
        states = [PointState(Point(number, ((1, 2),), 2)) for number in range(points)]
        return measure(Series(BUILD, states), Budget(**settings), lambda: SimulatedHost(self))


def test_timing_goes_on_until_the_base_passes_against_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one process: a first look tells the base from itself in one study of twenty, by chance."""
    rule = Rule(half_width=0.08, margin=0.09, min_rounds=12, min_processes=1)
    trusted, went_on = 0, 0
    for seed in range(60):
        world = World(monkeypatch, noise=0.06, seed=seed, process_noise=0.0)
        measured = world.measure(rule=rule, is_fresh=False, max_seconds=300.0)
        calls = pd.DataFrame(measured.calls)
        trusted += check_gate(calls, rule).is_trusted
        first = check_gate(calls[calls["round"] < rule.min_rounds], rule)
        # What was narrow enough at the first look, and passed only later.
        went_on += not first.is_trusted and first.ratio.half_width <= rule.half_width
    assert went_on >= 1
    assert trusted >= 59


def test_one_process_is_looked_at_after_doubled_numbers_of_rounds_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looked at after every round, timing would stop where an interval is narrow by chance."""
    rule = Rule(half_width=0.03, margin=0.04, min_rounds=5, min_processes=1)
    doublings = set()
    for seed in range(10):
        world = World(monkeypatch, noise=0.04, seed=seed, process_noise=0.0)
        state = world.measure(rule=rule, is_fresh=False, max_seconds=3000.0).states[0]
        assert state.stopped == "target reached"
        doublings.add(math.log2(state.rounds / rule.min_rounds))
    assert max(doublings) > 0
    assert all(each.is_integer() for each in doublings)


def test_a_quiet_machine_stops_at_the_least_rounds_and_finds_the_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, noise=0.002)
    measured = world.measure()
    state = measured.states[0]
    assert (state.status, state.stopped, state.processes) == ("done", "target reached", 3)
    assert world.started == [0, 1, 2]
    assert world.ended == 3
    assert state.rounds >= 15
    calls = pd.DataFrame(measured.calls)
    for arm, variant in preregister(BUILD):
        ratio = paired_ratio(calls, "end_to_end_seconds", arm, variant=variant)
        assert ratio.low <= TRUTH[arm, variant] <= ratio.high
        expected = "slower" if arm == "unmerged" else "equivalent"
        assert judge(ratio, RULE) == expected


def test_a_process_measures_at_least_as_long_as_it_took_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, noise=0.002)
    calls = pd.DataFrame(world.measure().calls)
    for _, rows in calls.groupby("process"):
        assert rows["end_to_end_seconds"].sum() >= 5


def test_a_noisy_machine_goes_on_with_more_processes_until_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, noise=0.04)
    state = world.measure().states[0]
    assert state.stopped == "target reached"
    assert state.processes > 3


def test_the_budget_ends_a_study_that_cannot_reach_its_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, noise=0.5)
    measured = world.measure(max_seconds=100)
    state = measured.states[0]
    assert (state.status, state.stopped) == ("done", "time budget")
    assert 100 <= state.seconds < 115
    assert state.seconds == pytest.approx(world.clock.now, rel=0.01)
    calls = pd.DataFrame(measured.calls)
    ratio = paired_ratio(calls, "end_to_end_seconds", "base_again", variant="base")
    assert judge(ratio, RULE) == "unresolved"


def test_a_short_budget_is_shared_among_the_least_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, noise=0.5)
    state = world.measure(max_seconds=30).states[0]
    assert state.processes == 3
    assert state.seconds < 40


def test_rounds_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, noise=0.5)
    state = world.measure(max_rounds=7).states[0]
    assert (state.rounds, state.stopped) == (7, "rounds limit")


def test_one_process_is_not_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sweep's own process there is one, and its rounds go on until they are enough."""
    world = World(monkeypatch, noise=0.002, process_noise=0.0)
    state = world.measure(is_fresh=False).states[0]
    assert (state.processes, state.stopped) == (1, "target reached")
    assert state.rounds == 15


def test_a_point_without_memory_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, noise=0.002)
    world.errors[0, 1] = {"message": "batch 64: out of memory", "is_out_of_memory": True}
    measured = world.measure(points=3)
    assert [state.status for state in measured.states] == ["done", "out of memory", "done"]
    assert measured.states[1].message == "batch 64: out of memory"
    assert {row["point"] for row in measured.calls} == {0, 2}


def test_a_killed_process_costs_its_point_only(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, noise=0.002, deaths={1})
    measured = world.measure(points=2)
    assert [state.status for state in measured.states] == ["out of memory", "done"]
    assert {row["process"] for row in measured.calls if row["point"] == 0} == {0}
    # Rounds of the other point come from processes that lived.
    assert {row["process"] for row in measured.calls if row["point"] == 1} == {0, 2, 3}


def test_an_interrupt_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, noise=0.5, interrupt_at=40)
    kept: list[tuple[list[str], int]] = []

    def keep(measurement: Measurement) -> None:
        kept.append(([s.status for s in measurement.states], len(measurement.calls)))

    with pytest.raises(KeyboardInterrupt):
        measure(
            Series(BUILD, [PointState(Point(0, ((1, 2),), 2))]),
            Budget(rule=RULE, max_seconds=600),
            lambda: SimulatedHost(world),
            keep=keep,
        )
    assert kept[-1][0] == ["interrupted"]
    assert kept[-1][1] > 0
    assert world.ended == len(world.started)


def test_the_controls_are_preregistered_and_an_unmerged_only_adapter_is_not_merged() -> None:
    build = Build(ModelConfig(), (TimedAdapter("q", "x", False),), planted=(0.05,))
    assert preregister(build) == [("base_again", "base"), ("planted", "+5%"), ("unmerged", "q")]


def test_a_point_that_was_cut_off_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes are known already: one more is enough, and it has as many rounds as they."""
    before = World(monkeypatch, noise=0.002).measure().calls
    kept = [row for row in before if row["process"] < 2]
    rounds = 1 + max(row["round"] for row in kept)
    world = World(monkeypatch, noise=0.002)
    state = PointState(
        Point(0, ((1, 2),), 2),
        seconds=40.0,
        rounds=2 * rounds,
        processes=2,
        rounds_a_process=rounds,
    )
    measured = measure(
        Series(BUILD, [state]),
        Budget(rule=RULE, max_seconds=600),
        lambda: SimulatedHost(world),
        earlier=Earlier(kept, processes=2),
    )
    assert world.started == [2]
    assert (state.status, state.stopped) == ("done", "target reached")
    assert state.seconds > 40
    assert {(row["process"], row["round"]) for row in measured.calls} == {
        (2, number) for number in range(rounds)
    }
