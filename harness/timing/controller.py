"""Measures points until their preregistered ratios are known well enough, or the time is up.

Fresh processes follow one another; each measures every point that is still open for at least as
long as it took to get ready, so that starting costs at most half of the time. What has been
measured is kept whatever happens, and handed to `keep` after every point.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from harness.analysis.latency.ratios import paired_ratio
from harness.analysis.latency.timing_verdicts import check_gate, is_resolved
from harness.timing.budget import Budget
from harness.timing.points import CONTROLS, Build, Point, name_planted
from harness.timing.processes import Host, ProcessDiedError
from harness.timing.session import PointError

Status = Literal["open", "done", "out of memory", "failed", "interrupted"]
Stopped = Literal["target reached", "time budget", "rounds limit"]

PREREGISTERED_TIME = "end_to_end"
"""The time whose ratios decide when a study has measured enough."""


@dataclass
class PointState:
    """How far a point has come."""

    point: Point
    status: Status = "open"
    message: str | None = None
    stopped: Stopped | None = None
    seconds: float = 0.0
    """Spent on it, its share of starting processes included."""
    rounds: int = 0
    processes: int = 0
    """Processes with at least one round."""
    rounds_a_process: int = 0
    """Rounds of the first process that was not cut short; 0 before that has ended."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the build came to: dtype, adapter_dtype and attention as they ran."""


@dataclass(frozen=True)
class Series:
    """Points that the same processes measure one after the other."""

    build: Build
    states: list[PointState]
    """One that is not new goes on from there."""


@dataclass(frozen=True)
class Earlier:
    """What a study measured before."""

    calls: Sequence[dict[str, Any]] = ()
    """A row a timed call, of all points."""
    processes: int = 0
    """The next process has this number."""


NOTHING = Earlier()


@dataclass
class Measurement:
    """All that was measured so far, as rows."""

    states: list[PointState]
    calls: list[dict[str, Any]] = field(default_factory=list)
    """A row a timed call."""
    operations: list[dict[str, Any]] = field(default_factory=list)
    """A row an operation: loading, switching, merging, unmerging, cold calls, memory."""
    processes: list[dict[str, Any]] = field(default_factory=list)
    """One a process and point: warm-up, start, environment."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Arms that could not be built or run: point, process, variant, arm, message."""

    @property
    def pending(self) -> list[PointState]:
        return [state for state in self.states if state.status == "open"]


def preregister(build: Build) -> list[tuple[str, str]]:
    """(arm, variant) of the ratios to the base that have to become narrow; decided beforehand.

    The A/A control is one of them: without it nothing can be trusted.
    """
    ratios = [(CONTROLS[0], "base")]
    ratios += [("planted", name_planted(share)) for share in build.planted]
    for adapter in build.adapters:
        ratios.append(("unmerged", adapter.variant))
        if adapter.is_merged_too:
            ratios.append(("merged", adapter.variant))
    return ratios


def measure(
    series: Series,
    budget: Budget,
    open_host: Callable[[], Host],
    *,
    earlier: Earlier = NOTHING,
    keep: Callable[[Measurement], None] = lambda _: None,
    on_time: Callable[[PointState, float], None] = lambda *_: None,
) -> Measurement:
    """Measure points, each until `budget` is satisfied; nothing else may run meanwhile.

    `on_time` gets a point and the seconds that went into it since the last time.
    Ctrl-C marks open points as interrupted, keeps what there is and is passed on.
    """
    measurement = Measurement(list(series.states))
    controller = _Controller(series.build, budget, measurement, earlier.calls, keep, on_time)
    number = earlier.processes
    try:
        while measurement.pending:
            with open_host() as host:
                controller.run_process(host, number)
            number += 1
    except BaseException:
        for state in measurement.pending:
            state.status = "interrupted"
        keep(measurement)
        raise
    return measurement


@dataclass
class _Controller:
    build: Build
    budget: Budget
    measurement: Measurement
    earlier_calls: Sequence[dict[str, Any]]
    keep: Callable[[Measurement], None]
    on_time: Callable[[PointState, float], None]

    def run_process(self, host: Host, number: int) -> None:
        """Measure every open point in one process."""
        pending = self.measurement.pending
        started = time.perf_counter()
        try:
            ready = host.start(self.build, number)
        except PointError as error:
            for state in pending:
                _give_up(state, error)
            self.keep(self.measurement)
            return
        startup = time.perf_counter() - started
        for state in pending:
            # Each point tells by itself what its arms took to make, and which could not be made.
            self._keep("operations", ready["operations"], state.point.number, number)
            self._keep("failures", ready["failures"], state.point.number, number)
        for state in pending:
            state.settings = {key: ready[key] for key in ("dtype", "adapter_dtype", "attention")}
            self._charge(state, startup / len(pending))
            try:
                self._measure_point(host, number, state, ready, startup)
            except PointError as error:
                _give_up(state, error)
                if not _goes_on(host, error):
                    return
            finally:
                self.keep(self.measurement)

    def _measure_point(
        self,
        host: Host,
        number: int,
        state: PointState,
        ready: dict[str, Any],
        startup_seconds: float,
    ) -> None:
        point, began = state.point, state.seconds
        # The least number of processes has to fit into the budget.
        left = self.budget.max_seconds - state.seconds
        share = left / max(1, self._wanted_processes - state.processes)
        clock = _Stopwatch(lambda seconds: self._charge(state, seconds))
        opened = host.open(point, self.budget.rule.half_width, share / 4)
        clock.lap()
        self._keep("operations", opened["operations"], point.number, number)
        self._keep("failures", opened["failures"], point.number, number)
        about = {
            "warmup_rounds": opened["warmup_rounds"],
            "settled": opened["is_settled"],
            "startup_seconds": startup_seconds,
            "environment": ready["environment"],
        }
        self._keep("processes", [about], point.number, number)
        ready_at, rounds, is_full = state.seconds, 0, False
        while True:
            answer = host.run_round()
            self._keep("failures", answer["failures"], point.number, number)
            rows = [{"round": rounds, **row} for row in answer["rows"]]
            self._keep("calls", rows, point.number, number)
            rounds += 1
            state.rounds += 1
            clock.lap()
            if self.budget.is_fresh:
                is_full = self._is_full(state, rounds, state.seconds - ready_at, startup_seconds)
            else:
                is_full = self._may_look(rounds) and self._is_known(state)
            if is_full or self._has_hit_limit(state) or state.seconds - began >= share:
                break
        state.processes += 1
        if is_full:
            state.rounds_a_process = state.rounds_a_process or rounds
        if state.processes == 1:
            self._keep("operations", host.measure_memory(), point.number, number)
        host.close()
        clock.lap()
        self._conclude(state)

    def _is_full(
        self, state: PointState, rounds: int, seconds: float, startup_seconds: float
    ) -> bool:
        """Whether a process has measured long enough, or as much as the first one did.

        Equal shares of rounds give the narrowest intervals over processes.
        """
        if state.rounds_a_process:
            return rounds >= state.rounds_a_process
        least = math.ceil(self.budget.rule.min_rounds / self._wanted_processes)
        return rounds >= least and seconds >= startup_seconds

    def _may_look(self, rounds: int) -> bool:
        """In one process only ever doubled numbers of rounds are looked at.

        Whoever looks after every round stops where the interval is narrow by chance.
        """
        doublings = rounds / self.budget.rule.min_rounds
        return doublings >= 1 and math.log2(doublings).is_integer()

    @property
    def _wanted_processes(self) -> int:
        return max(1, self.budget.rule.min_processes) if self.budget.is_fresh else 1

    def _has_hit_limit(self, state: PointState) -> bool:
        return self.budget.max_rounds is not None and state.rounds >= self.budget.max_rounds

    def _conclude(self, state: PointState) -> None:
        """Close the point where it has been measured enough, or for long enough."""
        rule = self.budget.rule
        enough = state.rounds >= rule.min_rounds and state.processes >= self._wanted_processes
        if enough and self._is_known(state):
            state.stopped = "target reached"
        elif self._has_hit_limit(state):
            state.stopped = "rounds limit"
        elif state.seconds >= self.budget.max_seconds or not self.budget.is_fresh:
            state.stopped = "time budget"
        else:
            return
        state.status = "done"

    def _is_known(self, state: PointState) -> bool:
        """Whether every preregistered ratio that can still be measured is as narrow as asked.

        And whether the base against itself passes the gate: timing goes on while it does not.
        """
        number = state.point.number
        rows = [*self.earlier_calls, *self.measurement.calls]
        calls = pd.DataFrame([row for row in rows if row["point"] == number])
        present = set(zip(calls["arm"], calls["variant"], strict=True))
        column = f"{PREREGISTERED_TIME}_seconds"
        return check_gate(calls, self.budget.rule, PREREGISTERED_TIME).is_trusted and all(
            is_resolved(paired_ratio(calls, column, arm, variant=variant), self.budget.rule)
            for arm, variant in preregister(self.build)
            if (arm, variant) in present
        )

    def _charge(self, state: PointState, seconds: float) -> None:
        state.seconds += seconds
        self.on_time(state, seconds)

    def _keep(self, table: str, rows: Sequence[dict[str, Any]], point: int, process: int) -> None:
        kept: list[dict[str, Any]] = getattr(self.measurement, table)
        kept += [{"point": point, "process": process, **row} for row in rows]


class _Stopwatch:
    def __init__(self, charge: Callable[[float], None]) -> None:
        self._charge = charge
        self._last = time.perf_counter()

    def lap(self) -> None:
        """Charge the time since the last lap."""
        now = time.perf_counter()
        self._charge(now - self._last)
        self._last = now


def _goes_on(host: Host, error: PointError) -> bool:
    """Whether a process can take another point after what made it give one up.

    After a lack of memory it can, where it frees what it held; any other error of the base may have
    left the device unusable.
    """
    if isinstance(error, ProcessDiedError) or not error.is_out_of_memory:
        return False
    try:
        host.close()
    except PointError:
        return False
    return True


def _give_up(state: PointState, error: PointError) -> None:
    state.status = "out of memory" if error.is_out_of_memory else "failed"
    state.message = str(error)
