"""The verdict that a timing ratio's interval supports, and whether the timing is trusted.

A verdict uses a ratio's whole interval, never the estimate alone. The gate times the base against
itself: if the two differ, the timing of adapters cannot be trusted either.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from harness.analysis.latency.ratios import Interval, paired_ratio
from harness.formatting import format_share
from harness.records.record import LatencyRecord

CONFIDENCE = 0.95

PUBLISHABLE_ROUNDS = 15
PUBLISHABLE_PROCESSES = 3
"""Minimum for a publishable ratio, whatever the rule: one process shows no variation between
processes, and two give intervals too wide to be useful."""

NOTEWORTHY_CORES = 0.05
"""Cores kept busy by others; a desktop at rest stays below."""

NOTEWORTHY_STEAL = 0.005
"""Of a core's time."""

Verdict = Literal["equivalent", "slower", "faster", "unresolved"]


@dataclass(frozen=True)
class Rule:
    """Decided before anything is timed."""

    half_width: float
    """Half-width that a ratio's interval has to reach; 0.02 is 2% of the reference's time."""
    margin: float
    """Ratios within 1 / (1 + margin) .. 1 + margin are equivalent."""
    min_rounds: int
    """Rounds, over all processes, before which no ratio is known well enough."""
    min_processes: int
    """Fresh processes, likewise."""


@dataclass(frozen=True)
class Gate:
    """Whether the timing of one point can be trusted, by the A/A control."""

    is_trusted: bool
    reasons: tuple[str, ...]
    """Why not, and what the machine was doing meanwhile; empty where trusted."""
    ratio: Interval
    """base_again / base, in the time that was asked for."""


def judge(interval: Interval, rule: Rule) -> Verdict:
    """Return what `interval` says of its ratio; `unresolved` where it covers in under 95%.

    `equivalent` comes first: a difference that is sure but inside the margin is none that matters.
    """
    if not _is_interval(interval):
        return "unresolved"
    if interval.low >= 1 / (1 + rule.margin) and interval.high <= 1 + rule.margin:
        return "equivalent"
    if interval.low > 1:
        return "slower"
    if interval.high < 1:
        return "faster"
    return "unresolved"


def is_resolved(interval: Interval, rule: Rule) -> bool:
    """Whether the interval is as narrow as the rule wants; one of under 95% is not."""
    return _is_interval(interval) and interval.half_width <= rule.half_width


def is_publishable(interval: Interval, rule: Rule) -> bool:
    """Whether enough rounds and processes stand behind the interval.

    A rule may ask for more than PUBLISHABLE_ROUNDS and PUBLISHABLE_PROCESSES, never for less.
    """
    rounds = max(rule.min_rounds, PUBLISHABLE_ROUNDS)
    processes = max(rule.min_processes, PUBLISHABLE_PROCESSES)
    return interval.rounds >= rounds and interval.processes >= processes


def find_rule(timed: LatencyRecord | None) -> Rule | None:
    """The rule that a run was timed under; None where it was not, or before there were rules."""
    if timed is None or math.isnan(timed.half_width):
        return None
    return Rule(timed.half_width, timed.margin, timed.min_rounds, timed.min_processes)


def check_gate(calls: pd.DataFrame, rule: Rule, time: str = "end_to_end") -> Gate:
    """Return whether one point's calls can be trusted in one time, and if not, why in words.

    `time` is ttft, tpot or end_to_end. Untrusted: the interval of base_again / base excludes 1 or
    is wider than the rule's half-width, or there are too few rounds for one. The noise columns
    explain and decide nothing; those that are absent or unknown are passed over.
    """
    ratio = paired_ratio(calls, f"{time}_seconds", "base_again")
    failures = tuple(_find_failures(ratio, rule, time))
    reasons = failures + tuple(_describe_noise(calls)) if failures else ()
    return Gate(not failures, reasons, ratio)


def _is_interval(interval: Interval) -> bool:
    """Whether there were rounds and processes enough for an interval; an unknown one is none."""
    return interval.coverage >= CONFIDENCE


def _find_failures(ratio: Interval, rule: Rule, time: str) -> Iterator[str]:
    base = "the base" if time == "end_to_end" else f"the {time.upper()} of the base"
    if ratio.rounds == 0:
        yield f"{base} was not timed against itself"
        return
    if not _is_interval(ratio):
        yield _word_too_few(ratio)
        return
    if not ratio.low <= 1 <= ratio.high:
        yield (
            f"{base} against itself is {ratio.estimate:.4f}x "
            f"({ratio.low:.4f} to {ratio.high:.4f}), which excludes 1"
        )
    if not is_resolved(ratio, rule):
        yield (
            f"{base} against itself is known to \N{PLUS-MINUS SIGN}{ratio.half_width:.2%}, "
            f"wider than the target of \N{PLUS-MINUS SIGN}{rule.half_width:.2%}"
        )


def _word_too_few(ratio: Interval) -> str:
    if ratio.processes > 1:
        return f"the rounds of its {ratio.processes} processes are too uneven for an interval"
    few = "1 round of one process is" if ratio.rounds == 1 else ""
    few = few or f"{ratio.rounds} rounds of one process are"
    return f"{few} too few for a {CONFIDENCE:.0%} interval"


def _describe_noise(calls: pd.DataFrame) -> Iterator[str]:
    """What the machine did beside the calls, where it is worth telling."""
    seconds = pd.to_numeric(calls["end_to_end_seconds"], errors="coerce")
    others = _divide_sums(calls, "other_cpu_seconds", seconds)
    if others >= NOTEWORTHY_CORES:
        yield f"other programs kept {others:.1f} cores busy during the calls"
    stolen = _divide_sums(calls, "steal_seconds", seconds)
    if stolen >= NOTEWORTHY_STEAL:
        yield f"the hypervisor withheld {format_share(stolen)} of a core's time (steal)"
    throttled = _divide_sums(calls, "throttled_seconds", seconds)
    if throttled >= NOTEWORTHY_STEAL:
        yield f"the CPU quota throttled the process for {format_share(throttled)} of the time"
    if "load_average" in calls and calls["load_average"].notna().any():
        load = calls["load_average"]
        yield f"the load average was {load.median():.1f} (maximum {load.max():.1f})"
    if "gpu_throttle" in calls:
        throttled = calls["gpu_throttle"].dropna()
        named = sorted({each for text in throttled[throttled != ""] for each in text.split(", ")})
        if named:
            share = format_share(float((throttled != "").mean()))
            yield f"the GPU was throttled in {share} of the calls ({', '.join(named)})"


def _divide_sums(calls: pd.DataFrame, column: str, seconds: pd.Series) -> float:
    """Sum of a noise column over that of the calls' seconds; NaN where it was not counted."""
    if column not in calls:
        return math.nan
    counted = pd.to_numeric(calls[column], errors="coerce")
    known = counted.notna() & seconds.notna()
    return float(counted[known].sum() / seconds[known].sum()) if known.any() else math.nan
